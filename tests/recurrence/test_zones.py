"""Every zone's every change of clocks from 2000 to 2037: what a trigger says is what the clock shows.

KOKUGEN_ZONE_ROUNDS multiplies the checks (1 makes more than 100,000).
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from importlib import resources
from itertools import islice, pairwise, product
from random import Random

import pytest

from kokugen.recurrence import Cron
from kokugen.recurrence.offsets import OffsetTable, offset_table
from kokugen.zones import load_zone
from tests.recurrence.oracle import Matches, Window, changes, offset_at

ROUNDS = int(os.environ.get("KOKUGEN_ZONE_ROUNDS", "1"))
YEARS = (2000, 2037)
SHARDS = 48
SIX_DAYS = timedelta(days=6)
"""Twice what the table of offsets counts on."""
POLICIES = list(product(("after", "skip"), ("first", "second", "both")))
ALL_DAY = range(24)
Case = tuple[str, Matches, bool]
"""An expression, what it means of a local time, and whether it goes by real time."""


def zone_names() -> list[str]:
    names = resources.files("tzdata").joinpath("zones").read_text(encoding="utf-8").split()
    assert len(names) > 550
    return names


def times(hours: range | list[int], minutes: range | list[int]) -> Matches:
    return lambda wall: wall.hour in hours and wall.minute in minutes


def cases(wall: datetime, chance: Random) -> Iterator[Case]:
    """Expressions about a local time that a change of clocks touches, of every kind."""
    hour, minute = wall.hour, wall.minute
    yield f"{minute} {hour} * * *", times([hour], [minute]), False
    yield f"{minute} {hour} {wall.day} {wall.month} *", _on_day(wall), False
    some = sorted(chance.sample(range(60), 3))
    hours = sorted({hour, (hour + 1) % 24, chance.randrange(24)})
    yield f"{_list(some)} {_list(hours)} * * *", times(hours, some), False
    yield f"{_list(some)} * * * *", times(ALL_DAY, some), True
    step = chance.choice([2, 7, 15, 30])
    yield f"*/{step} {hour} * * *", times([hour], range(0, 60, step)), True
    step = chance.choice([2, 3, 5])
    yield f"{minute} */{step} * * *", times(range(0, 24, step), [minute]), True
    weekday = wall.isoweekday() % 7
    yield f"{minute} {hour} * * {weekday}", lambda at: _on_weekday(at, wall), False


def _on_day(wall: datetime) -> Matches:
    return lambda at: (
        at == wall
        or (at.day, at.month, at.hour, at.minute)
        == (
            wall.day,
            wall.month,
            wall.hour,
            wall.minute,
        )
    )


def _on_weekday(at: datetime, wall: datetime) -> bool:
    return (at.isoweekday(), at.hour, at.minute) == (wall.isoweekday(), wall.hour, wall.minute)


def _list(values: list[int]) -> str:
    return ",".join(map(str, values))


def window_around(zone_name: str, at: datetime, by: timedelta) -> Window:
    """Return the minutes from a little before what the change touches until a little after."""
    margin = min(abs(by), timedelta(hours=26)) + timedelta(minutes=75)
    return Window(load_zone(zone_name), at - margin, 2 * margin // timedelta(minutes=1))


def touched(window: Window, chance: Random, at: datetime, zone_name: str) -> datetime:
    """Return a local time that was left out or came twice, or one next to the change."""
    walls = [wall for wall, _ in window.gaps] + window.folds
    local = at.astimezone(load_zone(zone_name)).replace(tzinfo=None, fold=0)
    return chance.choice([*walls, local] if chance.random() < 0.8 else [local, local - timedelta(minutes=1)])


def check(case: Case, policy: tuple[str, str], window: Window, zone_name: str) -> None:
    """Compare next, prev, between and count_between with what the clock showed."""
    expression, matches, is_real = case
    gap, fold = policy
    trigger = Cron(expression, tz=zone_name, gap=gap, fold=fold)  # type: ignore[arg-type]
    expected = window.by_real_time(matches) if is_real else window.by_wall(matches, gap, fold)
    told = (expression, zone_name, gap, fold, window.start)
    assert list(trigger.between(window.start, window.end)) == expected, told
    assert trigger.count_between(window.start, window.end) == len(expected), told
    assert list(islice(backwards(trigger, window), len(expected) + 1)) == expected[::-1], told


def backwards(trigger: Cron, window: Window) -> Iterator[datetime]:
    at = trigger.prev(window.end)
    while at is not None and at >= window.start:
        yield at
        at = trigger.prev(at)


@pytest.mark.parametrize("shard", range(SHARDS))
def test_what_a_cron_says_of_every_change_of_clocks_is_what_the_clock_shows(shard: int) -> None:
    chance, checks = Random(shard), 0
    for name in zone_names()[shard::SHARDS]:
        changed = changes(load_zone(name), *YEARS)
        assert all(later - at > SIX_DAYS for (at, _), (later, _) in pairwise(changed)), name
        for at, by in changed:
            window = window_around(name, at, by)
            for _ in range(ROUNDS):
                for case in cases(touched(window, chance, at, name), chance):
                    checks += 1
                    check(case, POLICIES[checks % len(POLICIES)], window, name)


def test_the_checks_are_more_than_a_hundred_thousand() -> None:
    changed = 0
    for name in zone_names():
        zone = load_zone(name)
        weeks = range(0, 38 * 366, 7)
        offsets = [(datetime(YEARS[0], 1, 1, tzinfo=UTC) + timedelta(days=day)).astimezone(zone) for day in weeks]
        changed += sum(one.utcoffset() != other.utcoffset() for one, other in pairwise(offsets))
    local = datetime(2026, 3, 29, 2, tzinfo=UTC).replace(tzinfo=None)
    assert changed * ROUNDS * len(list(cases(local, Random(0)))) > 100_000


def test_triggers_of_one_zone_share_its_table_and_do_not_make_it_anew() -> None:
    table = offset_table(load_zone("Asia/Tehran"))
    now = datetime(2026, 1, 1, tzinfo=UTC)
    Cron("0 9 * * *", tz="Asia/Tehran").next(now)
    known = table._known
    for hour in range(24):
        Cron(f"30 {hour} * * *", tz="Asia/Tehran").next(now)
    assert table._known is known
    Cron("@daily", tz="Asia/Tehran").next(datetime(1970, 1, 1, tzinfo=UTC))
    longer = table._known
    Cron("@daily", tz="Asia/Tehran").next(now)
    assert table._known is longer


@pytest.mark.parametrize("shard", range(4))
def test_the_offset_table_says_what_the_zone_says(shard: int) -> None:
    chance = Random(shard)
    for name in zone_names()[shard::4]:
        zone = load_zone(name)
        table = OffsetTable(zone)
        for _ in range(60):
            instant = chance.randrange(2_208_988_800 * 2)
            span = table.span(instant)
            assert span.start <= instant < span.end
            assert span.offset == offset_at(datetime.fromtimestamp(instant, UTC), zone) // timedelta(seconds=1)
