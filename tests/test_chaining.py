"""The option `then`: what follows the end of a task, through both faces and on every store."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kokugen import (
    AsyncScheduler,
    Middleware,
    Scheduler,
    TaskParam,
    TaskState,
    Then,
    current_run,
)
from kokugen.clock import SystemClock, from_us
from kokugen.errors import DuplicateTaskError, OptionError, WorkArgumentsError
from kokugen.middleware.base import ScheduleNext, ScheduleRequest
from kokugen.middleware.payloads import Binding
from kokugen.reply import Reply
from tests.servers.stores import emptied_store

SOON = timedelta(0)
LATER = timedelta(hours=1)
WITHIN = timedelta(seconds=30)


@pytest.fixture(params=["memory://", "sqlite", "sqlite+sqlite3", "postgres"])
def scheduler(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Scheduler]:
    url = f"{request.param}:///{tmp_path / 'tasks.db'}" if "sqlite" in request.param else request.param
    if request.param == "postgres":
        url = emptied_store(request.getfixturevalue("postgres"))
    one = Scheduler(url, workers=4)
    yield one
    one.close()


def follower_of(scheduler: Scheduler, task_id: str) -> str:
    (found,) = [info.id for info in scheduler.tasks(chain=task_id) if info.follows == task_id]
    return found


def test_what_follows_is_called_with_the_result_of_the_one_before(scheduler: Scheduler) -> None:
    @scheduler.work
    def fetch(url: str) -> dict[str, int]:
        return {url: 7}

    @scheduler.work
    def store(bucket: str, *, found: dict[str, int]) -> tuple[str, dict[str, int], str | None]:
        return bucket, found, current_run().follows

    scheduler.start()
    task = scheduler.after(SOON, fetch.options(then=Then(store, ("b",), result="found")), "u")

    following = scheduler.handle(follower_of(scheduler, task.id))
    assert following.result(WITHIN) == ("b", {"u": 7}, task.id)


def test_a_task_that_fails_is_followed_by_what_is_for_that_alone(scheduler: Scheduler) -> None:
    called: list[str] = []

    @scheduler.work
    def fail() -> None:
        raise ValueError("no")

    @scheduler.work
    def note(what: str) -> None:
        called.append(what)

    scheduler.start()
    then = (Then(note, ("success",)), Then(note, ("failure",), on="failure"), Then(note, ("always",), on="always"))
    task = scheduler.after(SOON, fail.options(then=then))
    task.wait(WITHIN)

    infos = [scheduler.wait(info.id, WITHIN) for info in scheduler.tasks(chain=task.id) if info.id != task.id]
    assert sorted(called) == ["always", "failure"]
    assert [info.reason for info in infos if info.state is TaskState.CANCELLED] == ["not reached"]


def test_to_cancel_the_first_cancels_what_waits_for_it(scheduler: Scheduler) -> None:
    @scheduler.work
    def step() -> None:
        """Do nothing."""

    third = step.options(then=Then(step, on="always"))
    task = scheduler.after(LATER, step.options(then=Then(third, on="always")))

    assert scheduler.count(chain=task.id, held=True) == 2
    task.cancel("not needed")
    assert {info.state for info in scheduler.tasks(chain=task.id)} == {TaskState.CANCELLED}


def test_why_a_task_waits_or_was_cancelled_is_said_of_what_follows(scheduler: Scheduler) -> None:
    @scheduler.work
    def step() -> None:
        """Do nothing."""

    task = scheduler.after(LATER, step.options(then=Then(step)))
    following = follower_of(scheduler, task.id)
    assert f"the task that it follows is not over.\nIt follows task {task.id}." in scheduler.why(following)
    task.cancel()
    assert f"It follows task {task.id}, which ended otherwise, or was cancelled." in scheduler.why(following)


def test_the_tasks_of_a_schedule_are_followed_by_none_and_the_refusal_says_what_to_do(scheduler: Scheduler) -> None:
    @scheduler.work
    def note() -> None:
        """Do nothing."""

    @scheduler.work(then=Then(note))
    def step() -> None:
        """Do nothing."""

    with pytest.raises(OptionError, match=r"let 'step' schedule the chain when it runs, or leave it out here with opt"):
        scheduler.every("@daily", step)
    assert scheduler.schedules() == []
    scheduler.every("@daily", step.options(then=()))
    assert [one.name for one in scheduler.schedules()] == ["step"]
    assert scheduler.count(chain=scheduler.trigger("step")) == 0


def test_many_tasks_are_followed_each_by_its_own(scheduler: Scheduler) -> None:
    @scheduler.work
    def note(what: int) -> int:
        return what

    @scheduler.work(then=Then(note, kwargs={"what": 1}))
    def step() -> None:
        """Do nothing."""

    when = from_us(SystemClock().wall_us())
    tasks = scheduler.schedule_many(TaskParam(work_id="step", scheduled_time=when) for _ in range(1500))
    assert len(tasks) == 1500
    assert scheduler.count(work="note", held=True) == 1500
    assert {info.follows for info in scheduler.tasks(work="note")} == {task.id for task in tasks}


async def test_a_chain_runs_through_the_async_face(tmp_path: Path) -> None:
    scheduler = AsyncScheduler(f"sqlite:///{tmp_path / 'tasks.db'}")

    @scheduler.work
    async def double(number: int) -> int:
        return number * 2

    async with scheduler:
        last = double.options(then=Then(double, result="number"))
        task = await scheduler.after(SOON, double.options(then=Then(last, result="number")), 1)
        await task.wait(WITHIN)
        ids = [info.id async for info in scheduler.tasks(chain=task.id)]
        assert sorted([await scheduler.result(one, WITHIN) for one in ids]) == [2, 4, 8]


def test_what_follows_goes_through_the_middleware_too(tmp_path: Path) -> None:
    seen: list[tuple[str, bool]] = []

    class Watch(Middleware):
        def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[object]:
            def note(handle: object) -> object:
                seen.append((request.work_id, handle is not None))
                return handle

            return call_next(request).then(note)

    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", middleware=[Watch()])

    @scheduler.work
    def second() -> None:
        """Do nothing."""

    @scheduler.work(then=Then(second))
    def first() -> None:
        """Do nothing."""

    task = scheduler.after(LATER, first)
    scheduler.close()
    assert sorted(seen) == [("first", True), ("second", True)]
    assert task.work_id == "first"


def test_work_that_is_declared_elsewhere_follows_by_its_id(scheduler: Scheduler) -> None:
    @scheduler.work
    def step() -> None:
        """Do nothing."""

    task = scheduler.after(SOON, step.options(then=Then("far-away", (1,), result="text")))
    assert scheduler.get(follower_of(scheduler, task.id)).work_id == "far-away"


@pytest.mark.parametrize(
    "make",
    [
        lambda: Then("w", on="never"),  # type: ignore[arg-type]
        lambda: Then("w", "text"),  # type: ignore[arg-type]
        lambda: Then("w", result="no name"),
        lambda: Then("w", kwargs={"a": 1}, result="a"),
        lambda: Then("w", delay=timedelta(seconds=-1)),
    ],
    ids=["on", "args", "result", "result twice", "delay"],
)
def test_what_cannot_follow_is_refused_where_it_is_said(make: Callable[[], Then]) -> None:
    with pytest.raises(OptionError):
        make()


def test_a_chain_that_cannot_be_added_is_refused_and_nothing_of_it_is_stored(scheduler: Scheduler) -> None:
    @scheduler.work
    def needs(a: int, b: int) -> None:
        """Do nothing."""

    @scheduler.work(then=Then("loop"))
    def loop() -> None:
        """Do nothing."""

    @scheduler.work(unique="u")
    def alone() -> None:
        """Do nothing."""

    refused = [
        (WorkArgumentsError, Then(needs)),
        (WorkArgumentsError, Then(needs, ("x",), result="b")),
        (WorkArgumentsError, Then(needs, (1, 2), result="b")),
        (OptionError, Then("loop")),
        (OptionError, Then(alone)),
        (OptionError, Then(needs.options(id="mine"), (1, 2))),
    ]
    for error, then in refused:
        with pytest.raises(error):
            scheduler.after(LATER, loop.options(then=then))
    with pytest.raises(OptionError, match="then="):
        loop.options(then="loop")  # type: ignore[arg-type]
    assert scheduler.count() == 0


def test_a_schedule_refuses_work_that_others_follow(scheduler: Scheduler) -> None:
    @scheduler.work(then=Then("other"))
    def step() -> None:
        """Do nothing."""

    with pytest.raises(OptionError, match="then="):
        scheduler.every(timedelta(hours=1), step)


class Guard(Middleware):
    """Seals payloads, if only by a mark."""

    conceals = False

    def seal(self, text: str, binding: Binding) -> str:
        return json.dumps([binding.task_id, text])

    def unseal(self, text: str, binding: Binding) -> str:
        whose, plain = json.loads(text)
        assert whose == binding.task_id
        assert isinstance(plain, str)
        return plain


def test_what_is_sealed_is_handed_on_by_nobody_but_the_work_that_follows() -> None:
    scheduler = Scheduler("memory://", middleware=[Guard()])

    @scheduler.work
    def first() -> int:
        return 7

    @scheduler.work
    def second(more: int) -> int:
        return int(scheduler.result(current_run().follows or "", WITHIN)) + more

    with pytest.raises(OptionError, match="sealed"):
        scheduler.after(LATER, first.options(then=Then(second, (1,), result="number")))
    assert scheduler.count() == 0
    with scheduler:
        task = scheduler.after(SOON, first.options(then=Then(second, (1,))))
        assert scheduler.result(follower_of(scheduler, task.id), WITHIN) == 8


def test_nothing_follows_a_task_that_was_refused(scheduler: Scheduler) -> None:
    @scheduler.work
    def step() -> None:
        """Do nothing."""

    scheduler.after(LATER, step.options(unique="u"))
    with pytest.raises(DuplicateTaskError):
        scheduler.after(LATER, step.options(unique="u", then=Then(step)))
    scheduler.after(LATER, step.options(id="mine"))
    assert scheduler.after(LATER, step.options(id="mine", then=Then(step))).existed
    assert scheduler.count() == 2


def test_to_revive_the_first_brings_back_what_it_kept_from_being_reached(scheduler: Scheduler) -> None:
    broken = [True]

    @scheduler.work
    def fragile() -> int:
        if broken:
            raise ValueError("no")
        return 1

    @scheduler.work
    def last(number: int) -> int:
        return number + 1

    scheduler.start()
    task = scheduler.after(SOON, fragile.options(then=Then(last, result="number")))
    task.wait(WITHIN)
    following = follower_of(scheduler, task.id)
    assert scheduler.get(following).state is TaskState.CANCELLED
    broken.clear()
    assert scheduler.revive(task.id) == [task.id]
    assert scheduler.result(following, WITHIN) == 2


NODE = """
import os, signal, sys, time
from datetime import timedelta
from kokugen import Scheduler, Then
url, journal, deadly = sys.argv[1:]
scheduler = Scheduler(url, workers=2)

