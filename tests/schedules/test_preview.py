"""A preview tells what a scheduler will make: it is compared with the decisions that are taken when the time comes."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from msgspec.structs import replace

from kokugen.clock import SECOND_US, from_us, to_us
from kokugen.recurrence.calendar import Weekly
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import Overlap, ScheduleRow
from kokugen.schedules.decision import Decision
from kokugen.schedules.definitions import Definition
from kokugen.schedules.edits import Draft
from kokugen.schedules.policy import MINUTE_US, Catchup, Policy, Template
from kokugen.schedules.preview import (
    Schedule,
    Upcoming,
    Window,
    clocks_change,
    preview,
    preview_edit,
    tally,
    upcoming,
    zones_of,
)

NOW = to_us(datetime(2030, 3, 30, 12, tzinfo=UTC))
HOUR_US, DAY_US = 60 * MINUTE_US, 1440 * MINUTE_US
AHEAD_US = 5 * SECOND_US
BERLIN = "Europe/Berlin"
HOURLY = Cron("0 * * * *")
TRIGGERS = (
    Every(timedelta(seconds=7)),
    Every(timedelta(minutes=11)),
    HOURLY,
    Cron("*/20 1-3 * * *", tz=BERLIN),
    Cron("30 2 * * *", tz=BERLIN, fold="both"),
    Cron("0 9 * * *", tz="Asia/Tokyo") | Cron("15 * * * *"),
    Cron("*/10 * * * *") & Weekly("sun", tz=BERLIN),
)


def a_schedule(trigger: Trigger, *, policy: Policy | None = None, **about: object) -> Schedule:
    defaults = {"id": "s", "name": "daily", "spec": "", "policy": "", "template": "", "decided": NOW}
    row = ScheduleRow(**(defaults | {"created_at": NOW, "modified_at": NOW} | about))  # type: ignore[arg-type] # of the fields' own types
    return Schedule(row, Definition(trigger, policy or Policy(), Template(work_id="report")))


def window(hours: float = 24, *, first: int = NOW, limit: int = 10**6) -> Window:
    return Window(now=NOW, first=first, end=first + round(hours * HOUR_US), limit=limit)


def told(schedule: Schedule, view: Window) -> list[int]:
    return [to_us(one.due) for one in upcoming(schedule, view)]


def as_it_comes(schedule: Schedule, end: int) -> Iterator[tuple[int, int]]:
    """Decide as a node does, a few seconds ahead and whenever it is wanted; yield nominal times and dues."""
    row, definition = schedule
    now = NOW
    while now < end:
        decision = Decision(row, definition.trigger, definition.policy, now=now, until=now + AHEAD_US)
        row = decision.row
        yield from ((nominal, max(due, now) if nominal < now else due) for nominal, due in decision.made)
        if decision.whole or not decision.made:
            if row.wake_at is None:
                return
            now = max(now + 1, row.wake_at - AHEAD_US)


def chosen(chance: Random) -> Schedule:
    """Any schedule, in any state that it may be in without an unlimited catching up at a rate."""
    policy = Policy(
        catchup=chance.choice(list(Catchup)),
        jitter_us=chance.choice((0, 0, 40 * SECOND_US)),
        end_us=chance.choice((None, None, NOW + chance.randrange(DAY_US))),
        max_runs=chance.choice((None, None, 3, 50)),
    )
    paused = chance.choice((None, None, NOW - chance.randrange(2 * HOUR_US)))
    decided = NOW + chance.choice((AHEAD_US, -chance.randrange(3 * HOUR_US)))
    return a_schedule(
        chance.choice(TRIGGERS),
        policy=policy,
        decided=decided if paused is None else paused,
        paused_at=paused,
        paused_until=None if paused is None else chance.choice((None, NOW + chance.randrange(6 * HOUR_US))),
        runs=chance.randrange(3),
    )


@pytest.mark.parametrize("seed", range(60))
def test_what_is_previewed_is_what_comes(seed: int) -> None:
    schedule = chosen(Random(seed))
    end = NOW + 30 * HOUR_US
    schedule = Schedule(replace(schedule.row, decided=min(schedule.row.decided, NOW)), schedule.definition)
    came = sorted(due for _, due in as_it_comes(schedule, end) if due < end)
    assert told(schedule, window(30)) == came


@pytest.mark.parametrize("seed", range(60))
def test_what_is_counted_is_what_is_previewed(seed: int) -> None:
    chance = Random(seed)
    row, definition = chosen(chance)
    plain = replace(definition.policy, jitter_us=0)
    schedule = Schedule(row, Definition(definition.trigger, plain, definition.template))
    marks = sorted({NOW + chance.randrange(40 * HOUR_US) for _ in range(20)} | {NOW, NOW + 40 * HOUR_US})
    expected = [0] * (len(marks) - 1)
    for due in told(schedule, window(40)):
        expected[bisect_right(marks, due) - 1] += 1
    found = tally([schedule], [from_us(mark) for mark in marks], NOW).counts
    assert found == ({"daily": expected} if any(expected) else {})


def test_what_became_a_task_already_is_still_to_come() -> None:
    schedule = a_schedule(Every(timedelta(seconds=1)), policy=Policy(max_runs=8), decided=NOW + AHEAD_US, runs=5)
    assert told(schedule, window()) == [NOW + second * SECOND_US for second in range(1, 9)]


def test_what_was_missed_comes_at_once() -> None:
    schedule = a_schedule(Cron("30 * * * *"), decided=NOW - 3 * HOUR_US)
    first, second, *_ = upcoming(schedule, window())
    assert (to_us(first.due), to_us(first.time)) == (NOW, NOW - HOUR_US // 2)
    assert to_us(second.due) == NOW + HOUR_US // 2


def test_catching_up_at_a_rate_is_previewed_as_it_comes() -> None:
    policy = Policy(catchup=Catchup.ALL, rate=0.001)
    schedule = a_schedule(HOURLY, policy=policy, decided=NOW - 3 * HOUR_US - 1)
    dues = told(schedule, window(1))
    assert dues == [NOW, NOW + 1000 * SECOND_US, NOW + 2000 * SECOND_US, NOW + 3000 * SECOND_US]


def test_a_schedule_that_begins_later_is_not_previewed_before() -> None:
    start = NOW + 5 * HOUR_US
    schedule = a_schedule(HOURLY, policy=Policy(start_us=start), decided=start - 1)
    assert told(schedule, window(8)) == [start, start + HOUR_US, start + 2 * HOUR_US]


def test_of_what_depends_on_the_end_of_a_run_the_next_is_previewed_once_it_is_known() -> None:
    trigger = After(timedelta(hours=1))
    known = a_schedule(trigger, next_at=NOW + HOUR_US // 4, delay=HOUR_US, decided=NOW - HOUR_US)
    assert told(known, window()) == [NOW + HOUR_US // 4]
    edges = [from_us(NOW), from_us(NOW + HOUR_US)]
    assert tally([known], edges, NOW).counts == {"daily": [1]}
    running = a_schedule(trigger, delay=HOUR_US, decided=NOW - HOUR_US)
    assert told(running, window()) == []


def test_a_far_window_counts_what_will_have_run_until_then() -> None:
    schedule = a_schedule(HOURLY, policy=Policy(max_runs=1000))
    far = window(24, first=NOW + 999 * HOUR_US)
    assert told(schedule, far) == [NOW + 999 * HOUR_US, NOW + 1000 * HOUR_US]


def test_a_far_window_of_a_dense_schedule_is_not_walked_to() -> None:
    schedule = a_schedule(Every(timedelta(milliseconds=1)))
    first = NOW + 3650 * DAY_US
    assert told(schedule, Window(NOW, first, first + 2001, 10)) == [first, first + 1000, first + 2000]


def test_many_schedules_are_told_in_order_up_to_a_limit() -> None:
    each = Every(timedelta(seconds=1))
    schedules = [
        Schedule(replace(one.row, name=f"s{number:04}"), one.definition)
        for number in range(1000)
        for one in [a_schedule(each if number else Cron("0 12 * * *"))]
    ]
    found = preview(schedules, window(24, limit=1999))
    assert [one.name for one in found[:999]] == [f"s{number:04}" for number in range(1, 1000)]
    assert found == sorted(found)
    assert len(found) == 1999


def test_counts_of_what_cannot_be_walked_take_a_moment() -> None:
    schedule = a_schedule(Every(timedelta(milliseconds=1)))
    edges = [from_us(NOW + day * DAY_US) for day in range(8)]
    assert tally([schedule], edges, NOW).counts["daily"][1:] == [DAY_US // 1000] * 6


def test_a_change_is_shown_as_an_edit_would_make_it() -> None:
    schedule = a_schedule(HOURLY, decided=NOW + AHEAD_US)
    draft, after = changed(Cron("30 * * * *"), Policy(max_runs=2))
    before, then = preview_edit(schedule, draft, after, window(4))
    assert dues(before) == [NOW + hour * HOUR_US for hour in range(1, 4)]
    assert dues(then) == [NOW + HOUR_US // 2, NOW + HOUR_US // 2 + HOUR_US]


def test_an_edit_does_not_undo_what_was_missed() -> None:
    schedule = a_schedule(Cron("15 * * * *"), decided=NOW - 2 * HOUR_US)
    before, then = preview_edit(schedule, *changed(Cron("45 * * * *")), window(1))
    assert dues(before) == [NOW, NOW + HOUR_US // 4]
    assert dues(then) == [NOW, NOW + 3 * HOUR_US // 4]


def test_both_sides_of_a_change_end_at_one_instant() -> None:
    schedule = a_schedule(Every(timedelta(minutes=1)))
    before, then = preview_edit(schedule, *changed(HOURLY), window(24, limit=150))
    assert (len(before), dues(then)) == (150, [NOW + HOUR_US, NOW + 2 * HOUR_US])


def test_a_paused_schedule_stays_paused_by_an_edit() -> None:
    schedule = a_schedule(HOURLY, paused_at=NOW - 1, decided=NOW - 1)
    assert preview_edit(schedule, *changed(Cron("30 * * * *")), window()) == ([], [])


@pytest.mark.parametrize(
    ("zone", "days"),
    [
        (BERLIN, {"2030-03-31", "2030-10-27"}),
        ("America/Havana", {"2030-03-10", "2030-11-03"}),  # at midnight
        ("Australia/Lord_Howe", {"2030-04-07", "2030-10-06"}),  # by half an hour
        ("Asia/Tokyo", set()),
    ],
)
def test_exactly_the_days_on_which_clocks_change_are_marked(zone: str, days: set[str]) -> None:
    noon = datetime(2030, 1, 1, 12, tzinfo=ZoneInfo(zone))
    noons = [noon + timedelta(days=day) for day in range(365)]
    assert {str(one.date()) for one in noons if clocks_change(zone, one)} == days


def test_clock_changes_are_marked_in_any_zone_of_a_trigger() -> None:
    trigger = Cron("0 12 * * *", tz="Asia/Tokyo") | (Cron("0 13 * * *", tz=BERLIN) & Weekly("sat-sun", tz="UTC"))
    assert zones_of(trigger) == ("Asia/Tokyo", BERLIN)
    assert zones_of(Cron("0 12 * * *")) == ()
    marks = [(one.time.day, one.clock_change) for one in upcoming(a_schedule(trigger), window(48))]
    assert marks == [(31, True), (31, True), (1, False)]


def changed(trigger: Trigger, policy: Policy | None = None) -> tuple[Draft, Definition]:
    draft = Draft(name="daily", spec="new", template="", overlap=Overlap.SKIP)
    return draft, Definition(trigger, policy or Policy(), Template(work_id="report"))


def dues(found: list[Upcoming]) -> list[int]:
    return [to_us(one.due) for one in found]
