"""Cases of `cancel`: what waits never starts, what runs is asked, what is over stays as it is."""

from __future__ import annotations

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import AddResult, CancelAnswer, CancelResult, Finished
from kokugen.task import TaskState
from kokugen.testing.suite.lab import ENDED, NOBODY, NODE, OUTCOMES, Lab, assert_changed


class CancellingCases:
    """T8, T9."""

    @pytest.mark.parametrize("force", [False, True])
    def test_a_waiting_task_is_cancelled_and_never_starts(self, lab: Lab, force: bool) -> None:
        task_id = lab.add(unique_key="u")
        before = lab.info(task_id)
        lab.pass_time()
        answers = lab.cancel(task_id, reason="not needed", force=force, by="Ann")
        assert answers == [CancelAnswer(task_id, CancelResult.CANCELLED, TaskState.CANCELLED)]
        now = from_us(lab.now)
        expected = {"state": TaskState.CANCELLED, "reason": "not needed"}
        assert_changed(before, lab.info(task_id), **expected, finished_at=now, last_modified=now)
        assert lab.claimed() == []
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.ADDED

    def test_a_task_that_is_not_due_yet_is_cancelled(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now + 5)
        assert lab.cancel(task_id)[0].result == CancelResult.CANCELLED
        lab.pass_time()
        answer = lab.claim()
        assert (answer.tasks, answer.next_due) == ([], None)

    def test_a_held_task_is_cancelled(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.revise(task_id, hold="paused")
        assert lab.cancel(task_id)[0].result == CancelResult.CANCELLED
        assert (lab.info(task_id).state, lab.info(task_id).hold) == (TaskState.CANCELLED, None)

    def test_a_running_task_is_asked_to_stop_and_its_run_is_named(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        before = lab.info(task_id)
        lab.pass_time()
        answers = lab.cancel(task_id, reason="not needed")
        assert answers == [CancelAnswer(task_id, CancelResult.REQUESTED, TaskState.WORKING, NODE, claim)]
        expected = {"cancel_requested": True, "reason": "not needed"}
        assert_changed(before, lab.info(task_id), **expected, last_modified=from_us(lab.now))

    def test_a_running_task_may_be_asked_again(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.WORKING)
        results = [lab.cancel(task_id)[0].result for _ in range(2)]
        assert results == [CancelResult.REQUESTED, CancelResult.REQUESTED]

    @pytest.mark.parametrize("requested", [False, True])
    def test_force_ends_a_running_task_at_once(self, lab: Lab, requested: bool) -> None:
        task_id = lab.add(unique_key="u")
        claim = lab.start(task_id)
        if requested:
            lab.request_cancel(task_id)
        (answer,) = lab.cancel(task_id, reason="now", force=True)
        assert (answer.result, answer.state) == (CancelResult.CANCELLED, TaskState.CANCELLED)
        info = lab.info(task_id)
        assert (info.state, info.reason, info.owner) == (TaskState.CANCELLED, "now", None)
        assert info.finished_at == from_us(lab.now)
        assert lab.beat((task_id, claim)) == []
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.ADDED

    @pytest.mark.parametrize("force", [False, True])
    @pytest.mark.parametrize("state", ENDED, ids=lambda state: state.label)
    def test_a_task_that_is_over_stays_as_it_is(self, lab: Lab, state: TaskState, force: bool) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        lab.pass_time()
        answers = lab.cancel(task_id, reason="late", force=force)
        assert answers == [CancelAnswer(task_id, CancelResult.REFUSED, state)]
        assert lab.whole(task_id) == before

    def test_a_task_that_is_not_there_is_missing(self, lab: Lab) -> None:
        assert lab.cancel(NOBODY) == [CancelAnswer(NOBODY, CancelResult.MISSING)]

    def test_each_id_has_its_own_answer_in_the_order_asked(self, lab: Lab) -> None:
        running = lab.in_state(TaskState.WORKING)
        over = lab.in_state(TaskState.DONE)
        waiting = [lab.add() for _ in range(3)]
        asked = (waiting[2], over, NOBODY, waiting[0], running, waiting[1])
        answers = lab.cancel(*asked)
        assert tuple(answer.id for answer in answers) == asked
        assert [str(answer.result) for answer in answers] == [
            "cancelled",
            "refused",
            "missing",
            "cancelled",
            "requested",
            "cancelled",
        ]

    def test_many_tasks_are_cancelled_in_one_call(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(1200)]
        lab.add_all(*tasks)
        answers = lab.cancel(*(task.id for task in tasks))
        assert {answer.result for answer in answers} == {CancelResult.CANCELLED}
        assert lab.claimed() == []

    def test_nothing_to_cancel_is_answered_with_nothing(self, lab: Lab) -> None:
        assert lab.cancel() == []

    @pytest.mark.parametrize("state", [TaskState.INITIALIZED, TaskState.CANCELLED], ids=lambda state: state.label)
    def test_after_a_request_no_new_attempt_starts(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.request_cancel(task_id)
        assert lab.finish(task_id, claim, state, outcome=OUTCOMES[state]) == Finished.APPLIED
        assert lab.info(task_id).state == TaskState.CANCELLED
        assert lab.claimed() == []

    def test_a_forced_cancel_is_told_in_the_history(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.WORKING)
        lab.cancel(task_id, force=True)
        assert [(one.outcome, one.node, one.fence) for one in lab.attempts(task_id)] == [("cancelled", NODE, 1)]
