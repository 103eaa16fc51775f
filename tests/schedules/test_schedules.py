"""Schedules through the real engine, in virtual time: every occurrence once, every occurrence accounted for."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pytest

from kokugen import current_run
from kokugen.errors import NoScheduleError, OptionError, ScheduleConflictError, UnknownCalendarError
from kokugen.recurrence.calendar import Named, Weekly
from kokugen.recurrence.combined import During
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import Every
from kokugen.schedules.occurrences import Occurrence
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

START = datetime(2026, 1, 1, tzinfo=UTC)
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)

Story = Callable[["Bench"], Coroutine[Any, Any, None]]


class Bench:
    """A scheduler in virtual time with work that notes when it is called, and works as long as it is told."""

    def __init__(self, clock: VirtualClock) -> None:
        self.clock = clock
        self.scheduler = VirtualScheduler(clock)
        self.ran: list[tuple[datetime, datetime]] = []
        """Of each run its nominal time and when it was called."""
        self.takes = timedelta(0)
        self.fails = False

        @self.scheduler.work
        async def note() -> None:
            self.ran.append((current_run().scheduled_time, clock.now))
            await asyncio.sleep(self.takes.total_seconds())
            if self.fails:
                raise RuntimeError("as told")

        self.note = note

    async def sleep(self, span: timedelta) -> None:
        await asyncio.sleep(span.total_seconds())

    @property
    def nominals(self) -> list[datetime]:
        return [nominal for nominal, _ in self.ran]

    async def outcomes(self, name: str = "note") -> list[tuple[str, int | None]]:
        """The outcomes of a schedule's times, those alike in a row together."""
        told: list[tuple[str, int | None]] = []
        for one in await self.scheduler.occurrences(name):
            if told and told[-1][0] == one.outcome and told[-1][1] is not None and one.count is not None:
                told[-1] = (one.outcome, told[-1][1] + one.count)
            else:
                told.append((one.outcome, one.count))
        return told


def play(story: Story) -> Bench:
    benches: list[Bench] = []

    async def main(clock: VirtualClock) -> None:
        bench = Bench(clock)
        benches.append(bench)
        async with bench.scheduler:
            await story(bench)

    run_virtual(main)
    return benches[0]


def test_a_schedule_runs_at_its_times_to_the_instant() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(Cron("*/15 * * * *"), bench.note)
        await bench.sleep(2 * HOUR + MINUTE)

    bench = play(story)
    times = [START + n * 15 * MINUTE for n in range(1, 9)]
    assert bench.ran == [(time, time) for time in times]


def test_a_year_over_two_clock_changes_is_complete() -> None:
    """Every day at 02:30, and at each hour of the night, in Berlin; the gap runs at its end, the fold once."""
    daily = Cron("30 2 * * *", tz="Europe/Berlin")
    hourly = Cron("0 1-3 * * *", tz="Europe/Berlin")

    async def story(bench: Bench) -> None:
        await bench.scheduler.every(daily, bench.note.options(name="daily"))
        await bench.scheduler.every(hourly, bench.note.options(name="hourly"))
        await bench.sleep(365 * DAY + MINUTE)

    bench = play(story)
    expected = sorted(
        at for trigger in (daily, hourly) for at in trigger.between(START + MINUTE, START + 365 * DAY + MINUTE)
    )
    assert bench.nominals == expected
    assert all(called == nominal for nominal, called in bench.ran)
    assert len(expected) == 4 * 365 - 1, "02:00 and 03:00 are one instant once"


def test_a_schedule_declared_in_code_is_there_once_the_scheduler_runs() -> None:
    ran: list[int] = []

    async def main(clock: VirtualClock) -> None:
        scheduler = VirtualScheduler(clock)

        @scheduler.every(HOUR, name="each hour", catchup="all")
        def report() -> int:
            ran.append(1)
            return 7

        assert report() == 7
        ran.clear()
        async with scheduler:
            await asyncio.sleep(3.5 * 3600)
            info = await scheduler.schedule_of("each hour")
            assert (info.owner, info.work_id, info.policy.catchup) == ("code", "report", "all")
            assert await scheduler.schedules(owner="code") == [info]
            audit = await scheduler.schedule_audit("each hour")
            assert [(one.what, one.who) for one in audit] == [("create", "code")]

    run_virtual(main)
    assert len(ran) == 3


