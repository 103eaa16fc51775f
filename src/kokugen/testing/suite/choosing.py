"""Cases of which tasks a claim may take: queues, works, careful tasks, and tasks that it is too late to start."""

from __future__ import annotations

from datetime import timedelta

import pytest

from kokugen.clock import from_us
from kokugen.task import Mode, TaskQuery, TaskState
from kokugen.testing.suite.lab import SECOND_US, Lab, ask, assert_changed


class ChoosingCases:
    """T2 and T8: what is left out never hides what is not."""

    def test_only_the_queues_that_are_served_are_claimed(self, lab: Lab) -> None:
        ids = {queue: lab.add(queue=queue) for queue in ("default", "a", "b", "a.b")}
        assert lab.claimed(queues=("a",)) == [ids["a"]]
        assert lab.claimed(queues=("b", "a.b")) == [ids["b"], ids["a.b"]]
        assert lab.claimed() == [ids["default"]]

    def test_only_the_works_that_are_known_here_are_claimed(self, lab: Lab) -> None:
        ids = {work_id: lab.add(work_id=work_id) for work_id in ("a", "b", "c")}
        assert lab.claimed(only=frozenset({"a", "c", "unused"})) == [ids["a"], ids["c"]]

    def test_works_that_are_missing_here_are_left_to_others(self, lab: Lab) -> None:
        ids = {work_id: lab.add(work_id=work_id) for work_id in ("a", "b", "c")}
        assert lab.claimed(skip=frozenset({"a", "c"})) == [ids["b"]]

    def test_skip_counts_among_the_only_ones(self, lab: Lab) -> None:
        ids = {work_id: lab.add(work_id=work_id) for work_id in ("a", "b", "c")}
        assert lab.claimed(only=frozenset({"a", "b"}), skip=frozenset({"a"})) == [ids["b"]]

    def test_a_node_that_knows_no_work_claims_nothing(self, lab: Lab) -> None:
        lab.add()
        assert lab.claimed(only=frozenset()) == []

    def test_tasks_left_to_others_do_not_hide_the_ones_behind_them(self, lab: Lab) -> None:
        lab.add_all(*(lab.new(work_id="unknown", due_at=lab.now - 5) for _ in range(300)))
        known = [lab.new(work_id="known") for _ in range(5)]
        lab.add_all(*known)
        assert lab.claimed(slots=5, skip=frozenset({"unknown"})) == [task.id for task in known]

    def test_held_tasks_do_not_hide_the_ones_behind_them(self, lab: Lab) -> None:
        for _ in range(30):
            lab.revise(lab.add(due_at=lab.now - 5), hold="paused")
        task_id = lab.add()
        assert lab.claimed(slots=1) == [task_id]

    # -- Works that are declared here to run at most once, whatever their tasks were stored as

    def test_a_task_of_strict_work_runs_at_most_once_from_its_claim_on(self, lab: Lab) -> None:
        lax, strict, other = lab.add(), lab.add(work_id="strict"), lab.add(work_id="strict", mode=Mode.AT_MOST_ONCE)
        modes = {task.id: task.mode for task in lab.claim(strict=frozenset({"strict", "unused"})).tasks}
        assert modes == {lax: Mode.AT_LEAST_ONCE, strict: Mode.AT_MOST_ONCE, other: Mode.AT_MOST_ONCE}
        assert [lab.info(one).mode for one in (lax, strict, other)] == [modes[one] for one in (lax, strict, other)]

    def test_a_run_of_strict_work_that_is_lost_is_not_run_again(self, lab: Lab) -> None:
        task_id = lab.add(work_id="strict")
        lab.claim(strict=frozenset({"strict"}))
        lab.pass_time()
        lab.recover(*lab.watch())
        assert (lab.info(task_id).state, lab.info(task_id).reason) == (TaskState.FAILED, "lost")

    def test_a_task_of_strict_work_that_is_given_back_waits_for_a_slot(self, lab: Lab) -> None:
        first, second = lab.add(work_id="strict"), lab.add(work_id="strict")
        answer = lab.claim(strict=frozenset({"strict"}))
        for task in answer.tasks:
            lab.finish(task.id, answer.claim, TaskState.INITIALIZED, outcome="released", attempt_back=1)
        assert lab.claimed(slots=1, buffer=5) == [first]
        assert lab.claimed(slots=1) == [second]

    # -- Tasks that may not wait in a buffer

    def test_a_task_that_runs_at_most_once_waits_for_a_slot(self, lab: Lab) -> None:
        first, second = (lab.add(mode=Mode.AT_MOST_ONCE) for _ in range(2))
        assert lab.claimed(slots=1, buffer=5) == [first]
        assert lab.claimed(slots=0, buffer=5) == []
        assert lab.claimed(slots=1) == [second]

    def test_careful_tasks_that_wait_for_a_slot_do_not_hide_the_ones_behind_them(self, lab: Lab) -> None:
        careful = [lab.new(mode=Mode.AT_MOST_ONCE, due_at=lab.now - 5) for _ in range(20)]
        normal = [lab.new() for _ in range(6)]
        lab.add_all(*careful, *normal)
        claimed = lab.claimed(slots=2, buffer=4)
        assert claimed == [task.id for task in (*careful[:2], *normal[:4])]

    def test_a_lost_task_waits_for_a_slot(self, lab: Lab) -> None:
        lost = _lost(lab, 1)
        assert lab.claimed(slots=0, buffer=5) == []
        assert lab.claimed(slots=1) == lost

    @pytest.mark.parametrize("lost_max", [0, 1, 2])
    def test_no_more_lost_tasks_than_allowed_are_handed_out(self, lab: Lab, lost_max: int) -> None:
        lost = _lost(lab, 3)
        assert lab.claimed(slots=10, lost_max=lost_max) == lost[:lost_max]

    def test_lost_tasks_that_must_wait_do_not_hide_the_ones_behind_them(self, lab: Lab) -> None:
        lost = _lost(lab, 8)
        normal = [lab.new() for _ in range(4)]
        lab.add_all(*normal)
        assert lab.claimed(slots=3) == [lost[0], normal[0].id, normal[1].id]

    def test_tasks_passed_over_are_claimed_later_in_their_order(self, lab: Lab) -> None:
        lost = _lost(lab, 3)
        assert lab.claimed() == lost[:1]
        assert lab.claimed(lost_max=9) == lost[1:]

    # -- Tasks that it is too late to start

    def test_a_task_past_its_start_deadline_is_cancelled_as_expired(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + SECOND_US, unique_key="u")
        before = lab.info(task_id)
        lab.pass_time(2)
        assert lab.claimed() == []
        now = from_us(lab.now)
        expected = {"state": TaskState.CANCELLED, "reason": "expired", "finished_at": now, "last_modified": now}
        assert_changed(before, lab.info(task_id), **expected)
        assert lab.add_all(lab.new(unique_key="u"))[0].id != task_id

    @pytest.mark.parametrize("late_us", [-1, 0, 1])
    def test_a_task_starts_until_just_before_its_deadline(self, lab: Lab, late_us: int) -> None:
        task_id = lab.add(start_deadline=lab.now + SECOND_US)
        lab.clock.advance(timedelta(microseconds=SECOND_US + late_us))
        assert lab.claimed() == ([task_id] if late_us < 0 else [])
        assert lab.info(task_id).state == (TaskState.WORKING if late_us < 0 else TaskState.CANCELLED)

    def test_a_held_task_expires_once_it_is_released(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 1)
        lab.revise(task_id, hold="undecodable")
        lab.pass_time()
        assert lab.claimed() == []
        assert lab.info(task_id).hold == "undecodable"
        lab.revise(task_id, release=True)
        assert lab.claimed() == []
        assert lab.info(task_id).reason == "expired"

    def test_a_run_under_way_does_not_expire(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 1)
        claim = lab.start(task_id)
        lab.pass_time()
        lab.claim()
        assert lab.finish(task_id, claim).name == "APPLIED"
        assert lab.info(task_id).state == TaskState.DONE

    def test_many_expired_tasks_are_never_claimed_and_do_not_hide_the_ones_behind_them(self, lab: Lab) -> None:
        late = [lab.new(start_deadline=lab.now + 1) for _ in range(250)]
        lab.pass_time()
        fine = [lab.new() for _ in range(5)]
        lab.add_all(*late, *fine)
        assert lab.claimed(slots=5) == [task.id for task in fine]
        assert ask(lab.repo.count(TaskQuery(states=frozenset({TaskState.CANCELLED})))) <= 100
        assert [lab.claimed() for _ in range(3)] == [[], [], []]
        states = {info.state for info in ask(lab.repo.get([task.id for task in late]))}
        assert states == {TaskState.CANCELLED}

    def test_a_start_deadline_moves_along_when_the_task_is_rescheduled(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 5)
        lab.revise(task_id, due_at=lab.now + SECOND_US)
        assert lab.info(task_id).start_deadline == from_us(lab.now + SECOND_US + 5)
        lab.pass_time()
        assert lab.claimed() == [task_id]

    def test_a_start_deadline_moves_along_with_the_next_attempt(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 5)
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, due_at=lab.now + SECOND_US)
        assert lab.info(task_id).start_deadline == from_us(lab.now + SECOND_US + 5)
        lab.pass_time()
        assert lab.claimed() == [task_id]


def _lost(lab: Lab, number: int) -> list[str]:
    """Return tasks that wait again after their nodes died, in order."""
    ids = [lab.add(due_at=lab.now - 9) for _ in range(number)]
    lab.claim()
    lab.recover(*lab.watch())
    return ids
