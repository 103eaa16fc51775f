"""Whether other processes wait for tasks to end: only then are they told. Stores with other processes have one."""

from __future__ import annotations

from kokugen.clock import Clock
from kokugen.repository.protocol import AWAITED

ASKED_S = 5.0
"""How long they are told after they last asked."""


class Ends:
    """When others last said that they wait."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._until_s: float | None = None

    def heard(self, due_us: int) -> bool:
        """Take note where another process says that it waits, and return whether this was it."""
        if due_us == AWAITED:
            self._until_s = self._clock.boot_s() + ASKED_S
        return due_us == AWAITED

    @property
    def awaited(self) -> bool:
        """Return whether others are to be told."""
        return self._until_s is not None and self._clock.boot_s() < self._until_s