def write(line):
    with open(journal, "a") as file:
        file.write(line + "\\n")
        file.flush()
        os.fsync(file.fileno())

@scheduler.work
def last(word: str):
    write(f"last {word}")

@scheduler.work(then=Then(last, result="word"))
def first(number: int):
    write(f"first {number}")
    if deadly == "yes" and number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return str(number)

if deadly == "plan":
    for number in range(8):
        scheduler.after(timedelta(0), first, number)
else:
    scheduler.run()
"""


@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
def test_a_chain_goes_on_after_its_process_was_killed(
    request: pytest.FixtureRequest, tmp_path: Path, kind: str
) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    if kind == "postgres":
        url = emptied_store(request.getfixturevalue("postgres"))
    journal, script = tmp_path / "journal", tmp_path / "node.py"
    script.write_text(NODE)
    command = [sys.executable, str(script), url, str(journal)]
    subprocess.run([*command, "plan"], check=True, timeout=60)
    assert subprocess.run([*command, "yes"], check=False, timeout=60).returncode == -signal.SIGKILL
    node = subprocess.Popen([*command, "no"])
    looker = Scheduler(url)
    try:
        for info in list(looker.tasks()):
            assert looker.wait(info.id, WITHIN).state is TaskState.DONE
        assert looker.count() == 16
    finally:
        os.kill(node.pid, signal.SIGKILL)
        node.wait()
        looker.close()
    assert {line for line in journal.read_text().splitlines() if line.startswith("last")} == {
        f"last {number}" for number in range(8)
    }
