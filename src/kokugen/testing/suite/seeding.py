"""Cases of the seed's `insert`, `get_by_id`, `get_updated_since` and `update`."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.errors import (
    DuplicateTaskError,
    InvalidEntryError,
    NoEntryError,
    NotUpdatableStateError,
    ScheduledTimeError,
)
from kokugen.repository.protocol import Repository, RepositoryUpdater, StateUpdater, Updater
from kokugen.task import Params, TaskInfo, TaskState, UpdateDiff
from kokugen.testing.suite.lab import NOBODY, NOT_WAITING, SECOND, SECOND_US, STATES, Lab, ask, assert_changed, params

WHEN = datetime(2027, 5, 6, 7, 8, 9, 10, tzinfo=UTC)
INVALID: dict[str, dict[str, Any]] = {
    "naive": {"scheduled_time": datetime(2027, 1, 1)},  # noqa: DTZ001 - it is to be refused
    "no_work": {"work_id": ""},
    "bad_work": {"work_id": "a b"},
    "bad_queue": {"queue": "a\nb"},
    "bad_param": {"param": {"x": object()}},
    "bad_priority": {"priority": 4},
    "bad_mode": {"mode": 2},
    "bad_tag": {"tags": ("a b",)},
    "bad_unique": {"unique": ""},
    "no_attempt": {"max_attempts": 0},
    "endless_attempts": {"max_attempts": 1 << 62},
    "no_loss": {"max_lost": 0},
    "naive_deadline": {"start_deadline": datetime(2027, 1, 1)},  # noqa: DTZ001 - it is to be refused
    **{state.label: {"state": state} for state in NOT_WAITING},
}


class SeedingCases:
    """The seed's own methods, with the seed's meaning."""

    @pytest.mark.parametrize("protocol", [Repository, StateUpdater, Updater, RepositoryUpdater])
    def test_it_has_the_methods_of_the_seed(self, lab: Lab, protocol: type) -> None:
        assert isinstance(lab.repo, protocol)

    def test_an_inserted_task_has_a_new_id_and_is_as_it_was_given(self, lab: Lab) -> None:
        given = TaskInfo(
            id=NOBODY, work_id="mail", scheduled_time=WHEN, param={"a": 1}, last_modified=WHEN, unique="u", tags=("t",)
        )
        task_id = ask(lab.repo.insert(given))
        now = from_us(lab.now)
        info = lab.info(task_id)
        assert task_id not in {NOBODY, ""}
        assert info == TaskInfo(
            id=task_id,
            work_id="mail",
            scheduled_time=WHEN,
            due_at=WHEN,
            param=Params(kwargs={"a": 1}),
            last_modified=now,
            created_at=now,
            unique="u",
            tags=("t",),
            rev=info.rev,
        )

    def test_what_was_read_can_be_inserted_again_as_another_task(self, lab: Lab) -> None:
        read = lab.info(lab.add(param=params(1, b="ü"), queue="q", rank=-2, start_deadline=lab.now + 9))
        again = lab.info(ask(lab.repo.insert(read)))
        assert again.id != read.id
        assert (again.param, again.queue, again.priority) == (read.param, read.queue, read.priority)
        assert (again.due_at, again.start_deadline) == (read.due_at, read.start_deadline)

    def test_an_inserted_task_is_claimed_when_it_is_due(self, lab: Lab) -> None:
        task_id = ask(lab.repo.insert(TaskInfo(work_id="w", scheduled_time=from_us(lab.now) + SECOND)))
        assert lab.claimed() == []
        lab.pass_time()
        assert lab.claimed() == [task_id]

    @pytest.mark.parametrize("name", INVALID)
    def test_what_is_no_waiting_task_is_not_inserted(self, lab: Lab, name: str) -> None:
        given = TaskInfo(**{"work_id": "w", "scheduled_time": WHEN, **INVALID[name]})
        with pytest.raises(InvalidEntryError):
            ask(lab.repo.insert(given))
        assert lab.infos() == []

    def test_a_task_with_a_taken_unique_key_is_not_inserted(self, lab: Lab) -> None:
        holder = lab.add(unique_key="u")
        with pytest.raises(DuplicateTaskError) as refused:
            ask(lab.repo.insert(TaskInfo(work_id="w", scheduled_time=WHEN, unique="u")))
        assert (refused.value.unique_key, refused.value.existing_id) == ("u", holder)
        assert [info.id for info in lab.infos()] == [holder]

    @pytest.mark.parametrize("state", STATES, ids=lambda state: state.label)
    def test_a_task_is_found_by_its_id_in_every_state(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        assert ask(lab.repo.get_by_id(task_id)) == lab.info(task_id)
        assert lab.info(task_id).state == state

    def test_a_task_that_is_not_there_is_not_found(self, lab: Lab) -> None:
        with pytest.raises(NoEntryError) as refused:
            ask(lab.repo.get_by_id(NOBODY))
        assert refused.value.task_id == NOBODY

    # -- get_updated_since

    def test_updates_come_in_order_of_their_time_then_id(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(8)]
        lab.add_all(*(tasks[i] for i in (3, 7, 0, 5, 1, 6, 2, 4)))
        ids = [task.id for task in tasks]
        lab.pass_time()
        lab.revise(ids[5], hold="x")
        lab.revise(ids[2], hold="x")
        expected = [ids[0], ids[1], ids[3], ids[4], ids[6], ids[7], ids[2], ids[5]]
        assert _since(lab, lab.now - SECOND_US) == expected

    def test_updates_at_the_very_instant_are_among_them_and_earlier_ones_are_not(self, lab: Lab) -> None:
        lab.add()
        lab.clock.advance(timedelta(microseconds=1))
        task_id = lab.add()
        assert _since(lab, lab.now) == [task_id]
        assert _since(lab, lab.now + 1) == []

    @pytest.mark.parametrize("state", STATES, ids=lambda state: state.label)
    def test_a_change_to_any_state_is_an_update(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(TaskState.WORKING if state != TaskState.INITIALIZED else state)
        lab.pass_time()
        if state == TaskState.INITIALIZED:
            lab.revise(task_id, due_at=lab.now)
        elif state == TaskState.WORKING:
            lab.request_cancel(task_id)
        else:
            ask(lab.repo.update_state(task_id, TaskState.WORKING, state))
        assert _since(lab, lab.now) == [task_id]

    def test_reading_updates_on_from_the_last_one_misses_none_of_many_at_one_instant(self, lab: Lab) -> None:
        """Hole H7: with more rows at one instant than a part holds, reading on would never get any further."""
        tasks = [lab.new() for _ in range(2300)]
        lab.add_all(*tasks[:2200])
        lab.pass_time()
        lab.add_all(*tasks[2200:])
        found, since = dict[str, None](), 0
        for _ in range(9):
            part = ask(lab.repo.get_updated_since(from_us(since)))
            found.update(dict.fromkeys(info.id for info in part))
            last = part[-1].last_modified
            assert last is not None
            if from_us(since) == last:
                break
            since = int((last - from_us(0)) / timedelta(microseconds=1))
        assert list(found) == [task.id for task in tasks]

    def test_a_naive_instant_is_refused(self, lab: Lab) -> None:
        with pytest.raises(ScheduledTimeError):
            ask(lab.repo.get_updated_since(datetime(2026, 1, 1)))  # noqa: DTZ001 - it is to be refused

    # -- update

    @pytest.mark.parametrize(
        ("diff", "expected"),
        [
            ({"work_id": "other"}, {"work_id": "other"}),
            ({"param": [1, "ü"]}, {"param": Params((1, "ü"))}),
            ({"param": None}, {"param": Params()}),
            (
                {"scheduled_time": WHEN},
                {"scheduled_time": WHEN, "due_at": WHEN, "zone": None, "local_time": None},
            ),
            ({"work_id": "other", "state": TaskState.INITIALIZED}, {"work_id": "other"}),
        ],
        ids=str,
    )
    def test_the_given_fields_of_a_waiting_task_are_updated(
        self, lab: Lab, diff: dict[str, Any], expected: dict[str, Any]
    ) -> None:
        task_id = lab.add(param=params(0), zone="Europe/Berlin", local_time="2025")
        before = lab.info(task_id)
        lab.pass_time()
        ask(lab.repo.update(task_id, UpdateDiff(**diff)))
        assert_changed(before, lab.info(task_id), **expected, last_modified=from_us(lab.now))

    @pytest.mark.parametrize("state", NOT_WAITING, ids=lambda state: state.label)
    def test_a_waiting_task_is_updated_to_another_state(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.add()
        ask(lab.repo.update(task_id, UpdateDiff(state=state)))
        assert lab.info(task_id).state == state

    @pytest.mark.parametrize("diff", [{"work_id": "other"}, {"state": TaskState.DONE}, {}], ids=str)
    @pytest.mark.parametrize("state", NOT_WAITING, ids=lambda state: state.label)
    def test_a_task_that_does_not_wait_is_not_updated(self, lab: Lab, state: TaskState, diff: dict[str, Any]) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        with pytest.raises(NotUpdatableStateError):
            ask(lab.repo.update(task_id, UpdateDiff(**diff)))
        assert lab.whole(task_id) == before

    @pytest.mark.parametrize(
        "diff",
        [
            {"work_id": ""},
            {"param": object()},
            {"scheduled_time": datetime(2027, 1, 1)},  # noqa: DTZ001 - it is to be refused
            {"state": TaskState.DONE, "work_id": "other"},
        ],
        ids=["no_work", "bad_param", "naive", "state_and_more"],
    )
    def test_an_update_that_cannot_be_made_changes_nothing(self, lab: Lab, diff: dict[str, Any]) -> None:
        task_id = lab.add()
        before = lab.whole(task_id)
        with pytest.raises(InvalidEntryError):
            ask(lab.repo.update(task_id, UpdateDiff(**diff)))
        assert lab.whole(task_id) == before

    def test_a_task_that_is_not_there_is_not_updated(self, lab: Lab) -> None:
        for diff in (UpdateDiff(work_id="w"), UpdateDiff(state=TaskState.DONE)):
            with pytest.raises(NoEntryError):
                ask(lab.repo.update(NOBODY, diff))


def _since(lab: Lab, since_us: int) -> list[str]:
    return [info.id for info in ask(lab.repo.get_updated_since(from_us(since_us)))]
