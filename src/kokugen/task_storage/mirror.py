"""The tasks of an in-memory scheduler, mirrored in a repository that has the seed's methods alone.

The hooks (`kokugen.task_storage.hooks`) call it when a task is scheduled, starts and ends; `sync` reads its map.
Every call of the repository runs on one background loop, whoever asks: sync work in its thread, async work on its
loop, `sync` on the caller's. So a repository with a connection pool sees one loop only.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Sequence
from concurrent.futures import Future
from datetime import datetime, timedelta
from typing import Any, TypeVar

from kokugen.clock import from_us, to_us
from kokugen.codec import decode_params
from kokugen.dispatcher.loop_thread import LoopThread
from kokugen.errors import (
    CodecError,
    ExternalStateChangeError,
    KokugenError,
    NoEntryError,
    NotUpdatableStateError,
    OptionError,
    OtherNodeWorkingError,
    RepositoryError,
    RepositoryUnavailableError,
)
from kokugen.middleware.base import ScheduleRequest
from kokugen.reply import Reply
from kokugen.repository.protocol import Repository, StateUpdater
from kokugen.run import Cancel, NotCalled, Run
from kokugen.task import Params, TaskInfo, TaskState, queue_at
from kokugen.task_storage.state_store import SyncStateStore
from kokugen.task_storage.task_map import TaskMap
from kokugen.task_storage.turns import Turns

RETRY_DELAY = timedelta(seconds=1)
"""How long a task waits here that could not start because the repository failed."""

T = TypeVar("T")

_log = logging.getLogger(__name__)


class Mirrored:
    """One task that is in the repository and in this scheduler's memory.

    `run` is its run under way here, the token that every mark is checked against; `holds` tells that this node
    made it Working; `ending` is the state that is being written.
    """

    __slots__ = ("ending", "handle", "holds", "id", "restoring", "run", "scheduled_us")

    def __init__(self, task_id: str, scheduled_us: int, *, restoring: bool = False) -> None:
        self.id = task_id
        self.scheduled_us = scheduled_us
        self.restoring = restoring
        self.handle: Any = None
        self.run: Run | None = None
        self.holds = False
        self.ending: TaskState | None = None


class MirroredTasks:
    """What is known here of the repository's tasks, and every write to it.

    With `updater` several nodes share the repository: a task is made Working by compare and swap before it runs.
    """

    def __init__(
        self, repository: Repository, *, updater: StateUpdater | None = None, loop: LoopThread | None = None
    ) -> None:
        self.tasks: TaskMap[Mirrored] = TaskMap()
        self.unmarked = SyncStateStore()
        self.turns = Turns()
        self.ended_lately: set[str] | None = None
        """The ids that ended since the sync under way began; None: none is under way."""
        self._repository = repository
        self._updater = updater
        self._loop = loop or LoopThread("kokugen-repository")
        self._inserting: set[asyncio.Task[Any]] = set()
        self._past: dict[str, Mirrored] = {}
        self._marks = {
            TaskState.DONE: repository.mark_as_done,
            TaskState.CANCELLED: repository.mark_as_cancelled,
            TaskState.FAILED: repository.mark_as_failed,
        }

    def close(self) -> None:
        """Stop the background loop; it starts again when needed."""
        self._loop.stop()

    # -- When a task is scheduled

    def insert(self, request: ScheduleRequest) -> Reply[str]:
        """Store a task and write its id down here, before anyone can see it run, or come back by `sync`."""
        return self._submit(self._insert(request))

    def withdraw(self, task_id: str) -> Reply[None]:
        """Undo `insert`: the scheduler refused the task, so nobody may ever run it."""
        return self._submit(self._withdraw(task_id))

    def mark_cancelled(self, task_id: str) -> Reply[bool]:
        """Write down that a waiting task was cancelled here; False where it is unknown here, or running."""
        return self._submit(self._mark_cancelled(task_id))

    async def _insert(self, request: ScheduleRequest) -> str:
        task = asyncio.current_task()
        assert task is not None, "a submitted coroutine is a task"
        self._inserting.add(task)
        try:
            task_id = await self._repository.insert(_info_of(request))
            self.tasks.load_or_store(task_id, Mirrored(task_id, request.scheduled_time_us))
            return task_id
        finally:
            self._inserting.discard(task)

    async def _withdraw(self, task_id: str) -> None:
        entry = self.tasks.load(task_id)
        if entry is not None:
            await self._end(entry, TaskState.CANCELLED)

    async def _mark_cancelled(self, task_id: str) -> bool:
        entry = self.tasks.load(task_id)
        if entry is None or entry.run is not None or entry.ending is not None:
            return False
        await self._end(entry, TaskState.CANCELLED)
        return True

    # -- When it runs

    def begin(self, run: Run) -> Reply[Mirrored]:
        """Answer with the task that may run now. Raises Cancel where it must not, NotCalled where nobody can tell."""
        return self._submit(self._begin(run))

    def finish(self, entry: Mirrored, run: Run, state: TaskState) -> Reply[KokugenError | None]:
        """Write how a run ended; Initialized: it will run again.

        Never fails: a mark that the repository does not take is kept for `retry_marking`. Answers with the reason
        where the repository had another end for the task.
        """
        return self._submit(self._finish(entry, run, state))

    def load(self, task_id: str) -> Reply[TaskInfo]:
        """Return the stored task."""
        return self._submit(self._get(task_id))

    async def _begin(self, run: Run) -> Mirrored:
        entry = self.tasks.load(run.task_id)
        if entry is None:
            raise Cancel(f"task {run.task_id} is over in the repository, or was never mirrored here")
        entry.run = run
        if self._updater is not None and not entry.holds:
            await self._take(self._updater, entry)
        return entry

    async def _take(self, updater: StateUpdater, entry: Mirrored) -> None:
        try:
            taken = await updater.update_state(entry.id, TaskState.INITIALIZED, TaskState.WORKING)
        except (NoEntryError, NotUpdatableStateError) as error:
            self.forget(entry)
            raise Cancel(str(error)) from error
        except Exception as error:
            entry.run = None
            raise NotCalled(RETRY_DELAY, f"the repository could not say whose task {entry.id} is: {error}") from error
        if not taken:
            self.forget(entry)
            other = OtherNodeWorkingError(entry.id)
            raise Cancel(str(other)) from other
        entry.holds = True

    async def _finish(self, entry: Mirrored, run: Run, state: TaskState) -> KokugenError | None:
        if entry.run is not run:
            return None
        if state.terminal:
            return await self._end(entry, state)
        await self._give_back(entry)
        entry.run = None
        return None

    async def _give_back(self, entry: Mirrored) -> None:
        """Make it Initialized again; where that fails the task stays this node's, whose next run goes on with it."""
        if self._updater is None or not entry.holds:
            return
        try:
            await self._updater.update_state(entry.id, TaskState.WORKING, TaskState.INITIALIZED)
        except (NoEntryError, NotUpdatableStateError):
            entry.holds = False
        except Exception as error:  # noqa: BLE001 - the user's repository may raise anything
            _log.warning("task %r could not be given back, this node goes on with it: %r", entry.id, error)
        else:
            entry.holds = False

    # -- Marks

    async def retry_marking(self) -> bool:
        """Try again the marks that failed; return whether none is left."""
        async with self.turns.turn():
            return await self._submit(self._retry_all())

    def is_settled(self, info: TaskInfo) -> bool:
        """Return whether this task is over here, and only its mark is missing.

        Where the repository has a later life of it (moved, or given back, from outside), the old mark is dropped.
        """
        entry = self._past.get(info.id)
        if entry is None or not self._is_later(info, entry):
            return entry is not None
        self._settle(info.id)
        return False

    async def _end(self, entry: Mirrored, state: TaskState) -> KokugenError | None:
        entry.ending = state
        try:
            return await self._mark(entry.id, state)
        except Exception as error:  # noqa: BLE001 - the user's repository may raise anything
            _log.warning("task %r could not be marked as %s: %r", entry.id, state.label, error)
            self._past[entry.id] = entry
            self.unmarked.put(entry.id, state)
            return None
        finally:
            self.forget(entry)

    async def _mark(self, task_id: str, state: TaskState) -> KokugenError | None:
        try:
            if await self._marks[state](task_id):
                return None
            info = await self._repository.get_by_id(task_id)
        except NoEntryError as error:
            return error
        if not info.state.terminal:
            raise RepositoryError(f"the repository refuses to mark task {task_id}, which is {info.state.label}")
        return None if info.state is state else ExternalStateChangeError(task_id, info.state)

    async def _retry_all(self) -> bool:
        for one in self.unmarked.get_all():
            try:
                await self._retry(one.key, one.value)
            except Exception as error:  # noqa: BLE001 - one that fails again must not keep back the others
                _log.warning("task %r still cannot be marked as %s: %r", one.key, one.value.label, error)
        return self.unmarked.len() == 0

    async def _retry(self, task_id: str, state: TaskState) -> None:
        try:
            info = await self._repository.get_by_id(task_id)
        except NoEntryError:
            self._settle(task_id)
            return
        if not self._is_later(info, self._past[task_id]):
            await self._mark(task_id, state)
        self._settle(task_id)

    def _is_later(self, info: TaskInfo, entry: Mirrored) -> bool:
        """Return whether the repository's task has gone on since the run whose mark is missing."""
        given_back = entry.holds and info.state is TaskState.INITIALIZED
        moved = to_us(info.scheduled_time) != entry.scheduled_us
        return given_back or moved or info.state.terminal or info.id in self.tasks

    def _settle(self, task_id: str) -> None:
        self._past.pop(task_id, None)
        self.unmarked.remove(task_id)

    # -- What sync needs

    def fetch(self, since: datetime) -> Reply[Sequence[TaskInfo]]:
        """Return a part of what was modified since; every task in it that was scheduled here is in the map."""
        return self._submit(self._fetch(since))

    def forget(self, entry: Mirrored) -> None:
        """Take a task that is over here out of the map, and tell a sync that may have read it before."""
        if self.ended_lately is not None:
            self.ended_lately.add(entry.id)
        if self.tasks.load(entry.id) is entry:
            self.tasks.delete(entry.id)

    async def _fetch(self, since: datetime) -> Sequence[TaskInfo]:
        part = await self._repository.get_updated_since(since)
        if self._inserting:
            await asyncio.wait(self._inserting)
        return part

    async def _get(self, task_id: str) -> TaskInfo:
        return await self._repository.get_by_id(task_id)

    def _submit(self, work: Coroutine[Any, Any, T]) -> Reply[T]:
        reply: Reply[T] = Reply()
        self._loop.run(work).add_done_callback(lambda future: _settle(reply, future))
        return reply


def _settle(reply: Reply[T], future: Future[T]) -> None:
    if future.cancelled():
        reply.fail(RepositoryUnavailableError("the task storage was closed before the repository answered"))
    elif (error := future.exception()) is not None:
        reply.fail(error)
    else:
        reply.resolve(future.result())


def params_of(info: TaskInfo) -> Params:
    """Return the arguments of a stored task: a repository may give them as values, or as the text it keeps.

    Raises CodecError.
    """
    param = info.param
    if isinstance(param, bytes):
        param = param.decode(errors="replace")
    if isinstance(param, str):
        return decode_params(param)
    try:
        return Params.of(param)
    except OptionError as error:
        raise CodecError(f"task {info.id}: {error}") from error


def _info_of(request: ScheduleRequest) -> TaskInfo:
    options = request.options
    return TaskInfo(
        work_id=request.work_id,
        param=request.params,
        scheduled_time=from_us(request.scheduled_time_us),
        queue=queue_at(options.queue, options.on),
        priority=options.priority,
        mode=options.mode,
        tags=options.tags,
        unique=options.unique,
        zone=request.zone,
        local_time=request.local_time,
        max_attempts=options.max_attempts,
        max_lost=options.max_lost,
    )
