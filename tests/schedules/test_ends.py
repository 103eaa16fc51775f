"""Schedules that hear of the ends of their runs: a fixed delay after each, and a pause after failures in a row."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kokugen.errors import OptionError, TriggerError
from kokugen.recurrence.interval import After
from tests.schedules.test_schedules import DAY, HOUR, MINUTE, START, Bench, play

SECOND = timedelta(seconds=1)


def called(bench: Bench) -> list[timedelta]:
    return [called - START for _, called in bench.ran]


async def look(bench: Bench) -> None:
    """Have the node look at schedules now, as it does each second where time is not virtual."""
    await bench.scheduler.every("@yearly", bench.note.options(name="unrelated"))
    await bench.scheduler.remove("unrelated")


def test_each_run_comes_a_fixed_delay_after_the_end_of_the_one_before() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 10 * MINUTE
        info = await bench.scheduler.every(After(HOUR), bench.note)
        assert (info.trigger, info.next_time) == (After(HOUR), START + HOUR)
        await bench.sleep(HOUR + 5 * MINUTE)
        info = await bench.scheduler.schedule_of("note")
        assert (info.next_time, info.over) == (None, False)
        said = await bench.scheduler.why("note")
        assert "Schedule 'note' comes again 1:00:00 after the end of its run." in said
        assert "runs since 2026-01-01T01:00:00+00:00" in said
        await bench.sleep(3 * HOUR)
        assert await bench.outcomes() == [("ran", 3)]

    assert called(play(story)) == [HOUR, 2 * HOUR + 10 * MINUTE, 3 * HOUR + 20 * MINUTE]


def test_a_delay_shorter_than_occurrences_are_made_ahead_holds_to_the_instant() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = SECOND
        await bench.scheduler.every(After(2 * SECOND), bench.note)
        await bench.sleep(10.5 * SECOND)

    assert called(play(story)) == [2 * SECOND, 5 * SECOND, 8 * SECOND]


def test_a_failed_or_cancelled_run_is_followed_by_the_next_as_well() -> None:
    async def story(bench: Bench) -> None:
        bench.fails = True
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(2 * HOUR - SECOND)  # the second waits for its time already
        (waiting,) = [one for one in await bench.scheduler.occurrences("note") if one.outcome == "waiting"]
        assert waiting.task_id is not None
        await bench.scheduler.cancel(waiting.task_id)
        await look(bench)
        await bench.sleep(HOUR + MINUTE)
        assert await bench.outcomes() == [("failed", 1), ("cancelled", 1), ("failed", 1)]

    assert called(play(story)) == [HOUR, 3 * HOUR - SECOND]


def test_an_outage_makes_the_next_run_late_and_leaves_none_out() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(1.5 * HOUR)
        await bench.scheduler.stop()
        await bench.sleep(2 * DAY)
        await bench.scheduler.start()
        await bench.sleep(1.5 * HOUR)
        assert await bench.outcomes() == [("ran", 3)]

    assert called(play(story)) == [HOUR, 2 * DAY + 1.5 * HOUR, 2 * DAY + 2.5 * HOUR]


def test_a_run_asked_for_by_hand_begins_the_delay_anew() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(30 * MINUTE)
        await bench.scheduler.trigger("note")
        await bench.sleep(HOUR + MINUTE)

    assert called(play(story)) == [30 * MINUTE, 1.5 * HOUR]


@pytest.mark.parametrize(
    ("paused", "resumed", "following", "told"),
    [
        (10 * MINUTE, 20 * MINUTE, HOUR, [("ran", 1)]),  # nothing was due meanwhile
        (10 * MINUTE, 3 * HOUR, 4 * HOUR, [("paused", 1), ("ran", 1)]),
        (HOUR - SECOND, 3 * HOUR, 4 * HOUR, [("paused", 1), ("ran", 1)]),  # the task was made, and is taken back
        (HOUR - SECOND, HOUR - SECOND / 2, HOUR, [("ran", 1)]),
    ],
)
def test_a_pause_takes_the_place_of_the_run_that_was_due_in_it(
    paused: timedelta, resumed: timedelta, following: timedelta, told: list[tuple[str, int]]
) -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(paused)
        await bench.scheduler.pause("note")
        await bench.sleep(resumed - paused)
        await bench.scheduler.resume("note")
        await bench.sleep(following - resumed + MINUTE)
        assert await bench.outcomes() == told

    assert called(play(story)) == [following]


def test_a_run_that_ends_during_a_pause_is_followed_once_that_is_over() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 30 * MINUTE
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(HOUR + MINUTE)
        await bench.scheduler.pause("note", until=START + 2 * HOUR)
        await bench.sleep(2 * HOUR)

    assert called(play(story)) == [HOUR, 2.5 * HOUR]


def test_another_delay_counts_from_the_same_end() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(HOUR + 10 * MINUTE)
        info = await bench.scheduler.edit("note", After(30 * MINUTE))
        assert info.next_time == START + 1.5 * HOUR
        await bench.scheduler.edit("note", After(5 * MINUTE))
        await bench.sleep(SECOND)

    assert called(play(story)) == [HOUR, HOUR + 10 * MINUTE + timedelta(microseconds=1)]


def test_a_delay_may_take_the_place_of_a_rate_and_the_other_way_round() -> None:
    async def story(bench: Bench) -> None:
        bench.takes = 10 * MINUTE
        await bench.scheduler.every("0 * * * *", bench.note)
        await bench.sleep(HOUR + MINUTE)
        await bench.scheduler.edit("note", After(20 * MINUTE))  # while a run goes on
        await bench.sleep(20 * MINUTE)
        await look(bench)
        await bench.sleep(30 * MINUTE)
        await bench.scheduler.edit("note", "0 * * * *")
        await bench.sleep(HOUR)

    assert called(play(story)) == [HOUR, HOUR + 30 * MINUTE, 2 * HOUR]


def test_a_schedule_with_a_delay_starts_ends_and_counts() -> None:
    async def story(bench: Bench) -> None:
        start = START + 30 * MINUTE
        await bench.scheduler.every(After(HOUR), bench.note.options(name="a", start=start, max_runs=2))
        await bench.scheduler.every(After(HOUR), bench.note.options(name="b", end=START + 2.5 * HOUR))
        await bench.sleep(DAY)
        infos = await bench.scheduler.schedules()
        assert [(info.name, info.next_time, info.runs) for info in infos] == [("a", None, 2), ("b", None, 2)]
        assert all(info.over for info in infos)
        assert "over: it was to run 2 times" in await bench.scheduler.why("a")
        assert "over" in await bench.scheduler.why("b")

    assert called(play(story)) == [n * HOUR for n in (0.5, 1, 1.5, 2)]


def test_runs_past_retention_are_told_by_their_number() -> None:
    async def story(bench: Bench) -> None:
        await bench.scheduler.every(After(HOUR), bench.note)
        await bench.sleep(30 * DAY + MINUTE)
        found = await bench.scheduler.occurrences("note")
        assert (found[0].outcome, found[0].time) == ("ran", START + HOUR)
        assert sum(one.count or 0 for one in found) == 720
        assert found[0].count is not None
        assert found[0].count > 500

    play(story)


def test_what_makes_no_sense_with_a_delay_is_refused() -> None:
    async def story(bench: Bench) -> None:
        allow: Any = "allow"
        with pytest.raises(OptionError, match="waits for the end of the one before"):
            await bench.scheduler.every(After(HOUR), bench.note.options(overlap=allow))
        await bench.scheduler.every(After(HOUR), bench.note.options(overlap="queue_all"))
        with pytest.raises(OptionError, match="waits for the end of the one before"):
            await bench.scheduler.edit("note", overlap="skip")
        with pytest.raises(TriggerError, match="no times before its runs have ended"):
            await bench.scheduler.backfill("note", START, START + DAY)

    play(story)


def test_too_many_failures_in_a_row_pause_a_schedule_and_say_so() -> None:
    async def story(bench: Bench) -> None:
        bench.fails = True
        await bench.scheduler.every(HOUR, bench.note.options(failures_max=3))
        await bench.sleep(2.5 * HOUR)
        bench.fails = False
        await bench.sleep(HOUR)
        bench.fails = True
        await bench.sleep(7 * HOUR)
        info = await bench.scheduler.schedule_of("note")
        assert (info.paused, info.paused_note, info.paused_by) == (True, "the last 3 runs failed", None)
        assert info.paused_at == START + 6 * HOUR
        assert "paused since 2026-01-01T06:00:00+00:00 until it is resumed (the last 3 runs failed)" in (
            await bench.scheduler.why("note")
        )
        newest = (await bench.scheduler.schedule_audit("note"))[0]
        assert (newest.what, newest.who, newest.why) == ("pause", None, "the last 3 runs failed")
        bench.fails = False
        await bench.scheduler.resume("note", by="ann")
        assert (await bench.scheduler.schedule_of("note")).failures == 0
        await bench.sleep(HOUR)
        assert await bench.outcomes() == [("failed", 2), ("ran", 1), ("failed", 3), ("paused", 4), ("ran", 1)]

    assert [at / HOUR for at in called(play(story))] == [1, 2, 3, 4, 5, 6, 11]


def test_a_paused_schedule_does_not_run_what_waited_for_the_failed_run() -> None:
    async def story(bench: Bench) -> None:
        bench.fails, bench.takes = True, 90 * MINUTE
        await bench.scheduler.every(HOUR, bench.note.options(failures_max=1))
        await bench.sleep(DAY)
        info = await bench.scheduler.schedule_of("note")
        assert (info.paused_at, info.paused_note) == (START + 2.5 * HOUR, "the last run failed")

    assert len(play(story).ran) <= 2, "one that was due by then may run still"


def test_a_delay_and_a_limit_of_failures_go_together() -> None:
    async def story(bench: Bench) -> None:
        bench.fails = True
        await bench.scheduler.every(After(HOUR), bench.note.options(failures_max=2))
        await bench.sleep(4 * HOUR)
        assert (await bench.scheduler.schedule_of("note")).paused_at == START + 2 * HOUR
        bench.fails = False
        await bench.scheduler.resume("note")
        await bench.sleep(HOUR + MINUTE)
        assert await bench.outcomes() == [("failed", 2), ("paused", 1), ("ran", 1)]

    assert called(play(story)) == [HOUR, 2 * HOUR, 5 * HOUR]
