"""`kokugen release`: what is on hold waits again, and nothing else changes."""

from __future__ import annotations

import pytest

from kokugen import Scheduler
from kokugen.repository.rows import Revision

from .conftest import Add, CommandLine


def hold(scheduler: Scheduler, task_id: str) -> str:
    scheduler.repository.revise(task_id, Revision(hold="undecodable")).result()
    return task_id


def test_a_task_on_hold_waits_again(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = hold(scheduler, add())
    assert kokugen.json("release", task_id) == [{"id": task_id, "result": "released"}]
    assert scheduler.get(task_id).hold is None


def test_a_filter_releases_what_it_finds(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    held = {hold(scheduler, add(work_id="resize")) for _ in range(3)}
    other = hold(scheduler, add(work_id="brew"))
    add(work_id="resize")
    assert "this would release 3 tasks: add --yes" in kokugen.refused("release", "--work", "resize")
    assert {one["id"] for one in kokugen.json("release", "--work", "resize", "--yes")} == held
    assert [info.id for info in scheduler.tasks(held=True)] == [other]
    assert kokugen.json("release", "--held", "--yes") == [{"id": other, "result": "released"}]


def test_what_is_not_on_hold_is_left_as_it_is(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    waiting, over = add(), add()
    scheduler.cancel(over)
    before = [scheduler.get(one) for one in (waiting, over)]
    for task_id in (waiting, over):
        assert "not on hold" in kokugen("release", task_id).stderr
        assert kokugen("release", task_id).exit_code == 2
    assert [scheduler.get(one) for one in (waiting, over)] == before


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ((), "say which tasks"),
        (("no-such-task",), "no task 'no-such-task'"),
        (("--not-held", "--yes"), "only tasks on hold"),
        (("a", "--work", "resize"), "not both"),
    ],
)
def test_what_cannot_be_released_is_refused(
    kokugen: CommandLine, add: Add, words: tuple[str, ...], reason: str
) -> None:
    add()
    assert reason in kokugen.refused("release", *words)


def test_nothing_is_released_where_one_id_is_wrong(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> None:
    task_id = hold(scheduler, add())
    kokugen.refused("release", task_id, "no-such-task")
    assert scheduler.get(task_id).hold == "undecodable"
