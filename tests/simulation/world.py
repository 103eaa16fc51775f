"""The simulated world: the time that passes for all, what happens when, and the loops and clocks of its machines.

A loop can be paused for any time, as SIGSTOP pauses a process, put to sleep with its machine, and thrown away, as a
power cut does. Whatever is drawn by chance comes from one seed, so that the same seed is the same history.
"""

from __future__ import annotations

import asyncio
import heapq
from collections import deque
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from itertools import count
from random import Random

from kokugen.clock import SECOND_US, to_us

START_US = to_us(datetime(2026, 1, 1, tzinfo=UTC))
FAR_S = float("inf")
RESOLUTION_S = 1e-9
"""A timer is looked at so much after its time: who is woken before it waits again, and no time would pass."""


class World:
    """The time that passes for all, what happens at which time, and the loops. `told` is the trace of it."""

    def __init__(self, seed: int | str) -> None:
        self.random = Random(seed)
        self.now_s = 0.0
        self.loops: list[MachineLoop] = []
        self.told: list[tuple[float, str, str]] = []
        self.over = False
        """Nothing more happens: what was looked for is found."""
        self._order = count()
        self._events: list[tuple[float, int, Callable[[], object]]] = []

    def at(self, when_s: float, happen: Callable[[], object]) -> None:
        """Let something happen then; at once where then is past."""
        heapq.heappush(self._events, (max(when_s, self.now_s), next(self._order), happen))

    def after(self, delay_s: float, happen: Callable[[], object]) -> None:
        self.at(self.now_s + delay_s, happen)

    def tell(self, who: str, what: str) -> None:
        """Write down what happened."""
        self.told.append((self.now_s, who, what))

    def trace_hash(self) -> str:
        """Return what tells this history from any other."""
        return sha256("\n".join(map(repr, self.told)).encode()).hexdigest()

    def run_until(self, end_s: float) -> None:
        """Let time pass until then, or until it is over."""
        while not self.over:
            self._run_events()
            now_s, next_s, busy = self.now_s, FAR_S, []
            for loop in self.loops:
                due_s = loop.due_s
                if due_s <= now_s:
                    busy.append(loop)
                elif due_s < next_s:
                    next_s = due_s
            if busy:
                (busy[0] if len(busy) == 1 else self.random.choice(busy)).step()
                continue
            if self._events and self._events[0][0] < next_s:
                next_s = self._events[0][0]
            if next_s > end_s:
                self.now_s = end_s
                return
            self.now_s = next_s

    def forget(self, loop: MachineLoop) -> None:
        """Let no step of this loop happen any more."""
        self.loops.remove(loop)

    def _run_events(self) -> None:
        while self._events and self._events[0][0] <= self.now_s:
            heapq.heappop(self._events)[2]()


class _NoSelector:
    """Waits for nothing: there is no file and no socket in this world."""

    def select(self, _timeout: float | None = None) -> list[object]:
        return []


class MachineLoop(asyncio.BaseEventLoop):
    """The loop of one process. Its machine's clock began at some time of its own, and runs a little fast or slow."""

    _ready: deque[asyncio.Handle]
    _scheduled: list[asyncio.TimerHandle]
    _run_once: Callable[[], None]

    def __init__(self, world: World, *, began_s: float = 0.0, rate: float = 1.0) -> None:
        super().__init__()
        self._selector = _NoSelector()
        self._clock_resolution = RESOLUTION_S
        self._world = world
        self._began_s, self._rate = began_s, rate
        self._slept_s = 0.0
        self._asleep_since_s: float | None = None
        self.paused = False
        world.loops.append(self)

    def time(self) -> float:
        """Return what the timers go by: as the monotonic clock of Linux, it stands still while the machine sleeps."""
        now_s = self._world.now_s if self._asleep_since_s is None else self._asleep_since_s
        return self._began_s + (now_s - self._slept_s) * self._rate

    def boot_s(self) -> float:
        """Return the boot clock, which runs on."""
        return self._began_s + self._world.now_s * self._rate

    def sleep(self) -> None:
        self.paused = True
        if self._asleep_since_s is None:
            self._asleep_since_s = self._world.now_s

    def resume(self) -> None:
        self.paused = False
        if self._asleep_since_s is not None:
            self._slept_s += self._world.now_s - self._asleep_since_s
            self._asleep_since_s = None

    @property
    def due_s(self) -> float:
        """Return when it has something to do next, by the world's time."""
        if self.paused:
            return FAR_S
        if self._ready:
            return 0.0
        if not self._scheduled:
            return FAR_S
        return (self._scheduled[0].when() - self._began_s) / self._rate + self._slept_s + RESOLUTION_S

    def step(self) -> None:
        """Do what is ready, once: what follows from it is another step, before which anything may happen."""
        asyncio._set_running_loop(self)
        try:
            self._run_once()
        finally:
            asyncio._set_running_loop(None)

    def _process_events(self, events: list[object]) -> None:
        assert not events

    def _write_to_self(self) -> None:
        """Do nothing: who waits for it looks at what is ready."""


class MachineClock:
    """The clocks of one machine: nothing sets the boot clock, and anyone the wall clock."""

    def __init__(self, world: World, loop: MachineLoop) -> None:
        self._world = world
        self.boot_s = loop.boot_s
        self.wrong_s = 0.0
        self.set_s = -FAR_S
        """When somebody set it."""

    def set(self, wrong_s: float) -> None:
        self.wrong_s, self.set_s = wrong_s, self._world.now_s

    def wall_us(self) -> int:
        return START_US + round((self._world.now_s + self.wrong_s) * SECOND_US)


class StoreClock:
    """The clock of the machine that the store is on."""

    def __init__(self, world: World) -> None:
        self._world = world
        self.wrong_s = 0.0

    def wall_us(self) -> int:
        return START_US + round((self._world.now_s + self.wrong_s) * SECOND_US)

    def boot_s(self) -> float:
        return self._world.now_s
