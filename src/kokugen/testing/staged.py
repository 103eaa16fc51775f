"""What a scheduler is while it is on a stage (`kokugen.testing.stage`): the same, but for how it starts and waits."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from kokugen.async_scheduler import AsyncScheduler
from kokugen.front import Front
from kokugen.handle import AsyncTaskHandle, TaskHandle
from kokugen.reply import Reply
from kokugen.scheduler import Scheduler
from kokugen.task import TaskInfo, TaskParam

if TYPE_CHECKING:
    from kokugen.testing.stage import Stage

T = TypeVar("T")


class StagedScheduler(Scheduler):
    """A `Scheduler` on a stage. To start, stop and close it changes nothing: its work runs when time passes."""

    stage: Stage

    def start(self) -> None:
        """Do nothing."""

    def stop(self, grace: timedelta | None = None) -> bool:  # noqa: ARG002 - the scheduler's parameter
        """Do nothing, and say that nothing runs."""
        return True

    def close(self) -> None:
        """Do nothing: the stage closes."""

    def run(self) -> None:
        """Do nothing."""

    def wait(self, task_id: str, timeout: timedelta | None = None) -> TaskInfo:
        """Let time pass until a task is over, and return it. Raises NoEntryError, WaitTimeoutError."""
        return self.stage.wait(self._front, task_id, timeout)

    def _submit(self, *asked: Any) -> TaskHandle:
        handle = super()._submit(*asked)
        self.stage.scheduled()
        return handle

    def schedule(self, param: TaskParam) -> TaskHandle:
        handle = super().schedule(param)
        self.stage.scheduled()
        return handle

    def schedule_many(self, params: Iterable[TaskParam]) -> list[TaskHandle]:
        handles = super().schedule_many(params)
        self.stage.scheduled()
        return handles


class StagedAsyncScheduler(AsyncScheduler):
    """An `AsyncScheduler` on a stage. Its work runs on the loop of the stage, when time passes."""

    stage: Stage

    async def start(self) -> None:
        """Do nothing."""

    async def stop(self, grace: timedelta | None = None) -> bool:  # noqa: ARG002 - the scheduler's parameter
        """Do nothing, and say that nothing runs."""
        return True

    async def close(self) -> None:
        """Do nothing: the stage closes."""

    async def run(self) -> None:
        """Do nothing."""

    async def wait(self, task_id: str, timeout: timedelta | None = None) -> TaskInfo:
        """Let time pass until a task is over, and return it. Raises NoEntryError, WaitTimeoutError."""
        return self.stage.wait(self._front, task_id, timeout)

    async def _submit(self, *asked: Any) -> AsyncTaskHandle:
        handle = await super()._submit(*asked)
        self.stage.scheduled()
        return handle

    async def schedule(self, param: TaskParam) -> AsyncTaskHandle:
        handle = await super().schedule(param)
        self.stage.scheduled()
        return handle

    async def schedule_many(self, params: Iterable[TaskParam]) -> list[AsyncTaskHandle]:
        handles = await super().schedule_many(params)
        self.stage.scheduled()
        return handles

    async def _opened(self) -> Front[AsyncTaskHandle]:
        return self._front

    @staticmethod
    async def _read(ask: Callable[[], Reply[T]]) -> T:
        return await ask()
