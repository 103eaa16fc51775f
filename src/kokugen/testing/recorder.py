"""Takes the place of the work: it notes what would have been called, and when, and answers as the test says."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from msgspec import Struct

from kokugen.errors import CodecError, UndecodableError
from kokugen.run import Run


class RecordedRun(Struct, frozen=True, kw_only=True):
    """A run whose work was not called: which, with what, and when it would have started."""

    work_id: str
    args: tuple[Any, ...]
    kwargs: dict[str, Any]
    started_at: datetime
    attempt: int
    task_id: str
    queue: str


class Recorder:
    """A dispatcher's record: `runs`, in order. All else is real: times, retries, limits, the engine."""

    def __init__(self) -> None:
        self.runs: list[RecordedRun] = []
        self._answers: dict[str, Any] = {}

    def answer(self, work_id: str, answer: object) -> None:
        """Let work of this id return `answer` from now on, or raise it where it is an exception. Else it is None."""
        self._answers[work_id] = answer

    def of(self, work_id: str) -> list[RecordedRun]:
        """Return the runs of one work."""
        return [run for run in self.runs if run.work_id == work_id]

    def __call__(self, run: Run) -> Any:
        """Take the place of the call."""
        try:
            args, kwargs = run.work.decode(run.param)
        except CodecError as error:
            raise UndecodableError(str(error)) from error
        assert run.started_at is not None, "a run that is called has started"
        self.runs.append(
            RecordedRun(
                work_id=run.work_id,
                args=args,
                kwargs=kwargs,
                started_at=run.started_at,
                attempt=run.attempt,
                task_id=run.task_id,
                queue=run.queue,
            )
        )
        answer = self._answers.get(run.work_id)
        return _later(answer) if run.is_async else _now(answer)


def _now(answer: Any) -> Any:
    if isinstance(answer, BaseException):
        raise answer
    return answer


async def _later(answer: Any) -> Any:
    return _now(answer)
