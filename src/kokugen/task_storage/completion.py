"""`run.complete(connection)`: the end of a run, written in the work's own transaction with what the work does there.

So both are committed, or neither: the exactly-once effect. Whether they were the engine learns from the store alone.
"""

from __future__ import annotations

from collections.abc import Awaitable, Iterable
from typing import Any, cast

from kokugen.errors import SupersededError, TransactionError
from kokugen.repository.joining import Joined, join
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import Finish, Finished, Lease
from kokugen.run import Run
from kokugen.task import TaskInfo, TaskState
from kokugen.task_storage.settlement import done


class Completer:
    """Completes the runs of one store."""

    def __init__(self, repository: DurableRepository) -> None:
        self._repository = repository

    def __call__(self, run: Run, connection: object, result: Any) -> Any:
        """Write in the connection's transaction that the run is done; awaitable where the connection is async.

        Raises SupersededError where the task is not this run's any more, also where it completed it before, and
        TransactionError.
        """
        joined = join(self._repository, connection)
        row = done(run, run.work.encode_result(result))
        before, run.completing = run.completing, True
        if joined.is_async:
            return _finish_async(run, joined, row, before=before)
        try:
            return _check(run, cast("Finished", joined.finish(row)))
        except TransactionError:  # it was refused before anything was written: the work's return decides as ever
            run.completing = before
            raise


def done_by(runs: Iterable[Run], infos: Iterable[TaskInfo]) -> set[Lease]:
    """Return the runs by which their tasks are Done: no other has claimed the task since."""
    ended = {(info.id, info.fence) for info in infos if info.state is TaskState.DONE}
    return {Lease(run.task.id, run.claim) for run in runs if (run.task.id, run.task.fence) in ended}


def _check(run: Run, finished: Finished) -> None:
    if finished is Finished.FENCED:
        raise SupersededError(run.task.id, run.task.fence)


async def _finish_async(run: Run, joined: Joined, row: Finish, *, before: bool) -> None:
    try:
        _check(run, await cast("Awaitable[Finished]", joined.finish(row)))
    except TransactionError:
        run.completing = before
        raise
