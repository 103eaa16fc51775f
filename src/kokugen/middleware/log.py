"""Logs of runs: a record for each as it ends, and the task on every record that the work itself writes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager

from kokugen.clock import SECOND_US, Clock, SystemClock
from kokugen.middleware.base import Surround
from kokugen.run import Run, TaskControl, current_run


class LogMiddleware(Surround):
    """Writes to `logger`, by default `kokugen.run`: INFO where the work returned or steered its run, else ERROR.

    The record has `task_id`, `work_id`, `queue`, `attempt`, `lateness_s`, `duration_s` and `error`, the class of what
    was raised. Arguments, results and the texts of errors, which quote them, are never logged: the store has them.
    """

    def __init__(self, logger: logging.Logger | None = None, *, clock: Clock | None = None) -> None:
        self._logger = logger or logging.getLogger("kokugen.run")
        self._clock = clock or SystemClock()

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        since_s = self._clock.boot_s()
        try:
            yield
        except BaseException as error:
            level = logging.INFO if isinstance(error, TaskControl) else logging.ERROR
            self._tell(run, level, self._clock.boot_s() - since_s, type(error).__name__)
            raise
        self._tell(run, logging.INFO, self._clock.boot_s() - since_s, None)

    def _tell(self, run: Run, level: int, duration_s: float, error: str | None) -> None:
        fields = run_fields(run)
        fields |= {"lateness_s": lateness_s(run), "duration_s": duration_s, "error": error}
        ending = "done" if error is None else f"raised {error}"
        self._logger.log(
            level,
            "%s of task %s, attempt %d: %s after %.3f s, started %.3f s late",
            fields["work_id"],
            fields["task_id"],
            run.attempt,
            ending,
            duration_s,
            fields["lateness_s"],
            extra=fields,
        )


class RunFilter(logging.Filter):
    """Lets every record pass, and puts `task_id`, `work_id`, `queue` and `attempt` on those written inside of a run.

    Outside of one they are None, so that one format fits all. Add it to a handler, where all records come by.
    """

    def filter(self, record: logging.LogRecord) -> bool:
        try:
            fields = run_fields(current_run())
        except LookupError:
            fields = dict.fromkeys(RUN_FIELDS)
        for name, value in fields.items():
            if getattr(record, name, None) is None:
                setattr(record, name, value)
        return True


RUN_FIELDS = ("task_id", "work_id", "queue", "attempt")


def run_fields(run: Run) -> dict[str, object]:
    """Return what a log says of a run, by name; for structlog's `bind_contextvars` and its like, too."""
    values = (printable(run.task_id), printable(run.work_id), printable(run.queue), run.attempt)
    return dict(zip(RUN_FIELDS, values, strict=True))


def lateness_s(run: Run) -> float:
    """Return how long after it was due a run started, in seconds."""
    return (run.started_us - run.task.due_at) / SECOND_US


def printable(text: str) -> str:
    """Return text with its control characters escaped, so that it cannot forge a line of the log."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
