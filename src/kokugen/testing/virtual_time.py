"""Virtual time: an event loop that jumps to its next timer instead of waiting for it, and the clock that goes with it.

`run_virtual` runs the real engine, or any code that takes its time from asyncio and a `Clock`, through a month in a
moment, the same way every time. It is for code on one loop: while real threads work, virtual time would run away.
"""

from __future__ import annotations

import asyncio
import selectors
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from kokugen.clock import SECOND_US, duration_us, from_us, to_us
from kokugen.errors import DeadlockError

T = TypeVar("T")
START = datetime(2026, 1, 1, tzinfo=UTC)

RESOLUTION_S = 4e-7
"""What asyncio takes for now: below a microsecond, and above what a float can tell apart after 60 years."""

PAST_S = 3e-7
"""How far behind an instant, still the same microsecond, every timer that was set for it has fired."""

PATIENCE_S = 1.0
"""How long, in real time, another thread has to wake a loop that would wait for ever."""


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    """An event loop whose time starts at 0 and moves only when nothing is left to do at this instant.

    Where nothing is scheduled at all, so that it would hang, it raises DeadlockError.
    """

    def __init__(self) -> None:
        self._selector_of_time = _VirtualSelector(self._deadlock)
        super().__init__(self._selector_of_time)
        self._clock_resolution = RESOLUTION_S

    def time(self) -> float:
        return self._selector_of_time.now_s

    async def shutdown_default_executor(self, timeout: float | None = None) -> None:  # noqa: ARG002 - it is virtual
        """Wait for the threads of `asyncio.to_thread`: they take real time, and virtual time would be up at once."""
        await super().shutdown_default_executor()

    def _deadlock(self) -> DeadlockError:
        waiting = sorted(f"{task.get_name()} in {_place(task)}" for task in asyncio.all_tasks(self))
        return DeadlockError(
            f"virtual time stands still at {self.time():.6f} s: no timer is set, and nothing else can end the wait of "
            + ("; ".join(waiting) or "this loop")
        )


class _VirtualSelector(selectors.DefaultSelector):
    """Answers at once, with the events that are there; where there are none, the time it was to wait has passed."""

    def __init__(self, deadlock: Callable[[], DeadlockError]) -> None:
        super().__init__()
        self.now_s = 0.0
        self._deadlock = deadlock

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        events = super().select(0 if timeout is not None else PATIENCE_S)
        if not events:
            if timeout is None:
                raise self._deadlock()
            self.now_s += timeout
        return events


class VirtualClock:
    """The wall and boot clock of a virtual loop; `step_wall` sets the wall clock as an operator or NTP would."""

    __slots__ = ("_loop", "_offset_us")

    def __init__(self, loop: asyncio.AbstractEventLoop, start: datetime = START) -> None:
        self._loop = loop
        self._offset_us = to_us(start) - round(loop.time() * SECOND_US)

    def wall_us(self) -> int:
        return self._offset_us + round(self._loop.time() * SECOND_US)

    def boot_s(self) -> float:
        return self._loop.time()

    @property
    def now(self) -> datetime:
        """Return the wall clock as a datetime."""
        return from_us(self.wall_us())

    def step_wall(self, span: timedelta) -> None:
        """Set the wall clock forward or back. The boot clock does not notice."""
        self._offset_us += duration_us(span)


def run_virtual(main: Callable[[VirtualClock], Coroutine[Any, Any, T]], *, start: datetime = START) -> T:
    """Run `main(clock)` in virtual time, from `start` on, and return what it returns.

    What is left running is cancelled, as `asyncio.run` does. Raises DeadlockError where it would wait for ever.
    """
    with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
        return runner.run(main(VirtualClock(runner.get_loop(), start)))


async def sleep_past(span: timedelta) -> None:
    """Let a span of virtual time pass, to the microsecond, and see that what is set for the end of it comes first."""
    loop = asyncio.get_running_loop()
    until_s = (round(loop.time() * SECOND_US) + duration_us(span)) / SECOND_US + PAST_S
    while (left_s := until_s - loop.time()) > PAST_S / 3:  # noqa: ASYNC110 - for time itself, and no event
        await asyncio.sleep(left_s)


def _place(task: asyncio.Task[Any]) -> str:
    stack = task.get_stack(limit=1)
    return f"{stack[0].f_code.co_qualname}:{stack[0].f_lineno}" if stack else repr(task.get_coro())