def test_declaring_a_schedule_again_changes_nothing() -> None:
    async def story(bench: Bench) -> None:
        first = await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(1.5 * HOUR)
        again = await bench.scheduler.every(HOUR, bench.note)
        assert (again.id, again.edition, again.trigger) == (first.id, 1, first.trigger)
        await bench.sleep(1.6 * HOUR)

    assert play(story).nominals == [START + n * HOUR for n in (1, 2, 3)]


def test_another_definition_counts_from_now_on() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.sleep(2 * HOUR + timedelta(seconds=3597))
        info = await bench.scheduler.every("30 * * * *", bench.note.options(max_runs=4))
        assert (info.edition, info.next_time) == (2, START + 3.5 * HOUR)
        await bench.sleep(4 * HOUR)
        assert (await bench.outcomes())[:2] == [("ran", 2), ("replaced", 1)]
        audit = await bench.scheduler.schedule_audit("note")
        assert [one.what for one in audit] == ["edit", "create"]
        assert audit[0].before == audit[1].after

    bench = play(story)
    assert bench.nominals == [START + n * HOUR for n in (1, 2, 3.5, 4.5)]


def test_a_schedule_ends_after_its_runs_and_at_its_end() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note.options(name="a", max_runs=2))
        end = START + 3 * HOUR
        await bench.scheduler.every(HOUR, bench.note.options(name="b", start=START + 1.5 * HOUR, end=end))
        await bench.sleep(DAY)
        infos = await bench.scheduler.schedules()
        assert [(info.name, info.next_time, info.runs) for info in infos] == [("a", None, 2), ("b", None, 2)]

    assert sorted(play(story).nominals) == [START + n * HOUR for n in (1, 1.5, 2, 2.5)]


def test_an_outage_is_accounted_for_and_the_latest_missed_time_runs() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(2.5 * HOUR)
        await bench.scheduler.stop()
        await bench.sleep(10 * HOUR)
        await bench.scheduler.start()
        await bench.sleep(HOUR)
        assert await bench.outcomes() == [("ran", 2), ("coalesced", 9), ("ran", 2)]

    bench = play(story)
    assert bench.nominals == [START + n * HOUR for n in (1, 2, 12, 13)]
    assert bench.ran[2][1] - START == 12.5 * HOUR


@pytest.mark.parametrize(("catchup", "hours"), [("skip", [1, 13]), ("all", [1, *range(3, 14)])])
def test_catching_up_is_as_asked(catchup: Any, hours: list[int]) -> None:
    async def story(bench: Bench) -> None:
        options: dict[str, Any] = {"catchup": catchup, "window": 10 * HOUR, "overlap": "allow"}
        await bench.scheduler.every(HOUR, bench.note.options(**options))
        await bench.sleep(1.5 * HOUR)
        await bench.scheduler.stop()
        await bench.sleep(11 * HOUR)
        await bench.scheduler.start()
        await bench.sleep(HOUR)

    assert sorted(play(story).nominals) == [START + n * HOUR for n in hours]


def test_a_paused_schedule_rests_and_says_so() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(1.5 * HOUR)
        info = await bench.scheduler.pause("note", note="audit", by="ann")
        assert (info.paused, info.paused_note, info.paused_by) == (True, "audit", "ann")
        assert "paused since 2026-01-01T01:30:00+00:00 by ann until it is resumed (audit)" in await bench.scheduler.why(
            "note"
        )
        assert [info.name for info in await bench.scheduler.schedules(paused=True)] == ["note"]
        await bench.sleep(5 * HOUR)
        await bench.scheduler.resume("note", by="bob")
        await bench.sleep(HOUR)
        assert await bench.outcomes() == [("ran", 1), ("paused", 5), ("ran", 1)]
        audit = await bench.scheduler.schedule_audit("note")
        assert [(one.what, one.who) for one in audit] == [("resume", "bob"), ("pause", "ann"), ("create", "code")]

    assert play(story).nominals == [START + n * HOUR for n in (1, 7)]


