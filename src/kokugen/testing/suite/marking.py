"""Cases of the seed's `mark_as_…` and `update_state`: every change of a state, by id alone."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from kokugen.clock import from_us
from kokugen.errors import NoEntryError, NotUpdatableStateError
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import AddResult, Finished
from kokugen.task import TaskState
from kokugen.testing.suite.lab import NOBODY, STATES, Lab, ask, assert_changed

Mark = Callable[[DurableRepository, str], Awaitable[bool]]

MARKS: dict[TaskState, Mark] = {
    TaskState.DONE: lambda repo, task_id: repo.mark_as_done(task_id),
    TaskState.CANCELLED: lambda repo, task_id: repo.mark_as_cancelled(task_id),
    TaskState.FAILED: lambda repo, task_id: repo.mark_as_failed(task_id),
}
OPEN = (TaskState.INITIALIZED, TaskState.WORKING)
ALLOWED = [(old, new) for old in OPEN for new in STATES if old != new]
REFUSED = [(old, new) for old in STATES for new in STATES if (old, new) not in ALLOWED]


def _name(value: object) -> str:
    return value.label if isinstance(value, TaskState) else str(value)


class MarkingCases:
    """The seed's marks. They are not fenced themselves, and they fence the run that was under way."""

    @pytest.mark.parametrize("state", STATES, ids=_name)
    @pytest.mark.parametrize("mark", MARKS, ids=_name)
    def test_a_mark_ends_a_task_that_is_not_over_and_changes_no_other(
        self, lab: Lab, mark: TaskState, state: TaskState
    ) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        lab.pass_time()
        assert ask(MARKS[mark](lab.repo, task_id)) is (state in OPEN)
        if state in OPEN:
            now = from_us(lab.now)
            expected = {"state": mark, "owner": None, "finished_at": now, "last_modified": now}
            assert_changed(before[0], lab.info(task_id), **expected)
        else:
            assert lab.whole(task_id) == before

    @pytest.mark.parametrize("mark", MARKS, ids=_name)
    def test_a_mark_of_a_task_that_is_not_there_says_so(self, lab: Lab, mark: TaskState) -> None:
        with pytest.raises(NoEntryError) as refused:
            ask(MARKS[mark](lab.repo, NOBODY))
        assert refused.value.task_id == NOBODY

    @pytest.mark.parametrize("mark", MARKS, ids=_name)
    def test_a_marked_task_is_not_claimed_and_its_unique_key_is_free(self, lab: Lab, mark: TaskState) -> None:
        task_id = lab.add(unique_key="u")
        ask(MARKS[mark](lab.repo, task_id))
        assert lab.claimed() == []
        assert lab.add_all(lab.new(unique_key="u"))[0].result == AddResult.ADDED

    @pytest.mark.parametrize("mark", MARKS, ids=_name)
    def test_a_mark_takes_the_lease_of_the_run(self, lab: Lab, mark: TaskState) -> None:
        task_id = lab.add()
        claim = lab.start(task_id)
        ask(MARKS[mark](lab.repo, task_id))
        assert lab.beat((task_id, claim)) == []
        assert lab.watch() == []
        assert lab.finish(task_id, claim) == Finished.FENCED

    @pytest.mark.parametrize("mark", [TaskState.CANCELLED, TaskState.FAILED], ids=_name)
    def test_a_run_that_was_marked_is_told_in_the_history(self, lab: Lab, mark: TaskState) -> None:
        task_id = lab.in_state(TaskState.WORKING)
        ask(MARKS[mark](lab.repo, task_id))
        assert [attempt.outcome for attempt in lab.attempts(task_id)] == [mark.label.lower()]

    def test_a_run_that_was_given_back_is_told_in_the_history(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.WORKING)
        ask(lab.repo.update_state(task_id, TaskState.WORKING, TaskState.INITIALIZED))
        assert [attempt.outcome for attempt in lab.attempts(task_id)] == ["released"]

    # -- update_state

    @pytest.mark.parametrize(("old", "new"), ALLOWED, ids=_name)
    def test_a_state_is_swapped_where_it_is_the_old_one(self, lab: Lab, old: TaskState, new: TaskState) -> None:
        task_id = lab.in_state(old)
        rev = lab.info(task_id).rev
        assert ask(lab.repo.update_state(task_id, old, new)) is True
        info = lab.info(task_id)
        assert (info.state, info.rev > rev) == (new, True)
        assert (info.owner is not None) is (new == TaskState.WORKING)
        assert (info.finished_at is not None) is new.terminal

    @pytest.mark.parametrize(
        ("actual", "old", "new"),
        [(actual, old, new) for old, new in ALLOWED for actual in STATES if actual != old],
        ids=_name,
    )
    def test_a_state_is_not_swapped_where_it_is_another(
        self, lab: Lab, actual: TaskState, old: TaskState, new: TaskState
    ) -> None:
        task_id = lab.in_state(actual)
        before = lab.whole(task_id)
        lab.pass_time()
        assert ask(lab.repo.update_state(task_id, old, new)) is False
        assert lab.whole(task_id) == before

    @pytest.mark.parametrize(("old", "new"), REFUSED, ids=_name)
    def test_a_swap_that_no_task_can_make_is_refused(self, lab: Lab, old: TaskState, new: TaskState) -> None:
        task_id = lab.in_state(old)
        before = lab.whole(task_id)
        with pytest.raises(NotUpdatableStateError):
            ask(lab.repo.update_state(task_id, old, new))
        assert lab.whole(task_id) == before

    def test_a_swap_of_a_task_that_is_not_there_says_so(self, lab: Lab) -> None:
        with pytest.raises(NoEntryError):
            ask(lab.repo.update_state(NOBODY, TaskState.INITIALIZED, TaskState.WORKING))

    # -- A claim by id

    def test_a_task_is_claimed_by_id_before_it_is_due(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now + 5)
        assert ask(lab.repo.update_state(task_id, TaskState.INITIALIZED, TaskState.WORKING))
        info = lab.info(task_id)
        assert (info.state, info.attempt, info.fence) == (TaskState.WORKING, 1, 1)
        assert (info.owner, info.claimed_at) == ("by-id", from_us(lab.now))
        lab.pass_time()
        answer = lab.claim()
        assert (answer.tasks, answer.next_due) == ([], None)

    def test_a_held_task_may_be_claimed_by_id_and_is_not_held_any_more(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.revise(task_id, hold="not restored")
        assert ask(lab.repo.update_state(task_id, TaskState.INITIALIZED, TaskState.WORKING))
        assert lab.info(task_id).hold is None

    def test_a_task_claimed_by_id_and_given_back_is_claimed_by_a_node(self, lab: Lab) -> None:
        task_id = lab.add()
        ask(lab.repo.update_state(task_id, TaskState.INITIALIZED, TaskState.WORKING))
        ask(lab.repo.update_state(task_id, TaskState.WORKING, TaskState.INITIALIZED))
        (run,) = lab.claim().tasks
        assert (run.id, run.attempt, run.fence) == (task_id, 1, 2)

    def test_a_task_to_be_cancelled_is_not_given_back(self, lab: Lab) -> None:
        task_id = lab.in_state(TaskState.WORKING)
        lab.request_cancel(task_id, reason="not needed")
        assert ask(lab.repo.update_state(task_id, TaskState.WORKING, TaskState.INITIALIZED))
        info = lab.info(task_id)
        assert (info.state, info.reason, info.attempt) == (TaskState.CANCELLED, "not needed", 1)

    def test_of_many_claims_by_id_one_wins(self, lab: Lab) -> None:
        for _ in range(20):
            task_id = lab.add()

            def claim(_: int, task_id: str = task_id) -> bool:
                return ask(lab.repo.update_state(task_id, TaskState.INITIALIZED, TaskState.WORKING))

            with ThreadPoolExecutor(4) as pool:
                assert sorted(pool.map(claim, range(4))) == [False, False, False, True]
            assert lab.info(task_id).fence == 1
