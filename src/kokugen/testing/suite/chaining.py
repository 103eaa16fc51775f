"""Cases of tasks that follow others: let go, or cancelled, by the very change that ends the one before."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import (
    CHAIN_HOLD,
    NOT_REACHED,
    AddResult,
    CancelResult,
    ChainedTask,
    ClaimAnswer,
    Claimed,
    Finished,
    NewTask,
)
from kokugen.task import Params, TaskInfo, TaskQuery, TaskState
from kokugen.testing.suite.lab import ENDED, NODE, SECOND_US, Lab, ask, params
from kokugen.then import ON_DONE, ON_FAILED

ALWAYS = ON_DONE | ON_FAILED
LET_GO = {TaskState.DONE: ON_DONE, TaskState.FAILED: ON_FAILED}


def _done(lab: Lab, task_id: str) -> None:
    lab.finish(task_id, lab.start(task_id))


def _failed(lab: Lab, task_id: str) -> None:
    lab.finish(task_id, lab.start(task_id), TaskState.FAILED)


def _poisoned(lab: Lab, task_id: str) -> None:
    for _ in range(lab.info(task_id).max_lost):
        lab.lose(task_id)


def _retired(lab: Lab, task_id: str) -> None:
    for _ in range(lab.info(task_id).max_lost):
        lab.start(task_id, node_id=OLD_NODE)
        ask(lab.repo.retire(OLD_NODE))


def _expired(lab: Lab, task_id: str) -> None:
    info = lab.info(task_id)
    assert info.start_deadline is not None
    while from_us(lab.now) < info.start_deadline:
        lab.pass_time(10)
    lab.claim(only=frozenset({"none"}))


def _forced(lab: Lab, task_id: str) -> None:
    lab.start(task_id)
    lab.cancel(task_id, force=True)


def _cancelled_as_it_failed(lab: Lab, task_id: str) -> None:
    claim = lab.start(task_id)
    lab.request_cancel(task_id)
    lab.finish(task_id, claim, TaskState.INITIALIZED)


OLD_NODE = "cccccccc-cccc-4ccc-8ccc-cccccccccccc"
ENDINGS: dict[str, tuple[TaskState, Callable[[Lab, str], object]]] = {
    "done": (TaskState.DONE, _done),
    "failed": (TaskState.FAILED, _failed),
    "cancelled before it ran": (TaskState.CANCELLED, lambda lab, task_id: lab.cancel(task_id)),
    "cancelled by force": (TaskState.CANCELLED, _forced),
    "cancelled as it would wait again": (TaskState.CANCELLED, _cancelled_as_it_failed),
    "expired": (TaskState.CANCELLED, _expired),
    "lost too often": (TaskState.FAILED, _poisoned),
    "lost with its node": (TaskState.FAILED, _retired),
    "marked as done": (TaskState.DONE, lambda lab, task_id: ask(lab.repo.mark_as_done(task_id))),
    "marked as failed": (TaskState.FAILED, lambda lab, task_id: ask(lab.repo.mark_as_failed(task_id))),
    "marked as cancelled": (TaskState.CANCELLED, lambda lab, task_id: ask(lab.repo.mark_as_cancelled(task_id))),
}


class ChainingCases:
    """What follows the end of a task, however it ends."""

    @pytest.mark.parametrize("ending", ENDINGS)
    def test_each_end_lets_go_those_that_follow_it_and_cancels_the_others(self, lab: Lab, ending: str) -> None:
        state, end = ENDINGS[ending]
        first, *followers = add_chain(lab, {"follows_on": ON_DONE}, {"follows_on": ON_FAILED}, {"follows_on": ALWAYS})
        lab.pass_time()
        end(lab, first)
        assert lab.info(first).state == state
        for follower, on in zip(followers, (ON_DONE, ON_FAILED, ALWAYS), strict=True):
            info = lab.info(follower)
            if on & LET_GO.get(state, 0):
                assert (info.state, info.hold, info.due_at) == (TaskState.INITIALIZED, None, from_us(lab.now))
            else:
                assert (info.state, info.hold, info.reason) == (TaskState.CANCELLED, None, NOT_REACHED)
                assert info.finished_at == from_us(lab.now)

    def test_what_follows_waits_on_hold_while_the_one_before_waits_runs_and_is_tried_again(self, lab: Lab) -> None:
        first, follower = add_chain(lab, {})
        before = lab.info(follower)
        assert (before.hold, before.chain, before.follows) == (CHAIN_HOLD, first, first)
        assert (lab.info(first).hold, lab.info(first).chain, lab.info(first).follows) == (None, first, None)
        assert lab.claimed() == [first]
        lab.recover(*lab.watch())
        claim = lab.start(first)
        lab.finish(first, claim, TaskState.INITIALIZED)
        assert lab.claimed() == [first]
        assert lab.info(follower) == before

    def test_what_follows_is_claimed_once_and_told_of_the_one_before(self, lab: Lab) -> None:
        first, follower = add_chain(lab, {"param": params(1)})
        assert run_of(lab, first, result='"x"').chained
        (run,) = lab.claim().tasks
        assert (run.id, run.follows, run.param) == (follower, first, params(1))
        assert lab.claimed() == []

    def test_a_delay_counts_from_the_end_and_a_start_deadline_moves_along(self, lab: Lab) -> None:
        about = {"follows_delay": 5 * SECOND_US, "start_deadline": lab.now + SECOND_US}
        first, follower = add_chain(lab, about)
        lab.pass_time(60)
        run_of(lab, first)
        due = lab.now + 5 * SECOND_US
        info = lab.info(follower)
        assert (info.due_at, info.scheduled_time) == (from_us(due), from_us(due))
        assert info.start_deadline == from_us(due + SECOND_US)
        assert lab.claimed() == []
        lab.pass_time(5)
        assert lab.claimed() == [follower]

    @pytest.mark.parametrize("size", [0, 1000, 1100, 5000])
    def test_the_result_is_given_as_an_argument_to_the_run_and_to_who_looks(self, lab: Lab, size: int) -> None:
        first, follower = add_chain(lab, {"follows_arg": "text", "param": params(1, k=2.0)})
        run_of(lab, first, result=f'"é{"x" * size}"')
        whole = Params((1,), {"k": 2.0, "text": "é" + "x" * size})
        answer = lab.claim()
        assert [run.param for run in answer.tasks] == [params(1, k=2.0, text="é" + "x" * size)]
        assert lab.info(follower).param == whole
        assert _held(lab, answer).tasks == answer.tasks

    @pytest.mark.parametrize("state", LET_GO, ids=lambda state: state.label)
    def test_where_there_is_no_result_none_is_given(self, lab: Lab, state: TaskState) -> None:
        first, _ = add_chain(lab, {"follows_arg": "text", "follows_on": ALWAYS})
        lab.finish(first, lab.start(first), state)
        assert [run.param for run in lab.claim().tasks] == [params(text=None)]

    def test_numbers_and_order_of_a_result_come_as_they_were_written(self, lab: Lab) -> None:
        first, _ = add_chain(lab, {"follows_arg": "it"})
        run_of(lab, first, result='{"z":1.0,"a":1e22,"b":12345678901234567890123}')
        (run,) = lab.claim().tasks
        assert run.param == '{"kwargs":{"it":{"z":1.0,"a":1e22,"b":12345678901234567890123}}}'

    def test_a_repeated_finish_lets_nothing_go_again(self, lab: Lab) -> None:
        first, follower = add_chain(lab, {})
        claim = lab.start(first)
        lab.finish(first, claim)
        lab.finish(follower, lab.start(follower))
        before = lab.whole(follower)
        assert lab.finish(first, claim) == Finished.APPLIED
        assert lab.whole(follower) == before

    def test_a_refused_finish_lets_nothing_go(self, lab: Lab) -> None:
        first, follower = add_chain(lab, {})
        claim = lab.start(first)
        lab.recover(*lab.watch())
        before = lab.info(follower)
        assert lab.finish(first, claim) == Finished.FENCED
        assert lab.info(follower) == before

    def test_a_chain_goes_on_link_by_link(self, lab: Lab) -> None:
        ids = add_line(lab, 4)
        for task_id in ids:
            assert lab.claimed() == [task_id]
            lab.recover(*lab.watch())
            run_of(lab, task_id)
        assert [lab.info(task_id).state for task_id in ids] == [TaskState.DONE] * 4

    @pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED], ids=lambda state: state.label)
    def test_what_breaks_a_chain_cancels_all_that_would_follow(self, lab: Lab, state: TaskState) -> None:
        first, second, *rest = add_line(lab, 5)
        run_of(lab, first)
        lab.finish(second, lab.start(second), state)
        assert [(lab.info(one).state, lab.info(one).reason) for one in rest] == [(TaskState.CANCELLED, NOT_REACHED)] * 3
        assert lab.claimed() == []

    def test_one_that_waits_can_be_cancelled_alone_with_those_behind_it(self, lab: Lab) -> None:
        first, second, third = add_line(lab, 3)
        (answer,) = lab.cancel(second, reason="not needed")
        assert answer.result == CancelResult.CANCELLED
        assert (lab.info(second).reason, lab.info(third).reason) == ("not needed", NOT_REACHED)
        run_of(lab, first)
        assert [lab.info(one).state for one in (second, third)] == [TaskState.CANCELLED] * 2

    @pytest.mark.parametrize("backwards", [False, True])
    def test_a_whole_chain_cancelled_at_once_is_told_of_task_by_task(self, lab: Lab, backwards: bool) -> None:
        ids = add_line(lab, 4)[:: -1 if backwards else 1]
        answers = lab.cancel(*ids, ids[0], reason="all")
        assert [answer.id for answer in answers] == [*ids, ids[0]]
        assert [answer.result for answer in answers] == [CancelResult.CANCELLED] * 4 + [CancelResult.REFUSED]
        assert {lab.info(one).reason for one in ids} == {"all"}

    def test_one_that_was_released_by_hand_is_not_let_go_again(self, lab: Lab) -> None:
        first, follower = add_chain(lab, {})
        lab.revise(follower, release=True)
        lab.finish(follower, lab.start(follower))
        before = lab.whole(follower)
        run_of(lab, first)
        assert lab.whole(follower) == before

    # -- Revived

    @pytest.mark.parametrize("state", [TaskState.FAILED, TaskState.CANCELLED], ids=lambda state: state.label)
    def test_what_is_revived_takes_back_all_that_it_kept_from_being_reached(self, lab: Lab, state: TaskState) -> None:
        first, *rest = add_line(lab, 4)
        lab.finish(first, lab.start(first), state)
        assert ask(lab.repo.revive([first])) == [first]
        assert [(lab.info(one).state, lab.info(one).hold) for one in rest] == [(TaskState.INITIALIZED, CHAIN_HOLD)] * 3
        assert [lab.info(one).finished_at for one in rest] == [None] * 3
        for task_id in (first, *rest):
            run_of(lab, task_id)
        assert [lab.info(one).state for one in (first, *rest)] == [TaskState.DONE] * 4

    def test_what_followed_the_first_end_does_not_follow_the_second_again(self, lab: Lab) -> None:
        first, on_failed, on_done = add_chain(lab, {"follows_on": ON_FAILED}, {"follows_on": ON_DONE})
        _failed(lab, first)
        run_of(lab, on_failed)
        before = lab.whole(on_failed)
        ask(lab.repo.revive([first]))
        run_of(lab, first)
        assert lab.whole(on_failed) == before
        assert lab.claimed() == [on_done]

    def test_one_that_was_cancelled_for_itself_is_not_taken_back(self, lab: Lab) -> None:
        first, second, third = add_line(lab, 3)
        lab.cancel(second)
        _failed(lab, first)
        ask(lab.repo.revive([first]))
        assert [lab.info(one).state for one in (second, third)] == [TaskState.CANCELLED] * 2

    def test_one_that_is_revived_before_its_turn_waits_for_it(self, lab: Lab) -> None:
        first, second, third = add_line(lab, 3)
        lab.cancel(second)
        assert ask(lab.repo.revive([second])) == [second]
        assert [lab.info(one).hold for one in (second, third)] == [CHAIN_HOLD] * 2
        assert lab.claimed() == [first]

    def test_one_that_is_revived_after_its_turn_is_due_with_what_it_was_given(self, lab: Lab) -> None:
        first, second = add_chain(lab, {"follows_arg": "x"})
        run_of(lab, first, result="7")
        _failed(lab, second)
        ask(lab.repo.revive([second]))
        assert [(run.id, run.param) for run in lab.claim().tasks] == [(second, params(x=7))]

    # -- Added

    def test_a_chain_that_is_added_again_is_answered_as_there_and_changes_nothing(self, lab: Lab) -> None:
        rows = chain(lab, {}, {})
        assert [one.result for one in lab.add_all(*rows)] == [AddResult.ADDED] * 3
        before = [lab.whole(row.id) for row in rows]
        lab.pass_time()
        assert [one.result for one in lab.add_all(*rows)] == [AddResult.EXISTED] * 3
        assert [lab.whole(row.id) for row in rows] == before

    @pytest.mark.parametrize("state", [TaskState.INITIALIZED, *ENDED], ids=lambda state: state.label)
    def test_nothing_new_follows_an_id_that_was_there(self, lab: Lab, state: TaskState) -> None:
        there = lab.in_state(state)
        first, follower = chain(lab, {}, id=there)
        assert [one.result for one in lab.add_all(first, follower)] == [AddResult.EXISTED] * 2
        assert [info.id for info in lab.infos()] == [there]

    def test_nothing_follows_a_task_whose_unique_key_is_taken(self, lab: Lab) -> None:
        holder = lab.add(unique_key="u")
        rows = chain(lab, {}, unique_key="u")
        answers = lab.add_all(*rows, *(other := chain(lab, {})))
        results = [AddResult.DUPLICATE, AddResult.EXISTED, AddResult.ADDED, AddResult.ADDED]
        assert [one.result for one in answers] == results
        assert {info.id for info in lab.infos()} == {holder, *(row.id for row in other)}

    def test_of_one_id_that_comes_twice_the_first_alone_is_followed(self, lab: Lab) -> None:
        first, follower = chain(lab, {})
        again, other = chain(lab, {}, id=first.id)
        answers = lab.add_all(first, follower, again, other, lab.new())
        assert [one.result for one in answers][:4] == [AddResult.ADDED] * 2 + [AddResult.EXISTED] * 2
        assert {info.follows for info in lab.infos()} == {None, first.id}
        assert len(lab.infos()) == 3

    def test_what_follows_is_added_with_all_that_was_asked(self, lab: Lab) -> None:
        about = {"work_id": "next", "queue": "q", "rank": -3, "tags": '["a"]', "max_attempts": 4, "max_lost": 2}
        first, follower = add_chain(lab, {**about, "param": params(1), "options": '{"timeout_us":5}'})
        info = lab.info(follower)
        assert (info.work_id, info.queue, info.priority, info.tags) == ("next", "q", 3, ("a",))
        assert (info.max_attempts, info.max_lost, info.param) == (4, 2, Params((1,)))
        run_of(lab, first)
        (run,) = lab.claim(queues=("q",)).tasks
        assert run.options == '{"timeout_us":5}'

    # -- Found

    def test_the_tasks_of_a_chain_are_found_by_its_first(self, lab: Lab) -> None:
        ids = add_line(lab, 3)
        add_line(lab, 2)
        lab.add()
        query = TaskQuery(chain=ids[0])
        assert sorted(info.id for info in lab.pages(query)) == sorted(ids)
        assert ask(lab.repo.count(query)) == 3

    def test_chains_of_other_namespaces_are_left_alone(self, lab: Lab) -> None:
        rows = chain(lab, {})
        lab.add_all(*rows)
        other = Lab(lab.clock, lab.open_store)
        other.repo = lab.open_store("other")
        other.add_all(*rows)
        run_of(other, rows[0].id)
        assert lab.info(rows[1].id).hold == CHAIN_HOLD
        assert other.info(rows[1].id).hold is None

    def test_a_chain_outlives_the_instance_that_added_it(self, kept: Lab) -> None:
        first, second, third = add_line(kept, 3)
        run_of(kept, first)
        kept.repo.close()
        kept.repo = kept.open_store("default")
        run_of(kept, second)
        assert kept.claimed() == [third]


def chain(lab: Lab, *followers: dict[str, Any], **about: Any) -> list[NewTask]:
    """Return a task and others that follow it, each of a work of its own, as rows to add."""
    first = _place(lab.new(work_id=f"first-{lab.number()}", start_deadline=lab.now + 90 * SECOND_US), **about)
    place = {"hold": CHAIN_HOLD, "chain": first.id, "follows": first.id, "follows_on": ON_DONE, "follows_delay": 0}
    return [first, *(_place(lab.new(work_id=f"next-{lab.number()}"), **{**place, **one}) for one in followers)]


def add_chain(lab: Lab, *followers: dict[str, Any]) -> list[str]:
    """Add a task and others that follow it; return the ids."""
    rows = chain(lab, *followers)
    assert {one.result for one in lab.add_all(*rows)} == {AddResult.ADDED}
    return [row.id for row in rows]


def add_line(lab: Lab, length: int) -> list[str]:
    """Add tasks each of which follows the one before it; return the ids."""
    rows = chain(lab, *[{} for _ in range(length - 1)])
    line = [rows[0], *(_place(row, follows=before.id) for before, row in pairwise(rows))]
    assert {one.result for one in lab.add_all(*line)} == {AddResult.ADDED}
    return [row.id for row in line]


def _place(row: NewTask, **about: Any) -> ChainedTask:
    columns = {name: getattr(row, name) for name in row.__struct_fields__}
    return ChainedTask(**{"chain": about.get("id", row.id), **columns, **about})


def run_of(lab: Lab, task_id: str, **told: Any) -> Claimed:
    """Run a task to its end, and return what its run was told."""
    info: TaskInfo = lab.info(task_id)
    answer = lab.claim(only=frozenset({info.work_id}), queues=(info.queue,))
    assert [task.id for task in answer.tasks] == [task_id]
    assert lab.finish(task_id, answer.claim, **told) == Finished.APPLIED
    return answer.tasks[0]


def _held(lab: Lab, answer: ClaimAnswer) -> ClaimAnswer:
    return ask(lab.repo.held(NODE, answer.claim))
