"""Many schedules put into a store in one go: all or none, each as if it was put alone, and unharmed by others."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest

from kokugen import AsyncScheduler, Scheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.errors import OptionError, TriggerError, UnknownCalendarError
from kokugen.recurrence import Cron, Every, Named
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.schedule_rows import Changed, ScheduleChange, ScheduleQuery
from kokugen.schedule_options import ScheduleOptions
from kokugen.schedules.drafts import NewSchedule
from kokugen.task import replace
from tests.servers.stores import store_url

NOW = datetime(2026, 3, 1, 12, tzinfo=UTC)


@pytest.fixture(params=["memory", "sqlite", "postgres"])
def scheduler(request: pytest.FixtureRequest, tmp_path: Any) -> Iterator[Scheduler]:
    if request.param == "postgres":
        url = store_url(request.getfixturevalue("postgres"), request.node.nodeid)
    else:
        url = "memory://" if request.param == "memory" else f"sqlite:///{tmp_path}/tasks.db"
    scheduler = Scheduler(url)
    scheduler.open()
    yield scheduler
    scheduler.close()


def new(name: str, when: Any = "@daily", paused: str | None = None, **options: Any) -> NewSchedule:
    return NewSchedule(
        when=when,
        param=TaskParam(work_id="note", scheduled_time=NOW),
        options=ScheduleOptions(name=name, **options),
        paused=paused,
    )


def results(puts: Any) -> list[tuple[str, bool, bool]]:
    return [(put.info.name, put.made, put.changed) for put in puts]


def test_each_is_made_changed_or_left_as_it_is(scheduler: Scheduler) -> None:
    scheduler.put_schedules([new("a"), new("b")], by="ann")
    puts = scheduler.put_schedules([new("c"), new("b", "@hourly"), new("a")], by="bob")
    assert results(puts) == [("c", True, True), ("b", False, True), ("a", False, False)]
    assert [info.name for info in scheduler.schedules()] == ["a", "b", "c"]
    assert [put.info.edition for put in puts] == [1, 2, 1]
    assert [(one.what, one.who) for one in scheduler.schedule_audit("b")] == [("edit", "bob"), ("create", "ann")]


def test_more_than_one_look_can_read_are_put_as_well(scheduler: Scheduler) -> None:
    many = [new(f"schedule {number}") for number in range(1, 1202)]
    assert all(put.made for put in scheduler.put_schedules(many))
    assert not any(put.changed for put in scheduler.put_schedules(many))


def test_a_dry_run_says_the_same_and_changes_nothing(scheduler: Scheduler) -> None:
    scheduler.put_schedules([new("a")])
    before = scheduler.schedules()
    puts = scheduler.put_schedules([new("a", "@hourly"), new("b", paused="later")], dry_run=True)
    assert results(puts) == [("a", False, True), ("b", True, True)]
    assert puts[1].info.paused_note == "later"
    assert scheduler.schedules() == before


def test_none_is_put_where_one_is_refused(scheduler: Scheduler) -> None:
    for wrong, error in (
        ([new("a"), new("a")], OptionError),
        ([new("a"), new("b", "0 99 * * *")], TriggerError),
        ([new("a"), new("b", Cron("@daily") & Named("holidays"))], UnknownCalendarError),
    ):
        with pytest.raises(error):
            scheduler.put_schedules(wrong)
    assert scheduler.schedules() == []


@pytest.mark.parametrize("year", [1, 1969, 9000, 9999])
def test_a_schedule_is_bounded_by_instants_that_are_kept(year: int) -> None:
    when = datetime(year, 1, 1, tzinfo=timezone(timedelta(hours=14)))
    with pytest.raises(OptionError, match=r"start=.*: use an aware datetime of the years 1970 to 8999"):
        ScheduleOptions(start=when)
    with pytest.raises(OptionError, match=r"end=.*: use an aware datetime of the years 1970 to 8999"):
        ScheduleOptions(end=when)


def test_a_new_one_can_be_paused_and_one_that_is_there_goes_on(scheduler: Scheduler) -> None:
    scheduler.put_schedules([new("old", "* * * * * *")])
    old, fresh = scheduler.put_schedules(
        [new("old", "*/2 * * * * *", paused="no"), new("new", "* * * * * *", paused="not yet")], by="ann"
    )
    assert (old.info.paused, fresh.info.paused_note, fresh.info.paused_by) == (False, "not yet", "ann")
    assert scheduler.occurrences("new") == []
    assert scheduler.resume("new").paused is False


def test_a_bare_period_counts_on_from_when_it_was_put_there_first(scheduler: Scheduler) -> None:
    (first,) = scheduler.put_schedules([new("a", timedelta(hours=5))])
    (again,) = scheduler.put_schedules([new("a", timedelta(hours=5))])
    (other,) = scheduler.put_schedules([new("a", timedelta(hours=6))])
    assert (again.changed, other.changed) == (False, True)
    assert isinstance(first.info.trigger, Every)
    assert again.info.trigger == first.info.trigger


def test_one_with_much_to_catch_up_with_is_edited_too(scheduler: Scheduler) -> None:
    """More than one swap can carry: that is decided first, one swap after the other."""
    start = from_us(SystemClock().wall_us()) - timedelta(hours=1)
    scheduler.put_schedules([new("a", "* * * * * *", start=start, catchup="all")])
    assert scheduler.schedule_of("a").runs == 1000
    puts = scheduler.put_schedules([new("a", "@yearly", start=start, catchup="all"), new("b")])
    assert results(puts) == [("a", False, True), ("b", True, True)]
    assert scheduler.schedule_of("a").runs >= 3600


def test_what_an_edit_takes_back_is_made_anew_where_runs_are_counted(scheduler: Scheduler) -> None:
    """Tasks are made some seconds ahead; one that is taken back leaves room for another."""
    scheduler.put_schedules([new("a", "* * * * * *", max_runs=2, overlap="allow")])
    assert scheduler.schedule_of("a").runs == 2
    (put,) = scheduler.put_schedules([new("a", "*/2 * * * * *", max_runs=3, overlap="allow")])
    assert put.info.runs == scheduler.schedule_of("a").runs
    assert scheduler.schedule_of("a").runs == scheduler.count() >= 2
    assert [task.scheduled_time.second % 2 for task in scheduler.tasks()][-1] == 0


def test_nothing_to_put_is_nothing(scheduler: Scheduler) -> None:
    assert scheduler.put_schedules([]) == []


class Rival(MemoryRepository):
    """A store in which someone else is first, once; it counts what is swapped at once."""

    def __init__(self) -> None:
        super().__init__(namespace="default", clock=SystemClock())
        self.sizes: list[int] = []
        self.meanwhile: list[ScheduleChange] = []

    def change_schedules(self, changes: Any) -> Reply[list[Changed]]:
        self.sizes.append(len(changes))
        for change in self.meanwhile:
            super().change_schedules([change])
        self.meanwhile.clear()
        return super().change_schedules(changes)


def test_all_are_swapped_at_once_and_one_that_changed_meanwhile_after_that() -> None:
    rival = Rival()
    with_rival = Scheduler(repository=rival)
    with_rival.put_schedules([new("a"), new("b")])
    assert rival.sizes == [2]
    (row,) = rival.schedules(ScheduleQuery(names=("b",))).result()
    rival.meanwhile = [ScheduleChange(row=replace(row, rev=row.rev + 1, edition=7), expected=row.rev)]
    puts = with_rival.put_schedules([new("a", "@hourly"), new("b", "@hourly"), new("c")])
    assert rival.sizes == [2, 3, 1]
    assert results(puts) == [("a", False, True), ("b", False, True), ("c", True, True)]
    assert [info.edition for info in with_rival.schedules()] == [2, 8, 1]
    with_rival.close()


async def test_with_await_it_is_the_same() -> None:
    scheduler = AsyncScheduler("memory://")
    puts = await scheduler.put_schedules([new("a"), new("b", paused="later")], by="ann")
    assert results(puts) == [("a", True, True), ("b", True, True)]
    assert [info.name for info in await scheduler.schedules(paused=True)] == ["b"]
    await scheduler.close()
