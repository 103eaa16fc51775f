"""Cases of limits beside each other, and beside what else has tasks wait: chains, schedules, places to run at."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import CHAIN_HOLD, AddResult
from kokugen.repository.schedule_rows import Overlap
from kokugen.task import TaskState, queue_at
from kokugen.testing.suite.chaining import ENDINGS, chain
from kokugen.testing.suite.lab import SECOND_US, ask
from kokugen.testing.suite.limiting import LimitLab
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id
from kokugen.then import ON_DONE, ON_FAILED

ALWAYS = ON_DONE | ON_FAILED
GATES: dict[str, tuple[dict[str, int], dict[str, Any]]] = {
    "key": ({}, {"limit_key": "ann"}),
    "work": ({"work_mail": 1}, {"work_id": "mail"}),
    "queue": ({"queue_post": 1}, {"queue": "post"}),
}
"""By its kind: what is declared, and what a task is of that has this limit."""
LANES = ("default", "post")


class LimitsBesideCases:
    """A task that waits for something else stands in no line of a limit before it is let go, and in one then."""

    # -- Other limits

    def test_one_look_lets_tasks_through_gates_with_and_without_a_rate(self, gated: LimitLab) -> None:
        gated.declare(queue_wide=2, work_wide=3)
        gated.declare_rate("queue:slow", every_s=10)
        due = {"due_at": gated.now + SECOND_US}
        wide = [gated.add(work_id="wide", queue="wide", **due) for _ in range(3)]
        slow = [gated.add(queue="slow", limit_key=key, **due) for key in "ab"]
        free = gated.add(queue="free", limit_key="c", **due)
        gated.clock.advance(timedelta(seconds=1))
        assert gated.admit().admitted == 4
        assert gated.claimed(queues=("wide", "slow", "free")) == [*wide[:2], slow[0], free]
        assert [gated.info(one).gate for one in (wide[2], slow[1])] == ["queue:wide", "queue:slow"]

    # -- Chains

    @pytest.mark.parametrize("kind", GATES)
    def test_what_follows_passes_its_gates_once_the_one_before_is_over(self, gated: LimitLab, kind: str) -> None:
        declared, about = GATES[kind]
        gated.declare(**declared)
        first, follower = _chain(gated, about)
        answer = gated.claim(queues=LANES)
        other = gated.add(**about)
        assert gated.claimed(queues=LANES) == [other], "what waits for its turn in a chain has no slot of a limit"
        gated.finish(first, answer.claim)
        assert gated.claimed(queues=LANES) == []
        assert (gated.info(follower).hold, gated.info(follower).due_at) == ("limit", from_us(gated.now))
        gated.cancel(other, force=True)
        assert gated.claimed(queues=LANES) == [follower]

    def test_what_follows_may_be_claimed_as_the_one_before_ends_where_its_limit_is_free(self, gated: LimitLab) -> None:
        first, follower = _chain(gated, {"limit_key": "ann"})
        gated.finish(first, gated.claim().claim)
        assert gated.claimed() == [follower]

    def test_a_chain_of_one_key_goes_on_with_the_slot_that_the_one_before_gives_back(self, gated: LimitLab) -> None:
        rows = chain(gated, {"limit_key": "ann"}, limit_key="ann")
        gated.add_all(*rows)
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [rows[0].id]
        gated.finish(rows[0].id, answer.claim)
        assert gated.claimed() == [rows[1].id]

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_however_the_one_before_ends_no_limit_is_passed_by(self, gated: LimitLab, ending: str) -> None:
        first, *followers = _chain(gated, *[{"limit_key": "ann", "follows_on": ALWAYS}] * 3)
        state, end = ENDINGS[ending]
        gated.pass_time()
        end(gated, first)
        gated.admit()
        let_go = state is not TaskState.CANCELLED
        assert gated.claimed() == followers[: 1 if let_go else 0]
        states = {gated.info(one).state for one in followers[1:]}
        assert states == {TaskState.INITIALIZED if let_go else TaskState.CANCELLED}

    def test_a_delay_of_a_follower_is_over_before_it_stands_in_line(self, gated: LimitLab) -> None:
        first, follower = _chain(gated, {"limit_key": "ann", "follows_delay": 60 * SECOND_US})
        gated.finish(first, gated.claim().claim)
        other = gated.add(limit_key="ann", due_at=gated.now + 30 * SECOND_US)
        gated.pass_time(30)
        gated.admit()
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [other]
        gated.pass_time(30)
        gated.finish(other, answer.claim)
        gated.admit()
        assert gated.claimed() == [follower]

    def test_what_waits_again_takes_its_follower_out_of_the_line(self, gated: LimitLab) -> None:
        first, follower = _chain(gated, {"limit_key": "ann", "follows_on": ON_FAILED})
        gated.finish(first, gated.claim().claim)
        assert gated.info(follower).state is TaskState.CANCELLED
        ask(gated.repo.revive([first], due_at=gated.now))
        assert gated.info(follower).hold == CHAIN_HOLD
        gated.finish(first, gated.claim().claim, TaskState.FAILED)
        assert gated.claimed() == [follower]

    def test_a_limit_that_is_declared_later_holds_for_what_waits_for_its_turn(self, gated: LimitLab) -> None:
        first, follower = _chain(gated, {"work_id": "mail"})
        gated.declare(work_mail=1)
        assert gated.info(follower).hold == CHAIN_HOLD
        answer = gated.claim(only=frozenset({gated.info(first).work_id}))
        other = gated.add(work_id="mail")
        assert gated.claimed() == [other]
        gated.finish(first, answer.claim)
        assert gated.info(follower).hold == "limit"
        assert gated.claimed() == []

    def test_a_task_that_replaces_one_that_waits_leaves_it_those_that_follow_it(self, gated: LimitLab) -> None:
        rows = chain(gated, {}, limit_key="ann", unique_key="daily")
        gated.add_all(*rows)
        new = gated.new(work_id=rows[0].work_id, unique_key="daily", limit_key="ann", on_duplicate=2)
        assert [one.result for one in gated.add_all(new)] == [AddResult.REPLACED]
        gated.finish(rows[0].id, gated.claim().claim)
        assert gated.claimed() == [rows[1].id]

    # -- Schedules

    def test_the_next_occurrence_may_be_claimed_as_the_one_before_ends(
        self, gated: LimitLab, plans: ScheduleLab
    ) -> None:
        row = plans.row("daily", overlap=Overlap.QUEUE_ALL)
        assert plans.change(row, tasks=[plans.task(second, row, limit_key="ann") for second in (0, 1)]).applied
        gated.pass_time(2)
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [task_id(0)]
        gated.finish(task_id(0), answer.claim)
        assert gated.claimed() == [task_id(1)]

    # -- Places

    def test_a_limit_of_a_queue_is_of_all_the_places_that_its_tasks_run_at(self, gated: LimitLab) -> None:
        gated.declare(queue_post=2)
        lanes = ("post", queue_at("post", "processes"))
        ids = [gated.add(queue=lanes[number % 2]) for number in range(6)]
        answer = gated.claim(queues=lanes)
        assert [task.id for task in answer.tasks] == ids[:2]
        gated.finish(ids[1], answer.claim)
        assert gated.claimed(queues=lanes) == [ids[2]]

    def test_tasks_of_one_key_take_turns_wherever_they_run(self, gated: LimitLab) -> None:
        lanes = ("default", queue_at("default", "processes"))
        ids = [gated.add(queue=lane, limit_key="ann") for lane in lanes]
        answer = gated.claim(queues=lanes)
        assert [task.id for task in answer.tasks] == ids[:1]
        gated.finish(ids[0], answer.claim)
        assert gated.claimed(queues=lanes[1:]) == ids[1:]


def _chain(lab: LimitLab, *followers: dict[str, Any]) -> list[str]:
    """Add a task without limits and others that follow it; return the ids."""
    rows = chain(lab, *followers)
    assert {one.result for one in lab.add_all(*rows)} == {AddResult.ADDED}
    return [row.id for row in rows]
