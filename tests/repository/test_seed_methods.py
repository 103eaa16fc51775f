"""The seed's methods ask the engine's for the right thing, and refuse in the reply, never before it."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from random import Random
from typing import Any

import pytest

from kokugen.clock import to_us
from kokugen.errors import (
    DuplicateTaskError,
    InvalidEntryError,
    KokugenError,
    NoEntryError,
    NotUpdatableStateError,
    ScheduledTimeError,
    StaleRevisionError,
)
from kokugen.ids import IdSource
from kokugen.reply import Reply
from kokugen.repository.rows import Added, AddResult, NewTask, Revision
from kokugen.repository.seed_methods import PART_MAX, SeedMethods, readable_param
from kokugen.task import Params, TaskInfo, TaskState, UpdateDiff
from kokugen.testing import ManualClock

WHEN = datetime(2026, 5, 1, 12, tzinfo=UTC)
WAITING, WORKING, DONE = TaskState.INITIALIZED, TaskState.WORKING, TaskState.DONE


class Recorder(SeedMethods):
    """Writes down what it is asked, and answers as it was told."""

    def __init__(self, **answers: Any) -> None:
        self._ids = IdSource(ManualClock(), Random(7))
        self.asked: list[tuple[Any, ...]] = []
        self.answers = answers

    def _answer(self, name: str, *asked: Any) -> Reply[Any]:
        self.asked.append((name, *asked))
        answer = self.answers[name]
        return Reply.failed(answer) if isinstance(answer, Exception) else Reply.of(answer)

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        return self._answer("add", *tasks)

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        return self._answer("get", *task_ids)

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        return self._answer("revise", task_id, revision)

    def _transition(
        self, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None
    ) -> Reply[TaskState]:
        return self._answer("transition", task_id, old, new, reason)

    def _modified_since(self, since_us: int, limit: int) -> Reply[list[TaskInfo]]:
        return self._answer("modified_since", since_us, limit)


def test_an_insert_adds_what_was_given_under_a_new_id() -> None:
    repo = Recorder(add=[Added("t1", AddResult.ADDED)])
    assert repo.insert(TaskInfo(id="old", work_id="w", scheduled_time=WHEN, param=[1])).result() == "t1"
    ((_, task),) = repo.asked
    assert task == NewTask(
        id=task.id, work_id="w", due_at=to_us(WHEN), scheduled_time=to_us(WHEN), param='{"args":[1]}'
    )
    assert task.id != "old"


def test_two_inserts_have_two_ids() -> None:
    repo = Recorder(add=[Added("t1", AddResult.ADDED)])
    for _ in range(2):
        repo.insert(TaskInfo(work_id="w", scheduled_time=WHEN)).result()
    assert len({task.id for _, task in repo.asked}) == 2


def test_an_insert_with_a_taken_unique_key_names_the_holder() -> None:
    repo = Recorder(add=[Added("t1", AddResult.DUPLICATE)])
    with pytest.raises(DuplicateTaskError) as refused:
        repo.insert(TaskInfo(work_id="w", scheduled_time=WHEN, unique="u")).result()
    assert (refused.value.unique_key, refused.value.existing_id) == ("u", "t1")


@pytest.mark.parametrize(
    ("call", "error"),
    [
        (lambda repo: repo.insert(TaskInfo(work_id="", scheduled_time=WHEN)), InvalidEntryError),
        (lambda repo: repo.insert(TaskInfo(work_id="w", scheduled_time=WHEN, state=DONE)), InvalidEntryError),
        (lambda repo: repo.get_updated_since(datetime(2026, 1, 1)), ScheduledTimeError),  # noqa: DTZ001
        (lambda repo: repo.update_state("t", DONE, WORKING), NotUpdatableStateError),
        (lambda repo: repo.update_state("t", WAITING, WAITING), NotUpdatableStateError),
        (lambda repo: repo.update("t", UpdateDiff(work_id="a b")), InvalidEntryError),
        (lambda repo: repo.update("t", UpdateDiff(work_id="w", state=DONE)), InvalidEntryError),
    ],
    ids=["no_work", "done", "naive", "from_an_end", "to_itself", "bad_work", "two_changes"],
)
def test_a_refusal_comes_with_the_reply_and_nothing_is_asked(call: Any, error: type[KokugenError]) -> None:
    repo = Recorder()
    reply = call(repo)
    with pytest.raises(error):
        reply.result()
    assert repo.asked == []


def test_a_task_is_got_by_its_id() -> None:
    info = TaskInfo(id="t", work_id="w", scheduled_time=WHEN)
    assert Recorder(get=[info]).get_by_id("t").result() is info
    with pytest.raises(NoEntryError):
        Recorder(get=[]).get_by_id("t").result()


def test_updates_are_asked_for_to_the_microsecond_and_in_parts() -> None:
    repo = Recorder(modified_since=[])
    repo.get_updated_since(WHEN.replace(microsecond=7)).result()
    assert repo.asked == [("modified_since", to_us(WHEN) + 7, PART_MAX)]


@pytest.mark.parametrize("end", [TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED])
@pytest.mark.parametrize("before", TaskState)
def test_a_mark_is_answered_with_whether_the_task_was_open(end: TaskState, before: TaskState) -> None:
    repo = Recorder(transition=before)
    marked = getattr(repo, f"mark_as_{end.label.lower()}")("t").result()
    assert marked is (before in {WAITING, WORKING})
    assert repo.asked == [("transition", "t", frozenset({WAITING, WORKING}), end, None)]


def test_a_swap_asks_for_the_one_old_state() -> None:
    repo = Recorder(transition=WAITING)
    assert repo.update_state("t", WAITING, WORKING).result() is True
    assert repo.asked == [("transition", "t", frozenset({WAITING}), WORKING, None)]
    assert repo.update_state("t", WORKING, DONE).result() is False


def test_an_update_revises_the_fields_given_and_no_others() -> None:
    repo = Recorder(revise=3)
    diff = UpdateDiff(param={"a": 1}, scheduled_time=WHEN)
    assert repo.update("t", diff).result() is None
    when = to_us(WHEN)
    assert repo.asked == [("revise", "t", Revision(param='{"kwargs":{"a":1}}', scheduled_time=when, due_at=when))]


def test_an_update_of_the_state_alone_is_a_swap_from_waiting() -> None:
    repo = Recorder(transition=WAITING)
    assert repo.update("t", UpdateDiff(state=DONE)).result() is None
    assert repo.asked == [("transition", "t", frozenset({WAITING}), DONE, None)]


def test_an_update_of_the_state_of_a_task_that_does_not_wait_is_refused() -> None:
    with pytest.raises(NotUpdatableStateError) as refused:
        Recorder(transition=WORKING).update("t", UpdateDiff(state=DONE)).result()
    assert refused.value.state == WORKING


def test_what_the_store_refuses_is_refused() -> None:
    stale = StaleRevisionError("t", 2, 1)
    with pytest.raises(StaleRevisionError):
        Recorder(revise=stale).update("t", UpdateDiff(work_id="w")).result()


def test_a_param_is_shown_as_values_or_else_as_it_is_stored() -> None:
    assert readable_param('{"args":[1],"kwargs":{"a":2}}') == Params((1,), {"a": 2})
    assert readable_param("{broken") == "{broken"
