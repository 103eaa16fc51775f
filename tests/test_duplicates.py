"""What a second task with a unique key does with the first, as a scheduler's caller sees it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta

import pytest

from kokugen import Scheduler, TaskParam, Then, Work
from kokugen.clock import from_us
from kokugen.errors import DuplicateTaskError, OptionError
from kokugen.task import OnDuplicateName
from kokugen.testing.clock import ManualClock

HOUR = timedelta(hours=1)


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def scheduler(clock: ManualClock) -> Iterator[Scheduler]:
    with_memory = Scheduler("memory://", clock=clock)
    yield with_memory
    with_memory.close()


@pytest.fixture
def digest(scheduler: Scheduler) -> Work[[str], None]:
    @scheduler.work
    def digest(user: str) -> None:
        raise AssertionError(user)

    return digest.options(unique="ann")


def test_a_task_that_is_kept_is_answered_with(scheduler: Scheduler, digest: Work[[str], None]) -> None:
    first = scheduler.after(HOUR, digest, "first")
    second = scheduler.after(2 * HOUR, digest.options(on_duplicate="keep"), "second")
    assert (second.id, second.existed, second.scheduled_time) == (first.id, True, first.scheduled_time)
    assert scheduler.get(first.id).param.args == ("first",)


@pytest.mark.parametrize(("chosen", "due_h"), [("replace", 2), ("preserve", 1)])
def test_a_waiting_task_is_replaced_and_answered_with_as_it_is_now(
    scheduler: Scheduler, digest: Work[[str], None], clock: ManualClock, chosen: OnDuplicateName, due_h: int
) -> None:
    first = scheduler.after(HOUR, digest, "first")
    second = scheduler.after(2 * HOUR, digest.options(on_duplicate=chosen), "second")
    due = from_us(clock.wall_us()) + due_h * HOUR
    assert (second.id, second.existed, second.scheduled_time) == (first.id, True, due)
    info = scheduler.get(first.id)
    assert (info.param.args, info.due_at) == (("second",), due)


def test_plain_data_says_it_too_and_of_many_each_for_itself(scheduler: Scheduler, clock: ManualClock) -> None:
    when = from_us(clock.wall_us()) + HOUR
    params = [
        TaskParam(work_id="w", scheduled_time=when, unique="ann", param=[n], on_duplicate="replace") for n in range(3)
    ]
    assert len({handle.id for handle in scheduler.schedule_many(params)}) == 1
    with pytest.raises(DuplicateTaskError):
        scheduler.schedule(TaskParam(work_id="w", scheduled_time=when, unique="ann"))


def test_what_there_is_not_is_refused_in_words(digest: Work[[str], None]) -> None:
    with pytest.raises(OptionError, match="'refuse', 'keep', 'replace' or 'preserve'"):
        digest.options(on_duplicate="drop")  # type: ignore[arg-type]


@pytest.mark.parametrize("chosen", ["replace", "preserve"])
def test_what_waits_keeps_those_that_follow_it(digest: Work[[str], None], chosen: OnDuplicateName) -> None:
    with pytest.raises(OptionError, match="keeps those that follow it"):
        digest.options(on_duplicate=chosen, then=Then(digest.options(unique=None), ("Bob",)))
    assert digest.options(on_duplicate="keep", then=Then("digest", ("Bob",))).declared.then
