"""Cases of a unique key that is taken: what becomes of the task that has it, and of the one that comes."""

from __future__ import annotations

import pytest

from kokugen.repository.rows import Added, AddResult
from kokugen.task import OnDuplicate, TaskState
from kokugen.testing.suite.lab import SECOND_US, Lab, params

REPLACING = [OnDuplicate.REPLACE, OnDuplicate.PRESERVE]


class ReplacingCases:
    """`on_duplicate`."""

    @pytest.mark.parametrize("chosen", [OnDuplicate.REFUSE, OnDuplicate.KEEP])
    def test_a_task_that_is_kept_is_as_it_was(self, lab: Lab, chosen: OnDuplicate) -> None:
        first = lab.add(unique_key="ann", param=params(1))
        before = lab.whole(first)
        answers = lab.add_all(lab.new(unique_key="ann", param=params(2), on_duplicate=chosen))
        assert answers == [Added(first, AddResult.DUPLICATE)]
        assert lab.whole(first) == before

    def test_the_waiting_task_takes_arguments_options_and_time(self, lab: Lab) -> None:
        first = lab.add(unique_key="ann", param=params(1), zone="Europe/Berlin", local_time="2026-01-01T01:00:00")
        later = lab.now + 60 * SECOND_US
        new = lab.new(
            unique_key="ann",
            param=params("x" * 3000),
            due_at=later,
            rank=-3,
            max_attempts=7,
            tags='["b"]',
            start_deadline=later + SECOND_US,
            on_duplicate=OnDuplicate.REPLACE,
        )
        assert lab.add_all(new) == [Added(first, AddResult.REPLACED)]
        assert lab.claimed() == []
        info = lab.info(first)
        assert (info.param.args, info.priority, info.max_attempts, info.tags) == (("x" * 3000,), 3, 7, ("b",))
        assert (info.zone, info.local_time) == (None, None)
        lab.pass_time(60)
        (task,) = lab.claim().tasks
        assert (task.id, task.param, task.due_at, task.start_deadline) == (
            first,
            params("x" * 3000),
            later,
            later + SECOND_US,
        )

    def test_the_waiting_task_keeps_its_time_where_that_is_preserved(self, lab: Lab) -> None:
        first = lab.add(unique_key="ann", param=params(1))
        later = lab.now + 60 * SECOND_US
        new = lab.new(unique_key="ann", param=params(2), due_at=later, on_duplicate=OnDuplicate.PRESERVE)
        assert lab.add_all(new) == [Added(first, AddResult.REPLACED)]
        (task,) = lab.claim().tasks
        assert (task.id, task.param) == (first, params(2))

    @pytest.mark.parametrize("chosen", REPLACING)
    def test_a_running_task_goes_on_and_the_new_one_runs_after_it(self, lab: Lab, chosen: OnDuplicate) -> None:
        running = lab.add(unique_key="ann", param=params(1))
        claim = lab.start(running)
        first, second = (
            lab.new(unique_key="ann", param=params(n), due_at=lab.now + n * SECOND_US, on_duplicate=chosen)
            for n in (2, 3)
        )
        assert lab.add_all(first) == [Added(first.id, AddResult.ADDED)]
        assert lab.add_all(second) == [Added(first.id, AddResult.REPLACED)]
        assert (lab.info(running).state, lab.info(running).unique) == (TaskState.WORKING, None)
        lab.finish(running, claim)
        lab.pass_time(5)
        assert [task.param for task in lab.claim().tasks] == [params(3)]

    @pytest.mark.parametrize("chosen", REPLACING)
    def test_a_key_that_is_free_again_is_taken_as_ever(self, lab: Lab, chosen: OnDuplicate) -> None:
        lab.in_state(TaskState.DONE, unique_key="ann", work_id="work")
        new = lab.new(unique_key="ann", on_duplicate=chosen)
        assert lab.add_all(new) == [Added(new.id, AddResult.ADDED)]

    @pytest.mark.parametrize("about", [{"work_id": "other"}, {"queue": "other"}])
    def test_a_task_of_another_work_or_queue_is_never_replaced(self, lab: Lab, about: dict[str, str]) -> None:
        first = lab.add(unique_key="ann", **about)
        before = lab.whole(first)
        answers = lab.add_all(lab.new(unique_key="ann", on_duplicate=OnDuplicate.REPLACE))
        assert answers == [Added(first, AddResult.DUPLICATE)]
        assert lab.whole(first) == before

    def test_of_a_batch_each_is_answered_for_itself(self, lab: Lab) -> None:
        first = lab.add(unique_key="ann", param=params(1))
        tasks = [
            lab.new(unique_key="ann", param=params(2), on_duplicate=OnDuplicate.REPLACE),
            lab.new(),
            lab.new(unique_key="bob", on_duplicate=OnDuplicate.REPLACE),
            lab.new(unique_key="ann"),
        ]
        results = [answer.result for answer in lab.add_all(*tasks)]
        assert results == [AddResult.REPLACED, AddResult.ADDED, AddResult.ADDED, AddResult.DUPLICATE]
        assert lab.info(first).param.args == (2,)

    def test_an_undecodable_task_waits_again_with_new_arguments(self, lab: Lab) -> None:
        first = lab.add(unique_key="ann", param=params(1))
        lab.revise(first, hold="undecodable")
        lab.add_all(lab.new(unique_key="ann", param=params(2), on_duplicate=OnDuplicate.REPLACE))
        assert lab.claimed() == [first]
