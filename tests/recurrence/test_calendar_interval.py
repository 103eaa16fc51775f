"""Every so many days, weeks, months or years at a local time."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest

from kokugen.errors import TriggerError
from kokugen.recurrence import CalendarInterval

BERLIN = ZoneInfo("Europe/Berlin")
START = datetime(2026, 1, 1, tzinfo=UTC)


def days(trigger: CalendarInterval, count: int = 6) -> list[str]:
    found, at = [], START - timedelta(days=1)
    for _ in range(count):
        following = trigger.next(at)
        assert following is not None
        found.append(f"{following:%Y-%m-%d}")
        at = following
    return found


@pytest.mark.parametrize(
    ("overflow", "expected"),
    [
        ("last", ["2026-01-31", "2026-02-28", "2026-03-31", "2026-04-30", "2026-05-31", "2026-06-30"]),
        ("skip", ["2026-01-31", "2026-03-31", "2026-05-31", "2026-07-31", "2026-08-31", "2026-10-31"]),
        ("next", ["2026-01-31", "2026-03-01", "2026-03-31", "2026-05-01", "2026-05-31", "2026-07-01"]),
    ],
)
def test_a_day_that_a_month_does_not_have_overflows_as_asked(overflow: str, expected: list[str]) -> None:
    trigger = CalendarInterval(date(2026, 1, 31), months=1, overflow=overflow)  # type: ignore[arg-type]
    assert days(trigger) == expected


def test_a_short_month_does_not_shorten_those_after_it() -> None:
    assert days(CalendarInterval(date(2025, 11, 30), months=3), 4) == [
        "2026-02-28",
        "2026-05-30",
        "2026-08-30",
        "2026-11-30",
    ]


def test_every_three_months_on_the_31st_in_a_zone() -> None:
    trigger = CalendarInterval(date(2026, 1, 31), months=3, at=time(9), tz="Europe/Berlin")
    walls = [when.astimezone(BERLIN) for when in trigger.between(START, START + timedelta(days=365))]
    assert [f"{wall:%m-%d %H:%M}" for wall in walls] == ["01-31 09:00", "04-30 09:00", "07-31 09:00", "10-31 09:00"]


def test_a_leap_day_comes_every_four_years_or_every_year() -> None:
    skipping = CalendarInterval(date(2024, 2, 29), years=1, overflow="skip")
    assert days(skipping, 3) == ["2028-02-29", "2032-02-29", "2036-02-29"]
    assert days(CalendarInterval(date(2024, 2, 29), years=1), 3) == ["2026-02-28", "2027-02-28", "2028-02-29"]


def test_days_and_weeks_are_counted_from_the_first_and_keep_the_wall_time() -> None:
    trigger = CalendarInterval(date(2026, 3, 1), weeks=1, days=3, at=time(7, 30), tz="Europe/Berlin")
    walls = [when.astimezone(BERLIN) for when in trigger.between(START, START + timedelta(days=130))]
    assert all(f"{wall:%H:%M}" == "07:30" for wall in walls)
    assert [(wall.date() - date(2026, 3, 1)).days for wall in walls] == [0, 10, 20, 30, 40, 50, 60, 70]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "give months and years, or days and weeks"),
        ({"months": 1, "days": 1}, "and not both"),
        ({"months": -1}, "months -1 is not a whole number"),
        ({"days": True}, "days True is not a whole number"),
        ({"years": 41}, "longer than 40 years"),
        ({"days": 1, "at": time(9, tzinfo=UTC)}, "without a zone"),
        ({"days": 1, "at": time(9, 0, 0, 1)}, "in whole seconds"),
        ({"days": 1, "overflow": "wrap"}, "overflow 'wrap' is not"),
        ({"days": 1, "start": datetime(2026, 1, 1, tzinfo=UTC)}, "is not a date"),
        ({"days": 1, "start": date(1969, 1, 1)}, "1970 to 8999"),
    ],
)
def test_what_is_no_interval_is_refused(options: dict[str, object], message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        CalendarInterval(**{"start": date(2026, 1, 31), **options})  # type: ignore[arg-type]