@pytest.mark.parametrize("change", ["pause", "edit"])
def test_what_is_claimed_ahead_when_its_schedule_changes_is_accounted_for_once(change: str) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note.options(name="note"))
        await bench.sleep(HOUR - timedelta(milliseconds=10))
        if change == "pause":
            await bench.scheduler.pause("note")
            await bench.sleep(5 * MINUTE)
            await bench.scheduler.resume("note")
        else:
            await bench.scheduler.edit("note", failures_max=3)
        await bench.sleep(HOUR / 2)
        assert bench.nominals == [START + HOUR]
        assert await bench.outcomes() == [("ran", 1)]

    play(story)


def test_a_schedule_that_a_clock_far_ahead_accounted_for_runs_once_it_is_removed_and_put_again() -> None:
    async def story(bench: Bench) -> None:
        minutely = bench.note.options(name="note")
        await bench.scheduler.every(MINUTE, minutely)
        bench.clock.step_wall(HOUR)
        await bench.sleep(timedelta(seconds=30))
        bench.clock.step_wall(-HOUR)
        ran = len(bench.ran)
        await bench.sleep(HOUR / 2)
        assert len(bench.ran) == ran
        await bench.scheduler.remove("note")
        await bench.scheduler.every(MINUTE, minutely)
        await bench.sleep(HOUR / 4 + timedelta(seconds=1))
        assert len(bench.ran) == ran + 15

    play(story)


async def change_and_go_on(bench: Bench, change: str) -> None:
    if change == "pause":
        await bench.scheduler.pause("note")
        await bench.scheduler.resume("note")
    else:
        await bench.scheduler.edit("note", failures_max=3)


@pytest.mark.parametrize("change", ["pause", "edit"])
@pytest.mark.parametrize("times", [1, 2])
def test_a_time_that_comes_again_because_the_clock_was_set_back_is_accounted_for_once(change: str, times: int) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note.options(name="note"))
        await bench.sleep(HOUR + MINUTE)
        bench.clock.step_wall(-HOUR / 2)
        for _ in range(times):
            await change_and_go_on(bench, change)
        await bench.sleep(2 * HOUR)
        assert await bench.outcomes() == [("ran", 2)]

    assert play(story).nominals == [START + HOUR, START + 2 * HOUR]


@pytest.mark.parametrize("change", ["pause", "edit"])
@pytest.mark.parametrize("how", ["cancelled", "ran"])
def test_an_occurrence_that_was_over_before_its_time_is_accounted_for_once(change: str, how: str) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note.options(name="note"))
        await bench.sleep(HOUR - timedelta(seconds=3))
        (waiting,) = [info async for info in bench.scheduler.tasks()]
        if how == "cancelled":
            await bench.scheduler.cancel(waiting.id)
        else:
            await bench.scheduler.reschedule(waiting.id, bench.clock.now)
            await bench.sleep(timedelta(seconds=1))
        await change_and_go_on(bench, change)
        await bench.sleep(HOUR / 2)
        assert await bench.outcomes() == [(how, 1)]

    assert len(play(story).ran) == (how == "ran")


def test_a_pause_with_an_end_ends_by_itself() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.scheduler.pause("note", until=START + 5.5 * HOUR)
        await bench.sleep(7 * HOUR + MINUTE)
        assert await bench.outcomes() == [("paused", 5), ("ran", 2)]

    assert play(story).nominals == [START + n * HOUR for n in (6, 7)]


def test_pausing_takes_back_what_is_about_to_come() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(HOUR - timedelta(seconds=2))
        await bench.scheduler.pause("note")
        await bench.sleep(HOUR)
        await bench.scheduler.resume("note")
        await bench.sleep(HOUR)
        assert await bench.outcomes() == [("paused", 1), ("ran", 1), ("waiting", 1)]

    assert play(story).nominals == [START + 2 * HOUR]


def test_a_time_that_is_taken_back_and_made_again_is_told_once() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(HOUR - timedelta(seconds=2))
        for _ in range(2):
            await bench.scheduler.pause("note")
            await bench.scheduler.resume("note")
        await bench.sleep(MINUTE)
        assert await bench.outcomes() == [("ran", 1)]
        await bench.sleep(30 * DAY)  # past retention
        assert sum(count or 0 for _, count in await bench.outcomes()) == 721

    assert play(story).nominals[0] == START + HOUR


