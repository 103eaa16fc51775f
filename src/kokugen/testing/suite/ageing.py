"""Cases of priorities and ages: a claim takes those first whose turn it is, `due_at + rank * ageing_us`."""

from __future__ import annotations

from datetime import timedelta
from itertools import product

import pytest

from kokugen.repository.rows import NO_AGEING_US
from kokugen.task import Mode, Priority, TaskState
from kokugen.testing.suite.lab import SECOND_US, Lab
from kokugen.testing.suite.limiting import LimitLab

AGEING_US = 10 * SECOND_US
CENTURY_US = 100 * 365 * 86_400 * SECOND_US


class AgeingCases:
    """T2, where it matters how long who has waited."""

    @pytest.mark.parametrize("levels", [1, 2, 3])
    @pytest.mark.parametrize(("later_us", "overtakes"), [(-1, False), (0, False), (1, True)])
    def test_a_task_goes_before_one_of_a_higher_priority_once_it_waited_longer_by_the_ageing_of_each_level(
        self, lab: Lab, levels: int, later_us: int, overtakes: bool
    ) -> None:
        low = lab.add(rank=-Priority.LOW, due_at=lab.now)
        high = lab.add(rank=-levels, due_at=lab.now + levels * AGEING_US + later_us)
        lab.pass_time(60)
        expected = [low, high] if overtakes else [high, low]
        assert [lab.claimed(1, ageing_us=AGEING_US), lab.claimed(1, ageing_us=AGEING_US)] == [[one] for one in expected]

    def test_however_long_a_task_has_waited_no_ageing_takes_it_before_a_higher_priority(self, lab: Lab) -> None:
        ranks = sorted(-level for level in Priority)
        tasks = [lab.new(rank=rank, due_at=lab.now - (4 + rank) * CENTURY_US // 10) for rank in ranks]
        lab.add_all(*reversed(tasks))
        assert lab.claimed(ageing_us=NO_AGEING_US) == [task.id for task in tasks]

    def test_without_any_ageing_to_wait_for_the_priority_decides_among_equally_due_tasks(self, lab: Lab) -> None:
        tasks = [lab.new(rank=-level, due_at=lab.now - early) for early in (2, 1, 0) for level in (3, 1, 0)]
        lab.add_all(*reversed(tasks))
        assert lab.claimed(ageing_us=0) == [task.id for task in tasks]

    def test_the_levels_queues_and_works_of_one_claim_are_served_in_one_order(self, lab: Lab) -> None:
        tasks = _aged(lab)
        assert lab.claimed(queues=("a", "b"), ageing_us=AGEING_US) == tasks

    def test_the_order_of_ages_holds_over_several_claims(self, lab: Lab) -> None:
        tasks = _aged(lab)
        for first in range(0, len(tasks), 5):
            assert lab.claimed(5, queues=("b", "a"), ageing_us=AGEING_US) == tasks[first : first + 5]

    def test_every_claim_goes_by_its_own_ageing(self, lab: Lab) -> None:
        old = [lab.add(rank=-Priority.LOW, due_at=lab.now - 2 * AGEING_US) for _ in range(2)]
        urgent = [lab.add(rank=-Priority.HIGH, due_at=lab.now) for _ in range(2)]
        assert lab.claimed(1, ageing_us=AGEING_US - 1) == old[:1]
        assert lab.claimed(1, ageing_us=AGEING_US) == urgent[:1]
        assert lab.claimed(1, ageing_us=AGEING_US - 1) == old[1:]

    def test_no_age_makes_a_task_due(self, lab: Lab) -> None:
        urgent = lab.add(rank=-Priority.URGENT, due_at=lab.now + 20_001)
        low = lab.add(rank=-Priority.LOW, due_at=lab.now)
        assert lab.claimed(ahead_us=20_000, ageing_us=AGEING_US) == [low]
        lab.add(rank=-Priority.LOW, due_at=lab.now)
        assert lab.claimed(1, ahead_us=20_001, ageing_us=AGEING_US) == [urgent]

    def test_slots_and_buffer_are_filled_in_the_order_of_ages(self, lab: Lab) -> None:
        old = lab.add(rank=-Priority.LOW, due_at=lab.now - 2 * AGEING_US, mode=Mode.AT_MOST_ONCE)
        young = [lab.add(rank=-Priority.NORMAL, due_at=lab.now) for _ in range(3)]
        once = lab.add(rank=-Priority.NORMAL, due_at=lab.now, mode=Mode.AT_MOST_ONCE)
        last = lab.add(rank=-Priority.LOW, due_at=lab.now)
        assert lab.claimed(1, buffer=2, ageing_us=AGEING_US) == [old, *young[:2]]
        assert lab.claimed(1, buffer=9, ageing_us=AGEING_US) == [young[2], last]
        assert lab.claimed(1, ageing_us=AGEING_US) == [once]

    def test_of_the_tasks_that_were_lost_those_go_whose_turn_it_is(self, lab: Lab) -> None:
        old = [lab.add(rank=-Priority.LOW, due_at=lab.now - 2 * AGEING_US) for _ in range(2)]
        young = [lab.add(rank=-Priority.NORMAL, due_at=lab.now) for _ in range(2)]
        lab.claim()
        lab.recover(*lab.watch())
        fresh = lab.add(rank=-Priority.NORMAL, due_at=lab.now)
        assert lab.claimed(9, lost_max=3, ageing_us=AGEING_US) == [*old, young[0], fresh]

    def test_a_clock_that_was_set_back_changes_no_age(self, lab: Lab) -> None:
        low = [lab.add(rank=-Priority.LOW, due_at=lab.now + number) for number in range(2)]
        high = lab.add(due_at=lab.now + AGEING_US + 1)
        lab.clock.step_wall(timedelta(hours=1))
        assert lab.claimed(1, ageing_us=AGEING_US) == low[:1]
        lab.clock.step_wall(timedelta(hours=-1))
        assert lab.claimed(ageing_us=AGEING_US) == []
        lab.pass_time(60)
        assert lab.claimed(ageing_us=AGEING_US) == [high, *low[1:]]

    def test_a_task_that_waits_again_ages_from_its_new_time(self, lab: Lab) -> None:
        retried = lab.add(rank=-Priority.LOW, due_at=lab.now - 2 * AGEING_US, max_attempts=9)
        lab.finish(retried, lab.claim().claim, TaskState.INITIALIZED, due_at=lab.now)
        high = lab.add(due_at=lab.now)
        assert lab.claimed(ageing_us=AGEING_US) == [high, retried]

    def test_a_task_that_is_given_another_priority_keeps_its_age(self, lab: Lab) -> None:
        old, young = lab.add(due_at=lab.now - AGEING_US - 1), lab.add(rank=-Priority.HIGH, due_at=lab.now)
        lab.revise(old, rank=-Priority.LOW)
        assert lab.claimed(1, ageing_us=AGEING_US) == [young]
        lab.add(rank=-Priority.HIGH, due_at=lab.now)
        lab.revise(old, rank=-Priority.NORMAL)
        assert lab.claimed(1, ageing_us=AGEING_US) == [old]

    # -- Gates

    def test_no_age_lets_a_task_pass_a_gate_before_a_higher_priority(self, gated: LimitLab) -> None:
        gated.add(limit_key="ann")
        old = gated.add(limit_key="ann", rank=-Priority.LOW, due_at=gated.now - 60 * SECOND_US)
        young = gated.add(limit_key="ann", rank=-Priority.NORMAL, due_at=gated.now)
        assert gated.run_all(ageing_us=SECOND_US)[1:] == [young, old]

    def test_behind_its_gate_a_task_is_as_old_as_before(self, gated: LimitLab) -> None:
        first = gated.add(limit_key="ann", due_at=gated.now - 70 * SECOND_US)
        claim = gated.claim().claim
        old = gated.add(limit_key="ann", rank=-Priority.LOW, due_at=gated.now - 60 * SECOND_US)
        young = gated.add(rank=-Priority.NORMAL, due_at=gated.now)
        gated.finish(first, claim)
        assert gated.claimed(ageing_us=50 * SECOND_US) == [old, young]


def _aged(lab: Lab) -> list[str]:
    """Add tasks of all levels, some of which have waited long; return them in the order in which they are to go."""
    tasks = [
        lab.new(
            queue="ab"[number % 2],
            work_id=f"w{number % 3}",
            rank=-level,
            due_at=lab.now - waited * AGEING_US // 2 - number % 2,
        )
        for number, (level, waited) in enumerate(product(Priority, range(8)))
    ]
    lab.add_all(*(tasks[number * 13 % len(tasks)] for number in range(len(tasks))))
    tasks.sort(key=lambda task: (task.due_at + task.rank * AGEING_US, task.rank, task.id))
    return [task.id for task in tasks]
