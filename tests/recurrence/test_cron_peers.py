"""Where other libraries for cron agree with each other on what an expression means, kokugen does too.

cronsim follows Debian's cron, changes of clocks included; croniter is the one that most people use.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from cronsim import CronSim
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kokugen.recurrence import Cron
from kokugen.zones import load_zone

COUNT = 5
STARTS = st.datetimes(datetime(2020, 1, 1), datetime(2035, 1, 1))  # noqa: DTZ001


def field(low: int, high: int, names: tuple[str, ...] = ()) -> st.SearchStrategy[str]:
    """A field that all of them read: `*`, `*/n`, values, ranges, steps, lists."""
    value = st.integers(low, high)
    ranges = st.lists(value, min_size=2, max_size=2, unique=True).map(sorted)  # 5-5 is every minute to the others
    plain = st.one_of(
        value.map(str),
        ranges.map(lambda pair: f"{pair[0]}-{pair[1]}"),
        st.tuples(ranges, st.integers(1, 7)).map(lambda one: f"{one[0][0]}-{one[0][1]}/{one[1]}"),
        *([st.sampled_from(names)] if names else []),
    )
    star = st.one_of(st.just("*"), st.integers(2, high).map(lambda step: f"*/{step}"))
    return st.one_of(st.just("*"), star, plain, st.lists(plain, min_size=2, max_size=3).map(",".join))


MINUTE, HOUR, DAY, MONTH = field(0, 59), field(0, 23), field(1, 28), field(1, 12, ("JAN", "MAY", "DEC"))
WEEKDAY = field(0, 6, ("SUN", "WED", "SAT"))
FIVE = st.tuples(MINUTE, HOUR, DAY, MONTH, WEEKDAY).map(" ".join)
ONE_DAY_FIELD = st.one_of(
    st.tuples(MINUTE, HOUR, DAY, MONTH, st.just("*")), st.tuples(MINUTE, HOUR, st.just("*"), MONTH, WEEKDAY)
).map(" ".join)


def ours(expression: str, start: datetime, tz: str = "UTC") -> list[datetime]:
    trigger, found, at = Cron(expression, tz=tz), [], start
    for _ in range(COUNT):
        following = trigger.next(at)
        if following is None:
            break
        found.append(following)
        at = following
    return found


def by_cronsim(expression: str, start: datetime) -> list[datetime]:
    simulation = CronSim(expression, start)
    return [next(simulation).astimezone(UTC) for _ in range(COUNT)]


def by_croniter(expression: str, start: datetime) -> list[datetime]:
    iterator = croniter(expression, start)
    return [iterator.get_next(datetime).astimezone(UTC) for _ in range(COUNT)]


@given(FIVE, STARTS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_cronsim_has_the_same_times(expression: str, start: datetime) -> None:
    at = start.replace(tzinfo=UTC)
    assert ours(expression, at) == by_cronsim(expression, at)


@given(st.tuples(st.integers(0, 59).map(str), FIVE).map(" ".join), STARTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_cronsim_has_the_same_times_with_seconds(expression: str, start: datetime) -> None:
    at = start.replace(tzinfo=UTC)
    assert ours(expression, at) == by_cronsim(expression, at)


@given(FIVE, STARTS)
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_cronsim_has_the_same_times_backwards(expression: str, start: datetime) -> None:
    at = start.replace(tzinfo=UTC)
    simulation = CronSim(expression, at, reverse=True)
    trigger, before = Cron(expression), at
    for _ in range(COUNT):
        preceding = trigger.prev(before)
        assert preceding == next(simulation)
        assert preceding is not None
        before = preceding


@given(ONE_DAY_FIELD, STARTS)
@settings(max_examples=80, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_croniter_has_the_same_times(expression: str, start: datetime) -> None:
    """Of expressions that restrict one of the days only: where both are, croniter and cron differ over stars."""
    at = start.replace(tzinfo=UTC)
    assert ours(expression, at) == by_croniter(expression, at)


@pytest.mark.parametrize(
    "expression",
    [
        "0 0 L * *",
        "0 12 LW * *",
        "0 0 * * 5L",
        "0 0 * * 3#2",
        "0 9 * * 1#1,5#3",
        "5 4 L 2 *",
        "0 0 * * 7",
        "0 0 1 * 0L",
    ],
)
def test_cronsim_reads_the_same_extensions(expression: str) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    assert ours(expression, at) == by_cronsim(expression, at)


ZONES = ("Europe/Berlin", "America/New_York", "Australia/Sydney", "Africa/Cairo", "America/St_Johns", "Asia/Beirut")


@pytest.mark.parametrize("tz", ZONES)
def test_through_a_change_of_clocks_debians_cron_runs_the_same(tz: str) -> None:
    """gap="after" and fold="first" are its rules for fixed times, and real time for wildcards."""
    chance, zone, changes = Random(tz), ZoneInfo(tz), _changes(tz)
    for _ in range(150):
        minute = chance.choice(["0", "30", "15,45", "*/20", "*", "7"])
        hour = chance.choice(["0", "1", "2", "3", "1-3", "*", "*/2"])
        near = (chance.choice(changes) - timedelta(minutes=chance.randrange(90, 300))).astimezone(zone)
        expression = f"{minute} {hour} * * *"
        assert ours(expression, near, tz) == by_cronsim(expression, near), (expression, near)


def _changes(tz: str) -> list[datetime]:
    hours = [datetime(2026, 1, 1, tzinfo=UTC) + timedelta(hours=number) for number in range(24 * 365)]
    offsets = [at.astimezone(load_zone(tz)).utcoffset() for at in hours]
    return [at for at, one, other in zip(hours[1:], offsets, offsets[1:], strict=False) if one != other]
