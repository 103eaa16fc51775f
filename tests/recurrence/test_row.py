from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kokugen.errors import InvalidEntryError, ScheduledTimeError
from kokugen.recurrence.row import CronRow

BERLIN = ZoneInfo("Europe/Berlin")
ZONES = ["UTC", "Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Asia/Kolkata"]
MINUTE = timedelta(minutes=1)


def matches(row: CronRow, wall: datetime) -> bool:
    """Ask the row's fields alone; the days that a month lacks are not asked for here."""
    values = (wall.isoweekday() % 7, wall.month, wall.day, wall.hour, wall.minute)
    asked = (row.weekday, row.month, row.day, row.hour, row.minute)
    return all(not allowed or value in allowed for allowed, value in zip(asked, values, strict=True))


def oracle(row: CronRow, after: datetime, tz: tzinfo, end: datetime) -> datetime | None:
    """Look at every minute: what its wall clock shows for the first time, and what it skipped just before."""
    instant = after.replace(second=0, microsecond=0)
    while (instant := instant + MINUTE) <= end:
        local, before = instant.astimezone(tz), (instant - MINUTE).astimezone(tz)
        wall, last = local.replace(tzinfo=None, fold=0), before.replace(tzinfo=None, fold=0)
        skipped = (last + MINUTE * step for step in range(1, max(1, (wall - last) // MINUTE)))
        if any(matches(row, one) for one in skipped) or (not local.fold and matches(row, wall)):
            return instant
    return None


def some(low: int, high: int) -> st.SearchStrategy[tuple[int, ...] | None]:
    return st.none() | st.lists(st.integers(low, high), max_size=4).map(tuple)


ROWS = st.builds(
    CronRow,
    weekday=st.none() | st.just((0, 1, 6)),
    day=st.none() | st.lists(st.integers(1, 28), min_size=5).map(tuple),
    hour=some(0, 4),
    minute=some(0, 59),
).filter(lambda row: not row.is_reboot)
CHANGES = [
    datetime(2011, 12, 29, 9, tzinfo=UTC),  # Apia leaves out a day
    datetime(2024, 2, 28, 22, tzinfo=UTC),
    datetime(2024, 3, 10, 5, tzinfo=UTC),  # New York
    datetime(2024, 3, 30, 23, tzinfo=UTC),  # Berlin
    datetime(2024, 4, 6, 13, tzinfo=UTC),  # Lord Howe, by half an hour
    datetime(2024, 10, 5, 14, tzinfo=UTC),
    datetime(2024, 10, 26, 23, tzinfo=UTC),
    datetime(2024, 11, 3, 4, tzinfo=UTC),
]


@settings(max_examples=150, deadline=None)
@given(ROWS, st.sampled_from(ZONES), st.sampled_from(CHANGES), st.integers(0, 600 * 60))
def test_the_next_time_is_that_of_a_search_minute_by_minute(row: CronRow, zone: str, near: datetime, late: int) -> None:
    after, tz = near + timedelta(seconds=late), ZoneInfo(zone)
    end = after + timedelta(days=2)
    found = row.next(after, tz)
    assert found is not None
    assert (found if found <= end else None) == oracle(row, after, tz, end)


def test_a_time_in_a_gap_comes_at_the_first_instant_after_it_and_once() -> None:
    row = CronRow(hour=(2,), minute=(0, 15, 30))
    first = row.next(datetime(2024, 3, 31, 0, 30, tzinfo=UTC), BERLIN)
    assert first == datetime(2024, 3, 31, 1, tzinfo=UTC)
    assert row.next(first, BERLIN) == datetime(2024, 4, 1, 0, tzinfo=UTC)


def test_a_time_that_occurs_twice_comes_the_first_time_alone() -> None:
    row = CronRow(hour=(2,), minute=(30,))
    first = row.next(datetime(2024, 10, 26, 23, tzinfo=UTC), BERLIN)
    assert first == datetime(2024, 10, 27, 0, 30, tzinfo=UTC)
    assert row.next(first, BERLIN) == datetime(2024, 10, 28, 1, 30, tzinfo=UTC)


def test_a_day_that_a_zone_skipped_comes_when_the_next_one_begins() -> None:
    row = CronRow(month=(12,), day=(30,), hour=(12,), minute=(0,))
    found = row.next(datetime(2011, 12, 1, tzinfo=UTC), ZoneInfo("Pacific/Apia"))
    assert found == datetime(2011, 12, 30, 10, tzinfo=UTC)


@pytest.mark.parametrize("year", range(2022, 2052))
def test_the_last_day_stands_for_one_that_the_month_lacks(year: int) -> None:
    found = CronRow(month=(2,), day=(31,), hour=(0,), minute=(0,)).next(datetime(year, 1, 1, tzinfo=UTC))
    leap = year % 4 == 0
    assert found == datetime(year, 2, 29 if leap else 28, tzinfo=UTC)


def test_seconds_are_zero_unless_given_and_any_where_empty() -> None:
    after = datetime(2024, 1, 1, 0, 0, 30, 500, tzinfo=UTC)
    assert CronRow(minute=()).next(after) == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)
    assert CronRow(minute=(), second=()).next(after) == datetime(2024, 1, 1, 0, 0, 31, tzinfo=UTC)
    assert CronRow(second=(15, 45)).next(after) == datetime(2024, 1, 1, 0, 0, 45, tzinfo=UTC)


def test_day_and_weekday_must_both_hold() -> None:
    friday_13th = CronRow(weekday=(5,), day=(13,), hour=(0,), minute=(0,))
    assert friday_13th.next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 9, 13, tzinfo=UTC)


def test_a_matching_instant_itself_is_not_the_next() -> None:
    row = CronRow(hour=(9,), minute=(0,))
    assert row.next(datetime(2024, 1, 1, 9, tzinfo=UTC)) == datetime(2024, 1, 2, 9, tzinfo=UTC)


def test_a_reboot_row_has_no_next_time_and_an_empty_one_has() -> None:
    assert CronRow(command=("once",)).next(datetime(2024, 1, 1, tzinfo=UTC)) is None
    assert CronRow(hour=()).next(datetime(2024, 1, 1, tzinfo=UTC)) == datetime(2024, 1, 1, 0, 1, tzinfo=UTC)


@pytest.mark.parametrize(
    "fields",
    [
        {"weekday": (7,)},
        {"month": (0,)},
        {"month": (13,)},
        {"day": (0,)},
        {"day": (32,)},
        {"hour": (24,)},
        {"hour": (True,)},
        {"minute": (60,)},
        {"minute": ("5",)},
        {"second": (-1,)},
    ],
)
def test_a_value_out_of_range_is_refused_with_its_field(fields: dict[str, tuple[int, ...]]) -> None:
    with pytest.raises(InvalidEntryError, match=next(iter(fields))):
        CronRow(**fields)  # type: ignore[arg-type]


def test_a_search_without_an_end_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="40 years"):
        CronRow(month=(2,)).next(datetime(9999, 6, 1, tzinfo=UTC))


def test_a_naive_time_is_refused() -> None:
    with pytest.raises(ScheduledTimeError, match="time zone"):
        CronRow(hour=(1,)).next(datetime(2024, 1, 1))  # noqa: DTZ001
