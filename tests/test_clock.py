"""The clocks of this machine: one that may be set, and one that goes on while the machine sleeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable

import pytest

from kokugen.clock import SystemClock


def between(read: Callable[[], float], before: Callable[[], float]) -> bool:
    """Whether a reading lies between two of the clock that it is said to be of."""
    earlier = before()
    found = read()
    return earlier <= found <= before()


@pytest.mark.skipif(sys.platform != "linux", reason="the name of Linux's clock")
def test_durations_are_measured_by_the_clock_that_goes_on_during_suspend(monkeypatch: pytest.MonkeyPatch) -> None:
    assert between(SystemClock().boot_s, lambda: time.clock_gettime(time.CLOCK_BOOTTIME))
    slept = {time.CLOCK_BOOTTIME: 3600.0}  # time.monotonic() stood still meanwhile
    monkeypatch.setattr(time, "clock_gettime", lambda clock: slept.get(clock, 0.0))
    assert SystemClock().boot_s() == 3600.0


def test_the_wall_clock_is_that_of_the_system_and_follows_when_it_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    assert between(SystemClock().wall_us, lambda: time.time_ns() // 1000)
    boot_s = SystemClock().boot_s()
    monkeypatch.setattr(time, "time_ns", lambda: 1_000)
    assert SystemClock().wall_us() == 1
    assert SystemClock().boot_s() >= boot_s
