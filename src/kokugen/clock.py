"""The only reader of time: the wall clock that says what is due, and the boot clock that says how long something took.

Everything above asks a `Clock` that it was given, so that the real engine also runs in virtual time. Instants are
integers of microseconds since 1970-01-01 UTC (`_us`); datetimes appear only at the edge, aware and in UTC.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol, runtime_checkable

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
MICROSECOND = timedelta(microseconds=1)
SECOND_US = 1_000_000
STEP_S = 1.0
"""A change between wall and boot clock from which on the wall clock was set, not just kept right."""
YEARS = range(1970, 9000)
"""The years of all times that are kept."""


@runtime_checkable
class Clock(Protocol):
    """What the core knows of time."""

    def wall_us(self) -> int:
        """Return the wall clock, in microseconds since the epoch. It may be stepped; it decides only what is due."""
        ...

    def boot_s(self) -> float:
        """Return seconds on a clock that never steps and goes on during suspend. All durations and leases use it."""
        ...


class SystemClock:
    """The clocks of this machine."""

    __slots__ = ()

    def wall_us(self) -> int:
        return time.time_ns() // 1000

    def boot_s(self) -> float:
        return _boot_s()


class StoreClock:
    """The wall clock of a store that has one, told by this machine's clock: what is due goes by it, on every node."""

    __slots__ = ("_ahead_us", "_clock")

    def __init__(self, clock: Clock, ahead_us: Callable[[], int]) -> None:
        self._clock = clock
        self._ahead_us = ahead_us

    def wall_us(self) -> int:
        return self._clock.wall_us() + self._ahead_us()

    def boot_s(self) -> float:
        return self._clock.boot_s()


def _pick_boot_clock() -> int | None:
    """Linux: CLOCK_BOOTTIME (time.monotonic() stands still during suspend). macOS: CLOCK_MONOTONIC runs on.

    Windows: time.monotonic() is the tick count, which includes suspend.
    """
    if sys.platform == "linux":
        return time.CLOCK_BOOTTIME
    return getattr(time, "CLOCK_MONOTONIC", None)


_BOOT_CLOCK = _pick_boot_clock()


def _boot_s() -> float:
    if _BOOT_CLOCK is None:
        return time.monotonic()
    return time.clock_gettime(_BOOT_CLOCK)


def to_us(when: datetime) -> int:
    """Return an aware datetime as microseconds since the epoch, exactly."""
    return (when - EPOCH) // MICROSECOND


def from_us(us: int) -> datetime:
    """Return microseconds since the epoch as an aware datetime in UTC, exactly."""
    return EPOCH + timedelta(microseconds=us)


def instant(us: int | None) -> datetime | None:
    """Return the datetime, or None where there is none, or none of a year that can be told."""
    try:
        return None if us is None else from_us(us)
    except OverflowError:
        return None


def duration_us(span: timedelta) -> int:
    """Return a duration as whole microseconds."""
    return span // MICROSECOND
