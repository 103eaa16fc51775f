"""Calendars: what is inside, and what triggers make of it."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kokugen.errors import TriggerError
from kokugen.recurrence import BusinessDays, Calendar, Cron, Days, Every, Joined, Named, NthDay, Weekly, Windows
from tests.recurrence.samples import CALENDARS, FAIR, HOLIDAYS

BERLIN = ZoneInfo("Europe/Berlin")
TOKYO = ZoneInfo("Asia/Tokyo")
SECOND_US = 1_000_000
each = pytest.mark.parametrize("calendar", CALENDARS, ids=repr)


def at(text: str, zone: ZoneInfo = BERLIN) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=zone)


@each
@given(when=st.datetimes(datetime(2025, 12, 1), datetime(2027, 1, 1), timezones=st.just(UTC)))  # noqa: DTZ001
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_stay_lasts_as_long_as_it_says(calendar: Calendar, when: datetime) -> None:
    us = round(when.timestamp()) * SECOND_US
    stay = calendar.stay_us(us)
    assert stay.start <= us < stay.end
    for inside in (stay.start, (stay.start + us) // 2, us, (us + stay.end) // 2, stay.end - 1):
        if abs(inside - us) < 400 * 86_400 * SECOND_US:
            assert calendar.stay_us(inside).is_inside == stay.is_inside


@each
def test_a_calendar_and_its_complement_are_all_time(calendar: Calendar) -> None:
    for day in range(0, 400, 3):
        when = datetime(2026, 1, 1, 10, tzinfo=UTC) + timedelta(days=day)
        assert calendar.contains(when) is not (~calendar).contains(when)
        assert (calendar | FAIR).contains(when) is (calendar.contains(when) or FAIR.contains(when))
        assert (calendar & FAIR).contains(when) is (calendar.contains(when) and FAIR.contains(when))
        assert (calendar - FAIR).contains(when) is (calendar.contains(when) and not FAIR.contains(when))


@pytest.mark.parametrize("tz", ["Europe/Berlin", "America/Sao_Paulo", "Asia/Beirut", "Pacific/Apia", "America/Havana"])
def test_what_is_inside_is_what_the_clock_on_the_wall_shows(tz: str) -> None:
    """Some of these zones change their clocks at midnight, so that a day begins at 1:00, or an evening comes twice."""
    zone, chance = ZoneInfo(tz), Random(tz)
    dates = tuple(date(2011, 1, 1) + timedelta(days=number) for number in range(0, 5000, 3))
    days, nights = Days(dates, tz=tz), Weekly("sat,tue", time(23), time(1, 30), tz=tz)
    chosen = set(dates)
    for _ in range(3000):
        when = datetime(2011, 1, 1, tzinfo=UTC) + timedelta(minutes=chance.randrange(13 * 365 * 1440))
        wall = when.astimezone(zone)
        assert days.contains(when) is (wall.date() in chosen)
        begins = wall.isoweekday() in {2, 6} and wall.hour == 23
        ends = wall.isoweekday() in {3, 7} and wall.hour * 60 + wall.minute < 90
        assert nights.contains(when) is (begins or ends)


@each
def test_outside_of_the_known_years_nothing_is_inside(calendar: Calendar) -> None:
    for year in (1, 1960, 9000, 9999):
        assert not calendar.contains(datetime(year, 6, 1, tzinfo=UTC))


def test_a_holiday_is_from_midnight_to_midnight_where_it_is() -> None:
    christmas = Days((date(2026, 12, 25),), tz="Asia/Tokyo")
    assert christmas.contains(at("2026-12-25T00:00", TOKYO))
    assert christmas.contains(at("2026-12-25T23:59:59", TOKYO))
    assert not christmas.contains(at("2026-12-26T00:00", TOKYO))
    assert not christmas.contains(at("2026-12-25T23:59", BERLIN))


def test_a_day_has_the_hours_that_the_clock_gives_it() -> None:
    for day, hours in ((date(2026, 3, 29), 23), (date(2026, 10, 25), 25)):
        calendar = Days((day,), tz="Europe/Berlin")
        start = datetime(day.year, day.month, day.day, tzinfo=BERLIN)
        inside = Every(timedelta(hours=1)) & calendar
        assert inside.count_between(start - timedelta(days=2), start + timedelta(days=3)) == hours


def test_office_hours_begin_inside_and_end_outside() -> None:
    office = Weekly("mon-fri", time(9), time(17), tz="Europe/Berlin")
    assert office.contains(at("2026-11-24T09:00"))
    assert office.contains(at("2026-11-24T16:59:59"))
    assert not office.contains(at("2026-11-24T17:00"))
    assert not office.contains(at("2026-11-24T08:59:59"))
    assert not office.contains(at("2026-11-28T12:00"))


def test_hours_past_midnight_belong_to_the_day_they_begin_on() -> None:
    nights = Weekly("sat", time(22), time(6), tz="Europe/Berlin")
    assert nights.contains(at("2026-11-28T22:00"))
    assert nights.contains(at("2026-11-29T05:59"))
    assert not nights.contains(at("2026-11-29T06:00"))
    assert not nights.contains(at("2026-11-28T05:00"))


def test_windows_that_overlap_are_one() -> None:
    one, two, three = at("2026-01-01"), at("2026-01-02"), at("2026-01-03")
    overlapping = Windows(((two - timedelta(hours=1), three), (one, two)))
    assert overlapping.contains(two)
    assert not overlapping.contains(three)
    assert (Every(timedelta(hours=1)) & overlapping).count_between(one, three + timedelta(days=9)) == 48


def test_business_days_leave_out_weekends_and_holidays() -> None:
    days = BusinessDays(tz="Europe/Berlin", holidays=HOLIDAYS)
    assert days.contains(at("2026-01-02T12:00"))
    assert not days.contains(at("2026-01-01T12:00"))
    assert not days.contains(at("2026-01-03T12:00"))
    assert BusinessDays(weekdays="sun-thu").contains(at("2026-01-04T12:00"))


def test_a_trigger_in_a_blackout_waits_for_its_next_time_after_it() -> None:
    trigger = Cron("0 * * * *") - FAIR
    assert trigger.next(datetime(2026, 2, 28, 23, tzinfo=UTC)) == datetime(2026, 3, 4, 12, tzinfo=UTC)
    assert trigger.prev(datetime(2026, 3, 4, 12, tzinfo=UTC)) == datetime(2026, 2, 28, 23, tzinfo=UTC)


def test_each_second_of_a_year_of_working_hours_is_counted_without_walking() -> None:
    office = Weekly("mon-fri", time(9), time(17))
    start, end = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)
    seconds = (Cron("* * * * * *") & office).count_between(start, end)
    assert seconds == 261 * 8 * 3600
    assert (Cron("* * * * * *") - office).count_between(start, end) == 365 * 86_400 - seconds


def test_what_is_outside_for_days_is_passed_over_in_both_directions() -> None:
    hour = Weekly("mon", time(9), time(10))
    each_second, wednesday = Cron("* * * * * *") & hour, datetime(2026, 11, 25, tzinfo=UTC)
    assert each_second.prev(wednesday) == datetime(2026, 11, 23, 9, 59, 59, tzinfo=UTC)
    assert each_second.next(wednesday) == datetime(2026, 11, 30, 9, tzinfo=UTC)
    stay = hour.stay_us(round(wednesday.timestamp()) * SECOND_US)
    assert stay.start == round(datetime(2026, 11, 23, 10, tzinfo=UTC).timestamp()) * SECOND_US


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Weekly("mon#1"), "not the same in every week"),
        (lambda: Weekly("funday"), "'funday' is not a day of the week"),
        (lambda: Weekly("mon", time(9, tzinfo=UTC)), "without a zone"),
        (lambda: Days((datetime(2026, 1, 1, tzinfo=UTC),)), "is not a date"),
        (lambda: Windows(((at("2026-01-02"), at("2026-01-01")),)), "is not before"),
        (lambda: Joined(()), "one calendar or more"),
        (lambda: Named(""), "not a text of 1 to 200"),
        (lambda: Named("\ud800"), "printable"),
        (lambda: BusinessDays(tz="Mars"), "no time zone 'Mars'"),
        (lambda: FAIR.contains(at("2026-01-01").replace(tzinfo=None)), "has no time zone"),
    ],
)
def test_what_is_no_calendar_is_refused(make: object, message: str) -> None:
    assert callable(make)
    with pytest.raises(TriggerError, match=message):
        make()


# -- The nth day of a month


def days_of(trigger: NthDay, count: int = 4) -> list[str]:
    start = datetime(2026, 1, 1, tzinfo=UTC)
    return [
        f"{one.astimezone(TOKYO):%m-%d %H:%M}"
        for one in list(trigger.between(start, start + timedelta(days=400)))[:count]
    ]


def test_the_last_business_day_of_the_month_at_17_in_tokyo() -> None:
    holidays = Days((date(2026, 1, 30), date(2026, 3, 31)), tz="Asia/Tokyo")
    trigger = NthDay(-1, BusinessDays(tz="Asia/Tokyo", holidays=holidays), at=time(17), tz="Asia/Tokyo")
    assert days_of(trigger) == ["01-29 17:00", "02-27 17:00", "03-30 17:00", "04-30 17:00"]


def test_some_months_only_and_those_that_have_so_many() -> None:
    mondays = Weekly("mon", tz="Asia/Tokyo")
    assert days_of(NthDay(2, mondays, tz="Asia/Tokyo", months="2-3")) == ["02-09 00:00", "03-09 00:00"]
    assert days_of(NthDay(5, mondays, tz="Asia/Tokyo")) == ["03-30 00:00", "06-29 00:00", "08-31 00:00", "11-30 00:00"]


def test_a_day_that_no_month_has_is_none_after_forty_years() -> None:
    assert NthDay(6, Weekly("mon")).next(datetime(2026, 1, 1, tzinfo=UTC)) is None
    assert NthDay(1, Days(())).prev(datetime(2026, 1, 1, tzinfo=UTC)) is None


@pytest.mark.parametrize("nth", [0, 32, -32, True])
def test_an_nth_that_cannot_be_is_refused(nth: int) -> None:
    with pytest.raises(TriggerError, match="is not 1 to 31"):
        NthDay(nth, HOLIDAYS)
