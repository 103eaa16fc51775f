"""A clock that moves only when a test says so. Whatever takes a `Clock` takes it."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from kokugen.clock import duration_us, from_us, to_us

START = datetime(2026, 1, 1, tzinfo=UTC)


class ManualClock:
    """A wall clock and a boot clock that stand still between `advance` and `step_wall`."""

    __slots__ = ("_boot_s", "_wall_us")

    def __init__(self, wall: datetime = START, boot_s: float = 1000.0) -> None:
        self._wall_us = to_us(wall)
        self._boot_s = boot_s

    def wall_us(self) -> int:
        return self._wall_us

    def boot_s(self) -> float:
        return self._boot_s

    @property
    def now(self) -> datetime:
        """Return the wall clock as a datetime."""
        return from_us(self._wall_us)

    def advance(self, span: timedelta) -> None:
        """Let time pass: both clocks move on."""
        if span < timedelta(0):
            raise ValueError(f"advance({span}): time does not run backwards; step_wall() sets the wall clock back")
        self._wall_us += duration_us(span)
        self._boot_s += span.total_seconds()

    def step_wall(self, span: timedelta) -> None:
        """Set the wall clock forward or back, as an operator or NTP does. The boot clock does not notice."""
        self._wall_us += duration_us(span)
