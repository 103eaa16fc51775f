"""`kokugen cancel`, `reschedule` and `revive`."""

from __future__ import annotations

import pytest

from kokugen import Scheduler, TaskState

from .conftest import Add, CommandLine


def test_tasks_are_cancelled_by_id_with_a_reason(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    first, second, third = add(), add(), add()
    answers = kokugen.json("cancel", first, second, "--reason", "no more tea")
    assert answers == [{"id": first, "result": "cancelled"}, {"id": second, "result": "cancelled"}]
    assert [scheduler.get(one).state for one in (first, third)] == [TaskState.CANCELLED, TaskState.INITIALIZED]
    assert scheduler.get(first).reason == "no more tea"


def test_a_filter_cancels_only_with_yes(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    add(), add(), add(work_id="bill")
    assert "2 tasks: add --yes" in kokugen.refused("cancel", "--work", "remind")
    assert scheduler.count(state="Cancelled") == 0
    kokugen.done("cancel", "--work", "remind", "--yes")
    assert scheduler.count(state="Cancelled") == 2


def test_a_filter_that_finds_nothing_changes_nothing(kokugen: CommandLine, scheduler: Scheduler) -> None:
    assert kokugen.done("cancel", "--work", "remind", "--yes") == "no task\n"


def test_one_wrong_id_cancels_none(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = add()
    assert "nowhere" in kokugen.refused("cancel", task_id, "nowhere")
    assert scheduler.get(task_id).state is TaskState.INITIALIZED


def test_what_is_over_cannot_be_cancelled(kokugen: CommandLine, add: Add) -> None:
    task_id = add()
    kokugen.done("cancel", task_id)
    assert "over already" in kokugen.refused("cancel", task_id)


def test_more_tasks_than_a_batch_are_cancelled(
    kokugen: CommandLine, add: Add, scheduler: Scheduler, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("kokugen.cli.changes.BATCH", 4)
    for _ in range(11):
        add()
    assert len(kokugen.json("cancel", "--work", "remind", "--yes")) == 11
    assert scheduler.count(state="Cancelled") == 11


def test_a_waiting_task_is_moved(kokugen: CommandLine, add: Add) -> None:
    task_id = add()
    kokugen.done("reschedule", task_id, "--at", "2099-07-01T09:00", "--tz", "America/New_York")
    assert kokugen.json("show", task_id)["scheduled_time"] == "2099-07-01T13:00:00Z"


def test_a_cancelled_task_is_revived(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = add()
    scheduler.cancel(task_id)
    assert kokugen.json("revive", task_id, "--in", "1h") == [{"id": task_id, "result": "revived"}]
    assert scheduler.get(task_id).state is TaskState.INITIALIZED


def test_what_waits_cannot_be_revived(kokugen: CommandLine, add: Add) -> None:
    assert "not over" in kokugen.refused("revive", add())


def test_a_filter_revives_only_the_states_that_were_said(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    first, waiting = add(), add()
    scheduler.cancel(first)
    assert kokugen.done("revive", "--work", "remind", "--yes") == "no task\n"
    assert "1 task: add --yes" in kokugen.refused("revive", "--state", "Cancelled")
    kokugen.done("revive", "--state", "Cancelled", "--yes", "--in", "1h")
    assert {scheduler.get(one).state for one in (first, waiting)} == {TaskState.INITIALIZED}


def test_one_task_is_not_several(kokugen: CommandLine, add: Add) -> None:
    add(tags=("one",))
    assert "this would cancel 1 task:" in kokugen.refused("cancel", "--tag", "one")
    kokugen.done("cancel", "--tag", "one", "--yes")
    task_id = kokugen.json("list", "--tag", "one")[0]["id"]
    assert "1 of 1 was left as it is" in kokugen("cancel", task_id).stderr


# -- The zone of --at and --due-before

NOON = ("--at", "2099-01-01T12:00")
NOON_UTC, NOON_IN_BERLIN = "2099-01-01T12:00:00+00:00", "2099-01-01T11:00:00+00:00"
BERLIN = ("--tz", "Europe/Berlin")
DUE = ("--work", "remind", "--state", "Cancelled", "--yes", "--due-before")


@pytest.fixture
def ended(add: Add, scheduler: Scheduler) -> str:
    task_id = add()
    scheduler.cancel(task_id)
    return task_id


@pytest.mark.parametrize(
    ("words", "time"),
    [
        ((*NOON, *BERLIN), NOON_IN_BERLIN),
        ((*NOON, *BERLIN, *DUE, "2098-01-01T00:00"), NOON_IN_BERLIN),
        ((*NOON, *BERLIN, *DUE, "2098-01-01T00:00Z"), NOON_IN_BERLIN),
        ((*NOON, *BERLIN, *DUE, "2h"), NOON_IN_BERLIN),
        (("--at", "2099-01-01T12:00Z", *BERLIN, *DUE, "2098-01-01T00:00"), NOON_UTC),
    ],
)
def test_a_zone_holds_for_each_time_of_a_revival_that_has_no_offset(
    kokugen: CommandLine, scheduler: Scheduler, ended: str, words: tuple[str, ...], time: str
) -> None:
    kokugen.done("revive", *([] if "--work" in words else [ended]), *words)
    due = scheduler.get(ended).due_at
    assert due is not None
    assert due.isoformat() == time


@pytest.mark.parametrize(
    "words",
    [
        BERLIN,
        ("--in", "1h", *BERLIN),
        ("--at", "2099-01-01T12:00Z", *BERLIN),
        ("--at", "2099-01-01T12:00Z", *BERLIN, *DUE, "2098-01-01T00:00Z"),
        NOON,
    ],
)
def test_a_zone_of_no_time_and_a_time_of_no_zone_are_refused(
    kokugen: CommandLine, scheduler: Scheduler, ended: str, words: tuple[str, ...]
) -> None:
    assert "--tz" in kokugen.refused("revive", *([] if "--work" in words else [ended]), *words)
    assert scheduler.get(ended).state is TaskState.CANCELLED
