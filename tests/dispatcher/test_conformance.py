"""Every dispatcher keeps the contract: threads, event loops, processes."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

from kokugen.clock import Clock
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.processes import ProcessDispatcher, Processes
from kokugen.dispatcher.protocol import Ending
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.testing import DispatcherSuite


class TestThreads(DispatcherSuite):
    def dispatcher(self, workers: int, clock: Clock) -> ThreadDispatcher:
        return ThreadDispatcher(workers, clock=clock)


class TestAsyncio(DispatcherSuite):
    is_async: ClassVar[bool] = True
    obeyed: ClassVar[Ending] = Ending.INTERRUPTED

    def dispatcher(self, workers: int, clock: Clock) -> LoopDispatcher:
        return LoopDispatcher(workers, clock=clock)


class TestProcesses(DispatcherSuite):
    forces: ClassVar[bool] = True
    isolates: ClassVar[bool] = True

    def dispatcher(self, workers: int, clock: Clock) -> ProcessDispatcher:
        return Processes(workers=workers, kill_after=timedelta(seconds=1)).dispatcher(clock=clock)
