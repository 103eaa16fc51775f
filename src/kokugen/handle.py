"""A task in the caller's hand. `state`, `cancelled()` and `done()` are the last known state, without I/O.

Where its id was in the store before, and so nothing was scheduled, it tells the work, time and state of the task there;
inside a transaction (`within`) those asked for.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from kokugen.clock import from_us
from kokugen.repository.rows import CancelResult
from kokugen.task import Progress, TaskInfo, TaskState

if TYPE_CHECKING:
    from kokugen.async_scheduler import AsyncScheduler
    from kokugen.scheduler import Scheduler


class _Handle:
    __slots__ = ("_scheduler", "_state", "_time_us", "existed", "id", "work_id")

    def __init__(
        self, scheduler: Any, task_id: str, work_id: str, time_us: int, stored: TaskState | None = None
    ) -> None:
        self.id = task_id
        self.work_id = work_id
        self._time_us = time_us
        self._scheduler = scheduler
        self._state = TaskState.INITIALIZED if stored is None else stored
        self.existed = stored is not None
        """Whether a task with this id was there already, perhaps from an earlier try of the same call."""

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.id} {self.work_id} at {self.scheduled_time.isoformat()}>"

    @property
    def scheduled_time(self) -> datetime:
        """Return its time, aware, in UTC: as asked for, or, of a task that existed, as stored."""
        return from_us(self._time_us)

    @property
    def state(self) -> TaskState:
        """Return its state when last looked at."""
        return self._state

    def cancelled(self) -> bool:
        """Return whether it was Cancelled when last looked at."""
        return self._state is TaskState.CANCELLED

    def done(self) -> bool:
        """Return whether it was over (Done, Cancelled or Failed) when last looked at."""
        return self._state.terminal

    def _learn(self, info: TaskInfo) -> TaskInfo:
        self._state = info.state
        return info

    def _learn_cancel(self, result: CancelResult, state: TaskState | None) -> CancelResult:
        if result is CancelResult.CANCELLED:
            self._state = TaskState.CANCELLED
        elif state is not None:
            self._state = state
        return result


class TaskHandle(_Handle):
    """The handle of a `Scheduler`."""

    __slots__ = ()
    _scheduler: Scheduler

    def info(self) -> TaskInfo:
        """Return what the store knows of it now. Raises NoEntryError past its retention."""
        return self._learn(self._scheduler.get(self.id))

    def progress(self) -> Progress | None:
        """Return what its last run said last, as far as it is stored, or None. Raises NoEntryError."""
        return self.info().progress

    def cancel(self, reason: str | None = None) -> CancelResult:
        """Cancel it: `cancelled`, `requested` where it is running, `refused` where it is over."""
        (answer,) = self._scheduler.cancel(self.id, reason=reason)
        return self._learn_cancel(answer.result, answer.state)

    def reschedule(self, when: datetime) -> None:
        """Move it. Raises NotUpdatableStateError once it is running or over."""
        self._time_us = self._scheduler.reschedule(self.id, when)

    def wait(self, timeout: timedelta | None = None) -> TaskInfo:
        """Block until it is over and return it. Raises WaitTimeoutError."""
        return self._learn(self._scheduler.wait(self.id, timeout))

    def result(self, timeout: timedelta | None = None) -> Any:
        """Block until it is over and return what the work returned. Raises TaskFailedError, WaitTimeoutError."""
        return self._scheduler.result(self.id, timeout)


class AsyncTaskHandle(_Handle):
    """The handle of an `AsyncScheduler`."""

    __slots__ = ()
    _scheduler: AsyncScheduler

    async def info(self) -> TaskInfo:
        """Return what the store knows of it now. Raises NoEntryError past its retention."""
        return self._learn(await self._scheduler.get(self.id))

    async def progress(self) -> Progress | None:
        """Return what its last run said last, as far as it is stored, or None. Raises NoEntryError."""
        return (await self.info()).progress

    async def cancel(self, reason: str | None = None) -> CancelResult:
        """Cancel it: `cancelled`, `requested` where it is running, `refused` where it is over."""
        (answer,) = await self._scheduler.cancel(self.id, reason=reason)
        return self._learn_cancel(answer.result, answer.state)

    async def reschedule(self, when: datetime) -> None:
        """Move it. Raises NotUpdatableStateError once it is running or over."""
        self._time_us = await self._scheduler.reschedule(self.id, when)

    async def wait(self, timeout: timedelta | None = None) -> TaskInfo:
        """Wait until it is over and return it. Raises WaitTimeoutError."""
        return self._learn(await self._scheduler.wait(self.id, timeout))

    async def result(self, timeout: timedelta | None = None) -> Any:
        """Wait until it is over and return what the work returned. Raises TaskFailedError, WaitTimeoutError."""
        return await self._scheduler.result(self.id, timeout)
