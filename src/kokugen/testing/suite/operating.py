"""Cases of `revive`, `prune`, and the nodes: what people and housekeeping may do, and to which tasks."""

from __future__ import annotations

from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import AddResult, Retention
from kokugen.task import Params, TaskState, replace
from kokugen.testing.suite.keeping import node
from kokugen.testing.suite.lab import (
    ENDED,
    NOBODY,
    NODE,
    OTHER_NODE,
    SECOND_US,
    STATES,
    Lab,
    ask,
    assert_changed,
    params,
)

LIMITS = {
    TaskState.DONE: "done_before",
    TaskState.CANCELLED: "cancelled_before",
    TaskState.FAILED: "failed_before",
}


class OperatingCases:
    """T12, T14, and the list of nodes."""

    # -- Revive

    @pytest.mark.parametrize("state", ENDED, ids=lambda state: state.label)
    def test_an_ended_task_waits_again_from_now(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state, due_at=lab.now - 5, param=params(1))
        before = lab.info(task_id)
        lab.pass_time()
        assert ask(lab.repo.revive([task_id], by="Ann")) == [task_id]
        expected = {"state": TaskState.INITIALIZED, "due_at": from_us(lab.now), "attempt": 0}
        after = lab.info(task_id)
        past = {"claimed_at": after.claimed_at, "started_at": after.started_at}
        assert_changed(before, after, **expected, **past, finished_at=None, last_modified=from_us(lab.now))
        (run,) = lab.claim().tasks
        assert (run.id, run.attempt, run.fence) == (task_id, 1, 1 + before.fence)

    def test_an_ended_task_waits_again_until_the_time_given(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.FAILED)
        due_at = lab.now + SECOND_US
        assert ask(lab.repo.revive([task_id], due_at=due_at)) == [task_id]
        assert lab.info(task_id).due_at == from_us(due_at)
        assert lab.claimed() == []
        lab.pass_time()
        assert lab.claimed() == [task_id]

    def test_a_revived_task_has_its_losses_forgiven(self, lab: Lab) -> None:
        task_id = lab.add(max_lost=2)
        lab.lose(task_id)
        lab.lose(task_id)
        assert lab.info(task_id).state == TaskState.FAILED
        ask(lab.repo.revive([task_id]))
        lab.lose(task_id)
        assert (lab.info(task_id).state, lab.info(task_id).lost) == (TaskState.INITIALIZED, 1)

    def test_a_revived_task_is_no_longer_to_be_cancelled(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.request_cancel(task_id)
        lab.finish(task_id, claim, TaskState.CANCELLED)
        ask(lab.repo.revive([task_id]))
        assert not lab.info(task_id).cancel_requested
        lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED)
        assert lab.info(task_id).state == TaskState.INITIALIZED

    def test_a_revived_task_starts_although_its_old_deadline_is_past(self, lab: Lab) -> None:
        task_id = lab.add(start_deadline=lab.now + 5)
        lab.pass_time()
        lab.claim()
        assert ask(lab.repo.revive([task_id])) == [task_id]
        assert lab.claimed() == [task_id]

    @pytest.mark.parametrize("state", [TaskState.INITIALIZED, TaskState.WORKING], ids=lambda state: state.label)
    def test_a_task_that_is_not_over_is_not_revived(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        lab.pass_time()
        assert ask(lab.repo.revive([task_id])) == []
        assert lab.whole(task_id) == before

    def test_a_task_whose_unique_key_is_taken_is_not_revived(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.FAILED, unique_key="u")
        lab.add(unique_key="u")
        before = lab.whole(task_id)
        assert ask(lab.repo.revive([task_id])) == []
        assert lab.whole(task_id) == before

    def test_a_revived_task_has_its_unique_key_again(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.FAILED, unique_key="u")
        ask(lab.repo.revive([task_id]))
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.DUPLICATE

    def test_of_two_with_one_unique_key_one_is_revived(self, lab: Lab) -> None:
        pair = [lab.in_state(TaskState.DONE, unique_key="u") for _ in range(2)]
        assert len(ask(lab.repo.revive(pair))) == 1
        states = sorted(info.state for info in ask(lab.repo.get(pair)))
        assert states == [TaskState.INITIALIZED, TaskState.DONE]

    def test_those_that_cannot_be_revived_do_not_keep_the_others_from_it(self, lab: Lab) -> None:
        waiting, done, failed = (lab.in_state(s) for s in (TaskState.INITIALIZED, TaskState.DONE, TaskState.FAILED))
        assert sorted(ask(lab.repo.revive([waiting, done, NOBODY, failed]))) == [done, failed]

    # -- Prune

    @pytest.mark.parametrize("state", ENDED, ids=lambda state: state.label)
    def test_a_task_goes_when_its_retention_is_over_and_not_before(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state, param=params("x" * 2000))
        assert _prune(lab, **{LIMITS[state]: lab.now}) == 0
        others = {limit: lab.now + 1 for other, limit in LIMITS.items() if other != state}
        assert _prune(lab, **others) == 0
        assert _prune(lab, **{LIMITS[state]: lab.now + 1}) == 1
        assert ask(lab.repo.get([task_id])) == []
        assert lab.attempts(task_id) == []

    def test_retention_counts_from_the_end_of_a_task(self, lab: Lab) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        lab.pass_time(10)
        limit = lab.now
        lab.pass_time()
        lab.finish(task_id, claim)
        assert _prune(lab, done_before=limit) == 0

    @pytest.mark.parametrize("state", [TaskState.INITIALIZED, TaskState.WORKING], ids=lambda state: state.label)
    def test_a_live_task_is_never_pruned(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        lab.pass_time()
        assert _prune(lab, **dict.fromkeys(LIMITS.values(), lab.now)) == 0
        assert lab.info(task_id).state == state

    def test_a_revived_task_is_not_pruned(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.DONE)
        ask(lab.repo.revive([task_id]))
        lab.pass_time()
        assert _prune(lab, **dict.fromkeys(LIMITS.values(), lab.now)) == 0

    @pytest.mark.parametrize("limit", [1, 2, 5, 9])
    def test_no_more_than_the_limit_goes_at_once(self, lab: Lab, limit: int) -> None:
        for number in range(6):
            lab.in_state(ENDED[number % 3])
        lab.pass_time()
        before = dict.fromkeys(LIMITS.values(), lab.now)
        assert _prune(lab, limit=limit, **before) == min(limit, 6)
        assert len(lab.infos()) == 6 - min(limit, 6)

    def test_the_id_of_a_pruned_task_may_be_used_again(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.FAILED, param=params("x" * 2000))
        _prune(lab, failed_before=lab.now + 1)
        lab.add(id=task_id, param=params(2))
        info = lab.info(task_id)
        assert (info.state, info.param, info.fence) == (TaskState.INITIALIZED, Params((2,)), 0)
        assert lab.claimed() == [task_id]

    # -- Nodes

    def test_a_node_is_written_down_with_the_time_it_started_and_was_seen(self, lab: Lab) -> None:
        ask(lab.repo.register(node(NODE)))
        (known,) = ask(lab.repo.nodes())
        assert known == replace(node(NODE), started_at=lab.now, seen_at=lab.now)

    def test_a_node_that_is_seen_again_keeps_its_start(self, lab: Lab) -> None:
        ask(lab.repo.register(node(NODE)))
        started = lab.now
        lab.pass_time()
        ask(lab.repo.register(node(NODE)))
        (known,) = ask(lab.repo.nodes())
        assert (known.started_at, known.seen_at, known.stopped_at) == (started, lab.now, None)

    def test_a_node_that_is_seen_again_offers_what_it_says_now(self, lab: Lab) -> None:
        ask(lab.repo.register(replace(node(NODE), offers='{"queues":["a"]}')))
        ask(lab.repo.register(replace(node(NODE), offers='{"queues":["b"]}')))
        assert [one.offers for one in ask(lab.repo.nodes())] == ['{"queues":["b"]}']

    def test_the_newest_node_comes_first(self, lab: Lab) -> None:
        ask(lab.repo.register(node(NODE)))
        lab.pass_time()
        ask(lab.repo.register(node(OTHER_NODE, "there")))
        lab.pass_time()
        ask(lab.repo.register(node(NODE)))
        assert [(one.node_id, one.label) for one in ask(lab.repo.nodes())] == [(OTHER_NODE, "there"), (NODE, "here")]

    def test_a_retired_node_is_written_down_as_stopped(self, lab: Lab) -> None:
        for node_id in (NODE, OTHER_NODE):
            ask(lab.repo.register(node(node_id)))
        lab.pass_time()
        ask(lab.repo.retire(NODE))
        stopped = {one.node_id: one.stopped_at for one in ask(lab.repo.nodes())}
        assert stopped == {NODE: lab.now, OTHER_NODE: None}

    def test_a_node_that_was_not_seen_for_long_is_forgotten_unless_it_holds_a_run(self, lab: Lab) -> None:
        for node_id in ("gone", NODE):
            ask(lab.repo.register(node(node_id)))
        lab.start(lab.add())
        lab.pass_time()
        ask(lab.repo.register(node(OTHER_NODE)))
        _prune(lab, done_before=lab.now)
        assert {one.node_id for one in ask(lab.repo.nodes())} == {"gone", NODE, OTHER_NODE}
        assert _prune(lab, failed_before=lab.now) == 0
        assert {one.node_id for one in ask(lab.repo.nodes())} == {NODE, OTHER_NODE}

    @pytest.mark.parametrize("state", STATES, ids=lambda state: state.label)
    def test_a_node_with_nothing_running_changes_no_task_when_it_is_retired(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        ask(lab.repo.register(node(OTHER_NODE)))
        ask(lab.repo.retire(OTHER_NODE))
        assert lab.whole(task_id) == before


def _prune(lab: Lab, **asked: Any) -> int:
    """Prune tasks that ended before the instants given; those of the other states stay."""
    return ask(lab.repo.prune(Retention(**{**dict.fromkeys(LIMITS.values(), 0), **asked})))
