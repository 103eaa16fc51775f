"""`run.complete(connection)`: the end of a run, written in the work's own transaction with what the work does there.

So both are committed, or neither: the exactly-once effect. Whether they were the engine learns from the store alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from inspect import isawaitable
from typing import Any

from kokugen.errors import SupersededError
from kokugen.repository.joining import join
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import Finished, Lease
from kokugen.run import Run
from kokugen.task import TaskInfo, TaskState
from kokugen.task_storage.settlement import done


class Completer:
    """Completes the runs of one store."""

    def __init__(self, repository: DurableRepository) -> None:
        self._repository = repository

    def __call__(self, run: Run, connection: object, result: Any) -> Any:
        """Write in the connection's transaction that the run is done; awaitable where the connection is async.

        Raises SupersededError where the task is not this run's any more, and TransactionError.
        """
        joined = join(self._repository, connection)
        row = done(run, run.work.encode_result(result))
        run.completing = True
        finished = joined.finish(row)
        return _checked_later(run, finished) if isawaitable(finished) else _check(run, finished)


def done_by(runs: Iterable[Run], infos: Iterable[TaskInfo]) -> set[Lease]:
    """Return the runs by which their tasks are Done: no other has claimed the task since."""
    ended = {(info.id, info.fence) for info in infos if info.state is TaskState.DONE}
    return {Lease(run.task.id, run.claim) for run in runs if (run.task.id, run.task.fence) in ended}


def _check(run: Run, finished: Finished) -> None:
    if finished is Finished.FENCED:
        raise SupersededError(run.task.id, run.task.fence)


async def _checked_later(run: Run, finished: Awaitable[Finished]) -> None:
    _check(run, await finished)