def test_an_occurrence_asked_for_by_hand_runs_at_once() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(10 * MINUTE)
        task_id = await bench.scheduler.trigger("note", by="ann")
        await bench.sleep(MINUTE)
        (one,) = await bench.scheduler.occurrences("note")
        assert (one.task_id, one.outcome, one.by_hand) == (task_id, "ran", True)

    assert play(story).ran == [(START + 10 * MINUTE, START + 10 * MINUTE)]


def test_a_backfill_runs_what_did_not_run_one_after_the_other() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(2.5 * HOUR)
        await bench.scheduler.pause("note")
        await bench.sleep(3 * HOUR)
        await bench.scheduler.resume("note")
        bench.takes = 10 * MINUTE
        ids = await bench.scheduler.backfill("note", START + MINUTE, START + 5 * HOUR, by="ann")
        assert len(ids) == 3
        assert await bench.scheduler.backfill("note", START + MINUTE, START + 5 * HOUR) == []
        await bench.sleep(29 * MINUTE)

    bench = play(story)
    assert bench.nominals == [START + n * HOUR for n in (1, 2, 3, 4, 5)]
    assert [called - START for _, called in bench.ran[2:]] == [5.5 * HOUR + n * 10 * MINUTE for n in range(3)]


def test_a_removed_schedule_comes_no_more_until_it_is_brought_back() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.sleep(1.5 * HOUR)
        await bench.scheduler.remove("note", by="ann", why="no use")
        with pytest.raises(NoScheduleError):
            await bench.scheduler.schedule_of("note")
        await bench.sleep(2 * HOUR)
        await bench.scheduler.rollback("note")
        await bench.sleep(HOUR)

    assert play(story).nominals == [START + n * HOUR for n in (1, 4)]


def test_what_is_brought_back_goes_on_with_its_ledger() -> None:
    """Not anew: nothing is caught up with since its start, nor made twice, and the runs count that there were."""

    async def story(bench: Bench) -> None:
        options: dict[str, Any] = {"start": START - 2 * HOUR, "max_runs": 5, "catchup": "all", "overlap": "allow"}
        await bench.scheduler.every("0 * * * *", bench.note.options(**options))
        await bench.sleep(0.5 * HOUR)
        await bench.scheduler.remove("note")
        assert await bench.outcomes() == [("ran", 3)]
        await bench.sleep(2 * HOUR)
        info = await bench.scheduler.rollback("note")
        assert (info.runs, info.next_time) == (3, START + 3 * HOUR)
        assert await bench.scheduler.backfill("note", START - 2 * HOUR, START) == []
        await bench.sleep(4 * HOUR)
        assert await bench.outcomes() == [("ran", 5)]
        assert (await bench.scheduler.schedule_of("note")).over

    assert play(story).nominals == [START + n * HOUR for n in (-2, -1, 0, 3, 4)]


@pytest.mark.parametrize(("until", "hours"), [(None, []), (START + 6 * HOUR, [7, 8]), (START + 3 * HOUR, [5, 6, 7, 8])])
def test_what_was_paused_is_brought_back_paused(until: datetime | None, hours: list[int]) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.scheduler.pause("note", until=until, note="holidays", by="ann")
        await bench.scheduler.remove("note", by="bob")
        await bench.sleep(4.5 * HOUR)
        await bench.scheduler.rollback("note", by="bob")
        info = await bench.scheduler.schedule_of("note")
        if until is None:
            assert (info.paused, info.paused_note, info.paused_by) == (True, "holidays", "ann")
        await bench.sleep(4 * HOUR)

    assert play(story).nominals == [START + hour * HOUR for hour in hours]


def test_what_was_about_to_come_when_it_was_removed_comes_once_it_is_brought_back() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note.options(max_runs=1))
        await bench.sleep(HOUR - timedelta(seconds=2))
        await bench.scheduler.remove("note")
        assert (await bench.scheduler.rollback("note")).runs == 1
        await bench.sleep(2 * HOUR)

    assert play(story).nominals == [START + HOUR]


def test_what_cannot_be_undone_or_done_is_refused() -> None:
    async def story(bench: Bench) -> None:
        scheduler = bench.scheduler
        with pytest.raises(NoScheduleError):
            await scheduler.rollback("note")
        await scheduler.every("0 * * * *", bench.note)
        refused = [
            scheduler.rollback("note"),
            scheduler.pause("note", until=START),
            scheduler.backfill("note", START, START - HOUR),
            scheduler.preview(START, START + HOUR, limit=-1),
            scheduler.schedule_audit("note", -1),
        ]
        for one in refused:
            with pytest.raises(OptionError):
                await one
        info = await scheduler.schedule_of("note")
        assert (info.edition, info.paused) == (1, False)

    play(story)


