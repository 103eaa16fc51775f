"""The server's clock: tasks are due by it, whatever the clocks of the nodes say."""

from __future__ import annotations

from datetime import timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from kokugen import Scheduler, current_run
from kokugen.clock import SystemClock, from_us, to_us
from kokugen.repository.postgres.drift import SLACK_US, Drift
from tests.servers.stores import emptied_store

WITHIN = timedelta(seconds=30)
HOUR_US = 3_600_000_000


class Skewed(SystemClock):
    """A clock that somebody set."""

    def __init__(self, by_us: int) -> None:
        self.by_us = by_us

    def wall_us(self) -> int:
        return super().wall_us() + self.by_us


@pytest.mark.parametrize("by_us", [HOUR_US, -HOUR_US], ids=["ahead", "behind"])
def test_a_node_whose_clock_is_wrong_runs_tasks_when_they_are_due(postgres: str, by_us: int) -> None:
    scheduler = Scheduler(emptied_store(postgres), clock=Skewed(by_us))

    @scheduler.work
    def early_us() -> int:
        due_at = current_run().due_at
        return to_us(due_at) - SystemClock().wall_us()

    scheduler.start()
    try:
        tasks = [
            scheduler.at(from_us(SystemClock().wall_us() + ahead_us), early_us) for ahead_us in (0, 100_000, 400_000)
        ]
        assert [task.result(WITHIN) <= 0 for task in tasks] == [True] * 3
        after = scheduler.after(timedelta(milliseconds=100), early_us)
        assert after.result(WITHIN) <= 0
    finally:
        scheduler.stop()
        scheduler.close()


def test_a_server_on_this_machine_has_this_machines_clock(postgres: str) -> None:
    scheduler = Scheduler(emptied_store(postgres))
    scheduler.start()
    clock = scheduler._front.parts.clock
    before, shown, after = SystemClock().wall_us(), clock.wall_us(), SystemClock().wall_us()
    scheduler.stop()
    scheduler.close()
    assert before <= shown <= after


CALLS = st.lists(st.tuples(st.integers(0, 5_000), st.integers(0, 5_000)), min_size=1, max_size=30)


@given(st.integers(-HOUR_US, HOUR_US), CALLS)
def test_what_is_known_is_never_too_much_and_no_further_off_than_the_quickest_call_took(
    ahead_us: int, calls: list[tuple[int, int]]
) -> None:
    drift = Drift()
    now = 0
    for there_us, back_us in calls:
        drift.note(now, now + there_us + ahead_us, now + there_us + back_us, near=False)
        now += 1_000_000
    quickest = min(there + back for there, back in calls)
    assert ahead_us - quickest - 2 * SLACK_US <= drift.ahead_us <= ahead_us


@given(CALLS)
def test_on_one_machine_no_call_makes_a_difference(calls: list[tuple[int, int]]) -> None:
    drift = Drift()
    for there_us, back_us in calls:
        drift.note(0, there_us, there_us + back_us, near=True)
    assert drift.ahead_us == 0


def test_a_clock_that_is_set_is_noticed_by_the_next_call() -> None:
    drift = Drift()
    drift.note(0, 50, 100, near=True)
    drift.note(1000, 1050 + HOUR_US, 1100, near=True)
    assert HOUR_US - 50 - SLACK_US <= drift.ahead_us <= HOUR_US
    drift.note(2000, 2050, 2100, near=True)
    assert drift.ahead_us == 0


def test_a_clock_that_is_set_back_during_a_call_says_nothing() -> None:
    drift = Drift()
    drift.note(HOUR_US, 50, 100, near=False)
    assert drift.ahead_us == 0
