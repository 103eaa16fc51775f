"""A world of machines in one thread: each has an event loop of its own, and time stands still while any is busy.

A loop can be paused for any time, as SIGSTOP or a suspended machine pauses a process, and thrown away, as a power cut
does. Whatever is drawn by chance comes from one seed, so that the same seed is the same history.
"""

from __future__ import annotations

import asyncio
import heapq
import selectors
from collections.abc import Callable
from contextvars import Context
from datetime import UTC, datetime
from itertools import count
from random import Random
from typing import TypeVarTuple, Unpack

from kokugen.clock import SECOND_US, to_us

Ts = TypeVarTuple("Ts")

START_US = to_us(datetime(2026, 1, 1, tzinfo=UTC))
FAR_S = float("inf")
RESOLUTION_S = 1e-6


class World:
    """The time that passes for all, what happens at which time, and the loops."""

    def __init__(self, seed: int) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.loops: list[MachineLoop] = []
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def at(self, when_s: float, happen: Callable[[], object]) -> None:
        """Let something happen then; at once where then is past."""
        heapq.heappush(self._events, (max(when_s, self.now_s), next(self._order), happen))

    def after(self, delay_s: float, happen: Callable[[], object]) -> None:
        self.at(self.now_s + delay_s, happen)

    def run_until(self, end_s: float) -> None:
        """Let time pass until then."""
        while True:
            self._run_events()
            busy = [loop for loop in self.loops if loop.is_busy()]
            if busy:
                self.random.choice(busy).step()
                continue
            next_s = min((loop.wakes_s for loop in self.loops if not loop.paused), default=FAR_S)
            if self._events:
                next_s = min(next_s, self._events[0][0])
            if next_s > end_s:
                self.now_s = end_s
                return
            self.now_s = max(self.now_s, next_s)

    def _run_events(self) -> None:
        while self._events and self._events[0][0] <= self.now_s:
            heapq.heappop(self._events)[2]()

    def forget(self, loop: MachineLoop) -> None:
        """Let no step of this loop happen any more."""
        self.loops.remove(loop)


class MachineLoop(asyncio.SelectorEventLoop):
    """The loop of one machine. Its boot clock began at some time of its own, and runs a little fast or slow."""

    def __init__(self, world: World, *, began_s: float = 0.0, rate: float = 1.0) -> None:
        self._world = world
        self._began_s, self._rate = began_s, rate
        self._woken = True
        self.paused = False
        self.wakes_s = FAR_S
        super().__init__(_Selector(self))
        self._clock_resolution = RESOLUTION_S
        world.loops.append(self)

    def time(self) -> float:
        return self._began_s + self._world.now_s * self._rate

    def call_soon_threadsafe(
        self, callback: Callable[[Unpack[Ts]], object], *args: *Ts, context: Context | None = None
    ) -> asyncio.Handle:
        self._woken = True
        return super().call_soon_threadsafe(callback, *args, context=context)

    def is_busy(self) -> bool:
        """Whether it has something to do now."""
        return not self.paused and (self._woken or self.wakes_s <= self._world.now_s)

    def step(self) -> None:
        """Do everything that is to be done now."""
        self._woken = False
        self.run_forever()

    def idle(self, timeout_s: float | None) -> None:
        """Nothing is left to do until then: this step is over."""
        self.wakes_s = FAR_S if timeout_s is None else self._world.now_s + timeout_s / self._rate + RESOLUTION_S
        self.stop()


class _Selector(selectors.DefaultSelector):
    """Never waits: where the loop would, its step is over."""

    def __init__(self, loop: MachineLoop) -> None:
        super().__init__()
        self._loop = loop

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0)
        if not events and (timeout is None or timeout > 0):
            self._loop.idle(timeout)
        return events


class MachineClock:
    """The clocks of one machine: the boot clock is its loop's, the wall clock may be set by anyone."""

    def __init__(self, world: World, loop: MachineLoop) -> None:
        self._world = world
        self._loop = loop
        self.wrong_s = 0.0

    def wall_us(self) -> int:
        return START_US + round((self._world.now_s + self.wrong_s) * SECOND_US)

    def boot_s(self) -> float:
        return self._loop.time()


class StoreClock:
    """The clock of the machine that the store is on: the world's own."""

    def __init__(self, world: World) -> None:
        self._world = world

    def wall_us(self) -> int:
        return START_US + round(self._world.now_s * SECOND_US)

    def boot_s(self) -> float:
        return self._world.now_s