def test_an_edit_may_be_undone() -> None:
    async def story(bench: Bench) -> None:
        before = await bench.scheduler.every("0 * * * *", bench.note.options(overlap="skip"))
        edited = await bench.scheduler.edit("note", "0 0 * * *", catchup="all", overlap="allow", by="ann")
        assert (edited.trigger, edited.policy.catchup, edited.overlap) == (Cron("0 0 * * *"), "all", "allow")
        undone = await bench.scheduler.rollback("note")
        assert (undone.trigger, undone.policy, undone.overlap) == (before.trigger, before.policy, "skip")

    play(story)


def test_an_edit_may_take_a_bound_away() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note.options(max_runs=1, end=START + 2 * HOUR))
        await bench.scheduler.edit("note", max_runs=None)
        await bench.sleep(4.5 * HOUR)
        assert (await bench.scheduler.schedule_of("note")).over
        await bench.scheduler.edit("note", end=None)
        await bench.sleep(HOUR)

    assert play(story).nominals == [START + n * HOUR for n in (1, 2, 5)]


@pytest.mark.parametrize("bound", [{"max_runs": 1}, {"end": START + HOUR}])
@pytest.mark.parametrize("paused", [False, True])
def test_a_schedule_that_was_over_goes_on_from_now_on(bound: dict[str, Any], paused: bool) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note.options(catchup="all", overlap="allow", **bound))
        await bench.sleep(4.5 * HOUR)
        if paused:
            await bench.scheduler.pause("note")
        await bench.scheduler.edit("note", **dict.fromkeys(bound))
        if paused:
            await bench.sleep(2 * HOUR)
            await bench.scheduler.resume("note")
        await bench.sleep(HOUR)
        told = [("ran", 1), ("paused", 2), ("ran", 1)] if paused else [("ran", 2)]
        assert await bench.outcomes() == told

    assert play(story).nominals == [START + HOUR, START + (7 if paused else 5) * HOUR]


def test_an_edit_of_one_bound_is_held_against_the_other() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note.options(start=START + 2 * HOUR))
        with pytest.raises(OptionError, match="is before start="):
            await bench.scheduler.edit("note", end=START + HOUR)
        assert (await bench.scheduler.schedule_of("note")).edition == 1

    play(story)


def test_the_audit_says_who_put_a_schedule_and_why() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.scheduler.every("30 * * * *", bench.note.options(by="ann", why="asked for by sales"))
        await bench.scheduler.every("30 * * * *", bench.note.options(by="bob", why="the same again"))
        told = [(one.what, one.who, one.why) for one in await bench.scheduler.schedule_audit("note")]
        assert told == [("edit", "ann", "asked for by sales"), ("create", "code", None)]
        with pytest.raises(OptionError, match="by="):
            bench.note.options(by="")
        with pytest.raises(OptionError, match="why="):
            bench.note.options(why="\0")

    play(story)


def test_an_edit_of_another_edition_is_refused() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.scheduler.edit("note", catchup="all", edition=1)
        with pytest.raises(ScheduleConflictError):
            await bench.scheduler.edit("note", catchup="skip", edition=1)
        assert (await bench.scheduler.schedule_of("note")).policy.catchup == "all"
        with pytest.raises(OptionError, match="priority"):
            await bench.scheduler.edit("note", priority=2)

    play(story)


@pytest.mark.parametrize(
    ("overlap", "starts"),
    [
        ("skip", [1, 3, 5]),
        ("queue_one", [1, 2.5, 4, 5.5]),
        ("queue_all", [1, 2.5, 4, 5.5]),
        ("allow", [1, 2, 3, 4, 5, 6]),
    ],
)
def test_long_runs_overlap_as_asked(overlap: Any, starts: list[float]) -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 1.5 * HOUR
        await bench.scheduler.every(HOUR, bench.note.options(overlap=overlap))
        await bench.sleep(6.25 * HOUR)

    bench = play(story)
    assert [(called - START) / HOUR for _, called in bench.ran] == starts


