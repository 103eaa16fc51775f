"""Mutators move a task's time, within what they promise, and nothing else."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import pytest

from kokugen.clock import SECOND_US
from kokugen.errors import OptionError
from kokugen.middleware.base import ScheduleRequest
from kokugen.middleware.mutators import RandomizeMiddleware, ScheduleAtNowMiddleware
from kokugen.options import Options
from kokugen.task import Params, replace
from kokugen.testing import ManualClock
from tests.middleware.calls import scheduled

CLOCK = ManualClock()
NOW = CLOCK.wall_us()


def request(after_s: int) -> ScheduleRequest:
    return ScheduleRequest(
        work_id="work",
        params=Params((1,)),
        scheduled_time_us=NOW + after_s * SECOND_US,
        options=Options(),
        zone="Europe/Berlin",
        local_time="2026-01-01T01:00:00",
    )


def moved_by_s(after_s: int, earliest_s: int, latest_s: int, seed: int) -> float:
    middleware = RandomizeMiddleware(
        timedelta(seconds=earliest_s), timedelta(seconds=latest_s), random=Random(seed), clock=CLOCK
    )
    asked = request(after_s)
    return (scheduled(middleware, asked).scheduled_time_us - asked.scheduled_time_us) / SECOND_US


def test_a_random_span_lies_within_its_bounds_and_reaches_near_both() -> None:
    spans = [moved_by_s(1_000, -30, 60, seed) for seed in range(300)]
    assert -30 <= min(spans) < -25
    assert 55 < max(spans) <= 60


def test_a_time_to_come_is_never_moved_into_the_past() -> None:
    assert min(moved_by_s(5, -30, 0, seed) for seed in range(100)) == -5


def test_a_time_that_is_past_is_never_moved_further_back() -> None:
    spans = [moved_by_s(-5, -30, 30, seed) for seed in range(100)]
    assert min(spans) == 0
    assert max(spans) > 20


def test_the_same_seed_moves_by_the_same_span() -> None:
    assert moved_by_s(100, 0, 60, seed=4) == moved_by_s(100, 0, 60, seed=4)


def test_bounds_the_wrong_way_round_are_refused() -> None:
    with pytest.raises(OptionError, match="swap"):
        RandomizeMiddleware(timedelta(1), timedelta(0), random=Random(1))


@pytest.mark.parametrize("after_s", [-60, 0, 60])
def test_at_now_is_now_whatever_was_asked(after_s: int) -> None:
    assert scheduled(ScheduleAtNowMiddleware(clock=CLOCK), request(after_s)).scheduled_time_us == NOW


def test_at_now_for_the_past_leaves_times_to_come() -> None:
    middleware = ScheduleAtNowMiddleware(past_only=True, clock=CLOCK)
    assert scheduled(middleware, request(-60)).scheduled_time_us == NOW
    assert scheduled(middleware, request(60)) == request(60)


def test_a_moved_task_is_no_longer_at_a_wall_time_of_a_zone() -> None:
    moved = scheduled(ScheduleAtNowMiddleware(clock=CLOCK), request(60))
    assert moved == replace(request(60), scheduled_time_us=NOW, zone=None, local_time=None)


def test_tasks_that_are_not_chosen_pass_as_they_are() -> None:
    def none(_: ScheduleRequest) -> bool:
        return False

    randomize = RandomizeMiddleware(timedelta(1), timedelta(2), random=Random(1), clock=CLOCK, only=none)
    assert scheduled(randomize, request(60)) == request(60)
    assert scheduled(ScheduleAtNowMiddleware(clock=CLOCK, only=none), request(60)) == request(60)
