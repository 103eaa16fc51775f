"""Cases of `revise`: a waiting task changes in the fields that are given alone; any other task not at all."""

from __future__ import annotations

from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.errors import NoEntryError, NotUpdatableStateError, StaleRevisionError
from kokugen.task import Params, Priority, TaskState
from kokugen.testing.suite.lab import NOBODY, NOT_WAITING, SECOND_US, Lab, assert_changed, params

WHEN = 1_800_000_000_000_001
CHANGES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "due_time": ({"due_at": WHEN}, {"due_at": from_us(WHEN)}),
    "due_time_zero": ({"due_at": 0}, {"due_at": from_us(0)}),
    "highest_priority": ({"rank": -3}, {"priority": Priority.URGENT}),
    "lowest_priority": ({"rank": 0}, {"priority": Priority.LOW}),
    "small_body": ({"param": params(2, b="ü")}, {"param": Params((2,), {"b": "ü"})}),
    "large_body": ({"param": params("x" * 5000)}, {"param": Params(("x" * 5000,))}),
    "work": ({"work_id": "other"}, {"work_id": "other"}),
    "hold": ({"hold": "paused"}, {"hold": "paused"}),
    "zone": ({"zone": "Asia/Tokyo", "local_time": "2026"}, {"zone": "Asia/Tokyo", "local_time": "2026"}),
    "time": ({"scheduled_time": WHEN}, {"scheduled_time": from_us(WHEN), "zone": None, "local_time": None}),
    "time_in_a_zone": (
        {"scheduled_time": WHEN, "zone": "Asia/Tokyo", "local_time": "2026"},
        {"scheduled_time": from_us(WHEN), "zone": "Asia/Tokyo", "local_time": "2026"},
    ),
    "nothing": ({}, {}),
}


class RevisingCases:
    """T11."""

    @pytest.mark.parametrize("name", CHANGES)
    def test_what_is_given_changes_and_nothing_else(self, lab: Lab, name: str) -> None:
        change, expected = CHANGES[name]
        task_id = lab.add(param=params(1), zone="Europe/Berlin", local_time="2025", tags='["t"]', unique_key="u")
        before = lab.info(task_id)
        lab.pass_time()
        rev = lab.revise(task_id, **change)
        after = lab.info(task_id)
        assert_changed(before, after, **expected, last_modified=from_us(lab.now))
        assert after.rev == rev

    @pytest.mark.parametrize("size", [10, 5000])
    def test_a_changed_body_reaches_the_run(self, lab: Lab, size: int) -> None:
        task_id = lab.add(param=params("y" * (5010 - size)))
        lab.revise(task_id, param=params("x" * size))
        assert [run.param for run in lab.claim().tasks] == [params("x" * size)]

    @pytest.mark.parametrize("state", NOT_WAITING, ids=lambda state: state.label)
    def test_a_task_that_does_not_wait_is_not_changed(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        lab.pass_time()
        with pytest.raises(NotUpdatableStateError) as refused:
            lab.revise(task_id, due_at=WHEN, work_id="other", hold="paused")
        assert (refused.value.task_id, refused.value.state) == (task_id, state)
        assert lab.whole(task_id) == before

    def test_a_task_that_is_not_there_is_not_changed(self, lab: Lab) -> None:
        with pytest.raises(NoEntryError) as refused:
            lab.revise(NOBODY, due_at=WHEN)
        assert refused.value.task_id == NOBODY

    def test_a_change_on_the_revision_that_was_read_is_made(self, lab: Lab) -> None:
        task_id = lab.add()
        rev = lab.revise(task_id, rev=lab.info(task_id).rev, due_at=WHEN)
        assert lab.revise(task_id, rev=rev, work_id="other") > rev
        assert lab.info(task_id).due_at == from_us(WHEN)

    def test_a_change_on_an_older_revision_is_refused(self, lab: Lab) -> None:
        task_id = lab.add()
        read = lab.info(task_id).rev
        current = lab.revise(task_id, due_at=WHEN)
        before = lab.whole(task_id)
        with pytest.raises(StaleRevisionError) as refused:
            lab.revise(task_id, rev=read, due_at=0)
        assert (refused.value.rev, refused.value.expected) == (current, read)
        assert lab.whole(task_id) == before

    def test_a_task_moved_to_now_is_claimed_now(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now + SECOND_US)
        lab.claim()
        lab.revise(task_id, due_at=lab.now)
        assert lab.claimed() == [task_id]

    def test_a_task_moved_to_later_is_claimed_later(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.revise(task_id, due_at=lab.now + SECOND_US)
        assert lab.claimed() == []
        lab.pass_time()
        assert lab.claimed() == [task_id]

    def test_a_task_of_a_new_priority_takes_its_new_place(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(6)]
        lab.revise(ids[4], rank=-Priority.URGENT)
        lab.revise(ids[0], rank=-Priority.LOW)
        assert lab.claimed() == [ids[4], ids[1], ids[2], ids[3], ids[5], ids[0]]

    def test_a_task_of_a_new_work_is_claimed_as_that(self, lab: Lab) -> None:
        task_id = lab.add(work_id="old")
        lab.revise(task_id, work_id="new")
        assert lab.claimed(only=frozenset({"old"})) == []
        assert lab.claimed(only=frozenset({"new"})) == [task_id]

    def test_a_released_task_is_claimed_again(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.revise(task_id, hold="paused")
        lab.revise(task_id, release=True)
        assert lab.info(task_id).hold is None
        assert lab.claimed() == [task_id]

    def test_a_held_task_can_be_changed_and_stays_held(self, lab: Lab) -> None:
        task_id = lab.add(param="[")
        lab.revise(task_id, hold="undecodable")
        lab.revise(task_id, param=params(1), due_at=lab.now - 1)
        assert lab.info(task_id).hold == "undecodable"
        assert lab.claimed() == []
        lab.revise(task_id, release=True)
        assert lab.claimed() == [task_id]