def test_replacing_stops_the_run_before() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = DAY
        await bench.scheduler.every(HOUR, bench.note.options(overlap="replace"))
        await bench.sleep(3 * HOUR + MINUTE)
        told = [(one.outcome, one.reason, one.finished_at) for one in await bench.scheduler.occurrences("note")]
        stopped = [("cancelled", "replaced", START + n * HOUR + timedelta(microseconds=1)) for n in (2, 3)]
        assert told == [*stopped, ("running", None, None)]

    assert play(story).nominals == [START + HOUR, START + 2 * HOUR, START + 3 * HOUR]


def test_why_says_what_is_going_on() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 2.5 * HOUR
        await bench.scheduler.every(HOUR, bench.note)
        assert await bench.scheduler.why("note") == "Schedule 'note' comes next at 2026-01-01T01:00:00+00:00."
        await bench.sleep(2 * HOUR + MINUTE)
        said = await bench.scheduler.why("note")
        assert "The one of 2026-01-01T01:00:00+00:00 runs since 2026-01-01T01:00:00+00:00." in said
        assert "because an earlier one runs (overlap queue_one)" in said
        with pytest.raises(NoScheduleError):
            await bench.scheduler.why("nothing")

    play(story)


def test_why_also_tells_of_a_task_and_of_the_schedule_that_it_is_of() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 30 * MINUTE
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(HOUR + MINUTE)
        running = (await bench.scheduler.occurrences("note"))[0].task_id
        by_hand = await bench.scheduler.trigger("note")
        assert running is not None
        info = await bench.scheduler.get(running)
        assert (info.schedule, info.nominal) == ("note", START + HOUR)
        of = "It is the run of schedule 'note' for 2026-01-01T01:00:00+00:00."
        assert (await bench.scheduler.why(running)).endswith(of)
        assert f"Task {running} (note) runs since 2026-01-01T01:00:00+00:00" in await bench.scheduler.why(running)
        assert "on hold: an earlier run of its schedule is not over" in await bench.scheduler.why(by_hand)
        await bench.scheduler.remove("note")
        bench.fails = True
        await bench.sleep(HOUR)
        said = await bench.scheduler.why(running)
        assert "is Failed since 2026-01-01T01:30:00+00:00: RuntimeError: as told." in said
        assert "of a schedule that was removed" in said
        later = await bench.scheduler.at(START + DAY, bench.note)
        assert "waits: it is due at 2026-01-02T00:00:00+00:00" in await bench.scheduler.why(later.id)

    play(story)


def test_a_failed_occurrence_is_told_as_failed() -> None:
    async def story(bench: Bench) -> None:
        bench.fails = True
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(HOUR + MINUTE)
        found = await bench.scheduler.occurrences("note", START, START + 2 * HOUR)
        assert [(one.outcome, one.time, one.late_by) for one in found] == [("failed", START + HOUR, timedelta(0))]
        assert await bench.scheduler.occurrences("note", START + 2 * HOUR) == []

    play(story)


def test_the_ledger_has_a_reason_for_each_time() -> None:
    async def story(bench: Bench) -> None:
        scheduler, work = bench.scheduler, bench.note.options(overlap="skip")
        await scheduler.every(HOUR, work)
        bench.takes = 1.5 * HOUR
        await bench.sleep(3.5 * HOUR)
        running = (await scheduler.occurrences("note"))[-1].task_id
        assert running is not None
        await scheduler.cancel(running)
        bench.takes = timedelta(0)
        await bench.sleep(HOUR)
        await scheduler.stop()
        await bench.sleep(3 * HOUR)
        await scheduler.start()
        await bench.sleep(MINUTE)
        await scheduler.edit("note", catchup="skip")
        await scheduler.stop()
        await bench.sleep(2 * HOUR)
        await scheduler.start()
        await bench.sleep(MINUTE)
        told = [
            ((one.time - START) / HOUR, one.outcome, one.count, one.late_by)
            for one in await scheduler.occurrences("note")
        ]
        assert told == [
            (1, "ran", 1, timedelta(0)),
            (2, "skipped", 1, None),
            (3, "cancelled", 1, timedelta(0)),
            (4, "ran", 1, timedelta(0)),
            (5, "coalesced", 2, None),
            (7, "ran", 1, HOUR / 2),
            (8, "missed", 2, None),
        ]
        coalesced = (await scheduler.occurrences("note"))[4]
        assert (coalesced.into, coalesced.until) == (START + 7 * HOUR, START + 6 * HOUR)

    play(story)


