"""One log record a run, as it ends: which task and work, which attempt, how late, how long, how it went."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from kokugen.clock import SECOND_US, Clock, SystemClock
from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Run, TaskControl


class LogMiddleware(Middleware):
    """Writes to `logger`, by default `kokugen.run`: INFO where the work returned or steered its run, else ERROR.

    The record has `task_id`, `work_id`, `queue`, `attempt`, `lateness_s`, `duration_s` and `error`, the class of what
    was raised. Arguments, results and the texts of errors, which quote them, are never logged: the store has them.
    """

    def __init__(self, logger: logging.Logger | None = None, *, clock: Clock | None = None) -> None:
        self._logger = logger or logging.getLogger("kokugen.run")
        self._clock = clock or SystemClock()

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        with self._logged(run):
            return call_next(run)

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        with self._logged(run):
            return await call_next(run)

    @contextmanager
    def _logged(self, run: Run) -> Iterator[None]:
        since_s = self._clock.boot_s()
        try:
            yield
        except BaseException as error:
            level = logging.INFO if isinstance(error, TaskControl) else logging.ERROR
            self._tell(run, level, self._clock.boot_s() - since_s, type(error).__name__)
            raise
        self._tell(run, logging.INFO, self._clock.boot_s() - since_s, None)

    def _tell(self, run: Run, level: int, duration_s: float, error: str | None) -> None:
        fields = {
            "task_id": printable(run.task_id),
            "work_id": printable(run.work_id),
            "queue": printable(run.queue),
            "attempt": run.attempt,
            "lateness_s": (run.started_us - run.task.due_at) / SECOND_US,
            "duration_s": duration_s,
            "error": error,
        }
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


def printable(text: str) -> str:
    """Return text with its control characters escaped, so that it cannot forge a line of the log."""
    if text.isprintable():
        return text
    return "".join(one if one.isprintable() else one.encode("unicode_escape").decode() for one in text)
