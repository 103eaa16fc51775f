"""The seed's task storage for one node: an application gives it a repository, the scheduler its middleware.

Over a repository with the seed's methods alone it mirrors the scheduler's tasks (`kokugen.task_storage.mirror`).
A built-in repository stores them itself, and the scheduler's engine leases them (`kokugen.task_storage.leasing`).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

from kokugen.errors import OptionError, SchedulerStateError
from kokugen.middleware.base import Middleware, ScheduleRequest
from kokugen.registry.protocol import WorkRegistry
from kokugen.reply import Reply
from kokugen.repository.protocol import Repository
from kokugen.task import TaskInfo
from kokugen.task_storage.hooks import LoadParam, StoreTask
from kokugen.task_storage.mirror import MirroredTasks
from kokugen.task_storage.sync import Restored, RestorePolicy, Schedule, Synchronizer


@runtime_checkable
class Leasing(Protocol):
    """The mark of a repository that has the engine's methods, and so needs no mirror."""

    def claim(self, request: Any) -> Reply[Any]:
        """Take due tasks for a node."""
        ...


class DurablePolicy(Protocol):
    """What the engine's storage does of a task storage (`kokugen.task_storage.leasing.LeasedTasks`)."""

    async def sync(self) -> tuple[dict[str, TaskInfo], dict[str, Exception]]:
        """Return what came back into the schedule, and the errors."""
        ...

    async def flush(self) -> bool:
        """Try again to write outcomes; return whether none is left."""
        ...


class SingleNodeTaskStorage:
    """Stores the tasks of a scheduler in a repository that it has for itself, and restores them from there.

    `should_restore` tells which tasks `sync` brings back (default: all), `sync_context_wrapper` may change their
    requests. Tasks stay Initialized while they run, so one that a crash cut off runs again after the next `sync`.
    """

    shared = False

    def __init__(
        self,
        repository: Repository,
        *,
        work_registry: WorkRegistry,
        should_restore: Callable[[TaskInfo], bool] | None = None,
        sync_context_wrapper: Callable[[ScheduleRequest], ScheduleRequest] | None = None,
    ) -> None:
        if not isinstance(repository, Repository):
            raise OptionError(
                f"{type(repository).__name__} is no repository: it needs insert, get_updated_since, get_by_id, "
                "mark_as_done, mark_as_cancelled and mark_as_failed (see kokugen.repository.protocol.Repository)"
            )
        self.repository = repository
        self.work_registry = work_registry
        self.should_restore = should_restore
        self.durable: DurablePolicy | None = None
        """Set by the scheduler over a repository that it leases from."""
        self._policy = RestorePolicy(
            work_registry=work_registry, should_restore=should_restore, sync_context_wrapper=sync_context_wrapper
        )
        self._mirror = None if isinstance(repository, Leasing) else self._make_mirror(repository)
        self._synchronizer = None if self._mirror is None else Synchronizer(self._mirror, self._policy)

    @property
    def mirrors(self) -> bool:
        """Return whether the repository has the seed's methods alone, so that tasks are kept in memory too."""
        return self._mirror is not None

    def middleware(self, free_param: bool = False) -> list[Middleware]:
        """Return what a scheduler over memory must apply, in this order, so that its tasks are stored.

        With `free_param` the scheduler forgets the arguments, and they are loaded right before the work. Empty over
        a repository that the scheduler leases from: there they always travel with the claim.
        """
        if self._mirror is None:
            return []
        stored: list[Middleware] = [StoreTask(self._mirror, self.work_registry)]
        return [*stored, LoadParam(self._mirror)] if free_param else stored

    async def sync(self, schedule: Schedule) -> Restored:
        """Bring the repository's waiting tasks, and what was changed there from outside, into the scheduler.

        Returns the handles of what was scheduled or moved by task id, and the errors by task id. May run while
        tasks are scheduled and run: nothing is run twice.
        """
        if self._synchronizer is None:
            return await self._leased().sync()
        return await self._synchronizer.sync(schedule)

    async def retry_marking(self) -> bool:
        """Try again to write the ends that the repository did not take; return whether none is left."""
        if self._mirror is None:
            return await self._leased().flush()
        return await self._mirror.retry_marking()

    def mark_cancelled(self, task_id: str) -> Reply[bool]:
        """Write down that a waiting task was cancelled in the scheduler; False where there was nothing to write."""
        return Reply.of(False) if self._mirror is None else self._mirror.mark_cancelled(task_id)

    def close(self) -> None:
        """Stop the thread that calls the repository."""
        if self._mirror is not None:
            self._mirror.close()

    def _make_mirror(self, repository: Repository) -> MirroredTasks:
        return MirroredTasks(repository)

    def _leased(self) -> DurablePolicy:
        if self.durable is None:
            raise SchedulerStateError("this task storage belongs to no scheduler that runs: start the scheduler first")
        return self.durable