def test_why_says_what_ended_a_schedule() -> None:
    async def story(bench: Bench) -> None:
        scheduler = bench.scheduler
        await scheduler.every("0 * * * *", bench.note.options(name="end", end=START + 1.5 * HOUR))
        await scheduler.every("0 * * * *", bench.note.options(name="runs", max_runs=2))
        await scheduler.every(Instants((START + HOUR,)), bench.note.options(name="list"))
        await bench.sleep(3 * HOUR)
        assert "up to its end, 2026-01-01T01:30:00+00:00." in await scheduler.why("end")
        assert "'runs' is over: it was to run 2 times, and has." in await scheduler.why("runs")
        assert "'list' is over: its trigger has no time after" in await scheduler.why("list")

    play(story)


def test_every_takes_a_trigger_a_period_or_a_cron_expression_and_nothing_else() -> None:
    async def story(bench: Bench) -> None:
        bad: Any = 5
        with pytest.raises(OptionError, match="a trigger, a timedelta or a cron expression"):
            await bench.scheduler.every(bad, bench.note)
        with pytest.raises(OptionError, match="unique key"):
            await bench.scheduler.every(HOUR, bench.note.options(unique="x"))
        never: Any = "never"
        with pytest.raises(OptionError, match="overlap"):
            bench.note.options(overlap=never)
        whens: dict[str, Any] = {"a": Every(HOUR), "b": HOUR, "c": "@daily"}
        infos = [await bench.scheduler.every(when, bench.note.options(name=name)) for name, when in whens.items()]
        assert [info.next_time for info in infos] == [START + HOUR, START + HOUR, START + DAY]

    play(story)


def test_a_schedule_that_cannot_be_read_here_keeps_no_other_back() -> None:
    from kokugen.repository.schedule_rows import ScheduleChange, ScheduleRow

    async def story(bench: Bench) -> None:
        repository: Any = bench.scheduler.repository
        now = bench.clock.wall_us()
        row = ScheduleRow(
            id="x",
            name="from the future",
            spec='{"type":"lunar"}',
            policy="{}",
            template="{}",
            decided=now,
            next_at=now + 1,
            wake_at=now + 1,
            created_at=now,
            modified_at=now,
        )
        await repository.change_schedules([ScheduleChange(row=row)])
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(2.5 * HOUR)
        assert [info.name for info in await bench.scheduler.schedules()] == ["note"]

    assert play(story).nominals == [START + HOUR, START + 2 * HOUR]


def test_a_schedule_may_name_a_calendar_and_waits_for_a_node_that_knows_it() -> None:
    async def story(bench: Bench) -> None:
        trigger = During(Cron("0 9 * * *"), Named("open"))
        with pytest.raises(UnknownCalendarError):
            await bench.scheduler.every(trigger, bench.note)
        bench.scheduler.add_calendar("open", Weekly("mon-fri"))
        info = await bench.scheduler.every(trigger, bench.note)
        assert info.next_time == START + 9 * HOUR
        await bench.sleep(7 * DAY)

    days = [nominal.isoweekday() for nominal in play(story).nominals]
    assert days == [4, 5, 1, 2, 3]


def test_a_run_of_times_past_retention_is_told_as_one() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(HOUR, bench.note)
        await bench.sleep(30 * DAY)
        found = await bench.scheduler.occurrences("note")
        first: Occurrence = found[0]
        assert first.outcome == "ran"
        assert first.count is not None
        assert first.count > 500
        assert sum(one.count or 0 for one in found) == 720

    play(story)


def test_a_start_holds_for_a_schedule_that_is_edited() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.scheduler.edit("note", start=START + 5 * HOUR)
        await bench.sleep(6.5 * HOUR)

    assert play(story).nominals == [START + 5 * HOUR, START + 6 * HOUR]


def test_a_start_holds_for_a_schedule_that_was_paused_before_it() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every("0 * * * *", bench.note.options(start=START + 5 * HOUR))
        await bench.scheduler.pause("note")
        await bench.sleep(HOUR / 2)
        await bench.scheduler.resume("note")
        await bench.sleep(5 * HOUR)

    assert play(story).nominals == [START + 5 * HOUR]
