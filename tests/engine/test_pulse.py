"""What an engine says of time that does not go as it should."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kokugen.engine.pulse import Pulse
from kokugen.testing import ManualClock

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    ("wall", "boot", "told"),
    [
        (timedelta(seconds=5), timedelta(seconds=5), None),
        (timedelta(seconds=5.9), timedelta(seconds=5), None),
        (HOUR, timedelta(seconds=5), "the wall clock was set forward by 3595.0 s"),
        (-HOUR, timedelta(seconds=5), "the wall clock was set back by 3605.0 s"),
        (HOUR, HOUR, "this process stood still for up to 3600 s"),
    ],
)
def test_it_tells_a_pause_from_a_clock_that_was_set(wall: timedelta, boot: timedelta, told: str | None) -> None:
    clock = ManualClock()
    pulse = Pulse(clock, gap_s=20)
    clock.advance(boot)
    clock.step_wall(wall - boot)
    said = pulse.look()
    assert (said is None) if told is None else (said is not None and said.startswith(told))
    assert pulse.look() is None
