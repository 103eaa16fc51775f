"""The work that every contender runs, and the tally of it. One process runs one trial, so one tally is enough.

The functions have a module of their own because some peers store a reference to them.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from itertools import count
from multiprocessing.connection import Connection
from threading import Event

WAIT_S = 120.0


class Tally:
    """Counts calls; adding one costs a fraction of a microsecond and no lock."""

    def __init__(self) -> None:
        self.starts: list[tuple[int, int]] = []
        """For each call of `record`: when it was due and when it started, in microseconds."""
        self.expect(-1)

    def expect(self, calls: int) -> None:
        """Begin anew, and be over after so many calls."""
        self._calls = calls
        self._number = count(1).__next__
        self._over = Event()
        self.starts.clear()

    def add(self) -> None:
        if self._number() == self._calls:
            self._over.set()

    def wait(self) -> None:
        """Wait for the last call. Raises AssertionError where it does not come."""
        if not self._over.wait(WAIT_S):
            raise AssertionError(f"after {WAIT_S:.0f} s only {self._number() - 1} of {self._calls} tasks had run")

    def check(self) -> None:
        """Raise AssertionError unless there were exactly as many calls as expected."""
        found = self._number() - 1
        if found != self._calls:
            raise AssertionError(f"{found} runs of {self._calls} tasks")


tally = Tally()

marks: list[None] = []
"""One for each call of `mark`, so that it can be seen from outside how many there were."""

outlet: Connection | None = None
"""Where `tell` tells of its calls."""


def noop() -> None:
    """Do nothing but count."""
    tally.add()


async def noop_async() -> None:
    tally.add()


def record(due_us: int) -> None:
    """Write down when this started."""
    tally.starts.append((due_us, time.time_ns() // 1000))
    tally.add()


async def record_async(due_us: int) -> None:
    record(due_us)


def mark() -> None:
    """Do nothing but leave a mark."""
    marks.append(None)


def tell(due_us: int) -> None:
    """Tell another process when this started."""
    started_us = time.time_ns() // 1000
    assert outlet is not None, "a node has one"
    outlet.send((due_us, started_us))


PLAIN: tuple[Callable[..., object], ...] = (noop, mark, record, tell)
"""All that are functions, for those that are told beforehand what there is."""
