"""Cases of what a schedule hears of its runs: the delay that begins with the last end, and failures in a row."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from kokugen.repository.schedule_rows import Overlap
from kokugen.task import TaskState
from kokugen.testing.suite.lab import SECOND_US, ask
from kokugen.testing.suite.overlapping import ENDINGS
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id

DELAY = 100 * SECOND_US


class HearingCases:
    """The ends of tasks that report."""

    def test_with_a_delay_there_is_no_next_time_while_an_occurrence_waits_or_runs(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", overlap=Overlap.QUEUE_ALL, delay=DELAY, next_at=plans.at(5), wake_at=plans.at(5))
        assert plans.stored() == row
        row = plans.advance(row, tasks=[plans.task(5, row)])
        assert (plans.stored().next_at, plans.stored().wake_at) == (None, None)
        plans.lab.pass_time(5)
        plans.start_one(5)
        plans.advance(row, next_at=plans.at(7), wake_at=plans.at(7))
        assert (plans.stored().next_at, plans.stored().wake_at) == (None, None)

    @pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
    def test_whatever_ends_an_occurrence_begins_the_delay(
        self, plans: ScheduleLab, ending: Callable[[ScheduleLab, str], None]
    ) -> None:
        row = plans.create("daily", 0, overlap=Overlap.QUEUE_ALL, delay=DELAY)
        claim = plans.start_one(0)
        plans.lab.pass_time(3)
        ending(plans, claim)
        after = plans.stored()
        assert (after.next_at, after.wake_at) == (plans.lab.now + DELAY, plans.lab.now + DELAY)
        assert after.rev > row.rev, "whoever decided meanwhile decides anew"
        assert ask(plans.repo.due_schedules(plans.lab.now + DELAY, 9)) == [after]
        assert ask(plans.repo.due_schedules(plans.lab.now + DELAY - 1, 9)) == []

    def test_the_delay_begins_when_the_last_of_several_ends(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 1, 2, overlap=Overlap.QUEUE_ALL, delay=DELAY)
        plans.lab.cancel(task_id(2))
        plans.finish(0, plans.start_one(0))
        assert plans.stored().next_at is None
        plans.lab.pass_time(4)
        plans.finish(1, plans.start_one(1))
        assert plans.stored().next_at == plans.lab.now + DELAY

    def test_a_run_that_is_tried_again_begins_no_delay(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, overlap=Overlap.QUEUE_ALL, delay=DELAY)
        plans.finish(0, plans.start_one(0), TaskState.INITIALIZED)
        assert plans.stored().next_at is None

    def test_the_next_time_is_later_than_all_that_is_decided(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, overlap=Overlap.QUEUE_ALL, delay=DELAY, decided=plans.at(1000))
        plans.finish(0, plans.start_one(0))
        assert plans.stored().next_at == plans.at(1000) + 1

    def test_a_delay_that_begins_during_a_pause_does_not_end_it(self, plans: ScheduleLab) -> None:
        about = {"paused_at": plans.at(0), "paused_until": plans.at(900), "wake_at": plans.at(900)}
        plans.create("daily", 0, overlap=Overlap.QUEUE_ALL, delay=DELAY, **about)
        assert plans.stored().wake_at == plans.at(900)
        plans.finish(0, plans.start_one(0))
        assert (plans.stored().next_at, plans.stored().wake_at) == (plans.lab.now + DELAY, plans.at(900))

    @pytest.mark.parametrize("overlap", list(Overlap))
    def test_failures_in_a_row_are_counted_and_wake_it_once_they_are_too_many(
        self, plans: ScheduleLab, overlap: Overlap
    ) -> None:
        plans.create("daily", 0, 1, 2, 3, 4, 5, overlap=overlap, failures_max=2, wake_at=plans.at(9000))
        told: list[tuple[int, bool]] = []
        ends = (TaskState.FAILED, TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED, TaskState.FAILED)
        for second, state in enumerate(ends):
            plans.finish(second, plans.start_one(second), state)
            told.append((plans.stored().failures, plans.stored().wake_at == plans.lab.now))
            plans.lab.pass_time(1)
        assert told == [(1, False), (0, False), (1, False), (1, False), (2, True)]

    def test_a_paused_schedule_is_not_woken_for_failures(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, failures_max=1, paused_at=plans.at(0))
        plans.finish(0, plans.start_one(0), TaskState.FAILED)
        assert (plans.stored().failures, plans.stored().wake_at) == (1, None)

    def test_a_task_that_does_not_report_is_not_heard(self, plans: ScheduleLab) -> None:
        row = plans.row(failures_max=1)
        plans.change(row, tasks=[plans.task(0, row, reports=False)])
        plans.finish(0, plans.start_one(0), TaskState.FAILED)
        assert plans.stored() == row

    def test_a_schedule_that_gets_a_delay_hears_of_what_waits_and_runs_by_then(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0, 1, overlap=Overlap.QUEUE_ALL)
        claim = plans.start_one(0)
        plans.advance(row, delay=DELAY, next_at=plans.at(50), wake_at=plans.at(50), gen=2)
        assert plans.stored().next_at is None
        plans.lab.cancel(task_id(1))
        plans.finish(0, claim)
        assert plans.stored().next_at == plans.lab.now + DELAY

    def test_a_schedule_that_was_removed_hears_nothing(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0, overlap=Overlap.QUEUE_ALL, delay=DELAY, failures_max=1)
        claim = plans.start_one(0)
        assert plans.change(row, expected=row.rev, remove=True).applied
        plans.finish(0, claim, TaskState.FAILED)
        assert plans.found() == []
