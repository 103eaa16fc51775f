"""Runs work on the loop of the engine itself, sync work too: no threads, so every run happens in the same order.

For tests in virtual time; `LoopPacer` takes the place of the pacer's thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any, TypeVar

from kokugen.clock import SECOND_US, Clock
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.call import call_sync, call_work
from kokugen.dispatcher.pacer import WAIT_S_MAX, Cancellable, Post
from kokugen.dispatcher.protocol import Deliver
from kokugen.middleware.base import WorkNext
from kokugen.run import Run

T = TypeVar("T")


class LoopPacer:
    """The pacer on the running loop: its timers stand in for the thread's timed wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._waiting: dict[asyncio.TimerHandle, tuple[Post[Any], list[Any]]] = {}

    def at_many(self, items: Iterable[tuple[int, T]], post: Post[T]) -> None:
        together: dict[int, list[T]] = {}
        for when_us, item in items:
            together.setdefault(when_us, []).append(item)
        for when_us, those in together.items():
            self._wait(when_us, post, those)

    def after(self, delay_us: int, callback: Callable[[], object]) -> Cancellable:
        return asyncio.get_running_loop().call_later(delay_us / SECOND_US, callback)

    def withdraw(self, post: Post[T]) -> list[T]:
        mine = [handle for handle, entry in self._waiting.items() if entry[0] == post]
        for handle in mine:
            handle.cancel()
        return [item for handle in mine for item in self._waiting.pop(handle)[1]]

    def stop(self) -> None:
        """Do nothing: there is no thread to end."""

    def _wait(self, when_us: int, post: Post[T], items: list[T]) -> None:
        """Post what is due, else look again once it may be; as late as the thread would notice a step of the clock."""
        wait_us = when_us - self._clock.wall_us()
        if wait_us <= 0:
            post(items)
            return

        def again() -> None:
            del self._waiting[handle]
            self._wait(when_us, post, items)

        handle = asyncio.get_running_loop().call_later(min(wait_us / SECOND_US, WAIT_S_MAX), again)
        self._waiting[handle] = (post, items)


class InlineDispatcher(LoopDispatcher):
    """Runs sync and async work on the loop that runs when it is started, each at its time by the clock.

    `chain` is that of async work, `sync_chain` that of sync work; sync work blocks the loop, as it should in a test.
    """

    name = "inline"

    def __init__(
        self,
        workers: int = 100,
        *,
        clock: Clock,
        chain: WorkNext = call_work,
        sync_chain: WorkNext = call_work,
    ) -> None:
        super().__init__(workers, clock=clock, chain=chain, pacer=LoopPacer(clock))
        self._sync_chain = sync_chain

    def accepts(self, *, is_async: bool) -> bool:  # noqa: ARG002 - the protocol's parameter
        return True

    def start(self, deliver: Deliver) -> None:
        self._loop = asyncio.get_running_loop()
        super().start(deliver)

    def _launch(self, run: Run) -> None:
        if run.is_async:
            super()._launch(run)
        else:
            self._report(call_sync(run, self._sync_chain, self._clock))
