"""The dialect of cron: every form, with examples that are known from elsewhere."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest

from kokugen.recurrence import Cron, dump_spec, load_spec
from kokugen.recurrence.cron_text import MACROS

START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)


def times(expression: str, count: int = 4, start: str = "2025-12-31 23:59:59", **options: str) -> list[str]:
    """The first times after a start, in UTC."""
    trigger = Cron(expression, **options)  # type: ignore[arg-type]
    found, at = [], datetime.fromisoformat(start).replace(tzinfo=UTC)
    for _ in range(count):
        following = trigger.next(at)
        if following is None:
            break
        found.append(f"{following:%Y-%m-%d %H:%M:%S}".removesuffix(":00"))
        at = following
    return found


def days(expression: str, count: int = 4, start: str = "2025-12-31 23:59:59") -> list[str]:
    return [f"{datetime.fromisoformat(one):%m-%d %a}" for one in times(expression, count, start)]


# Worked out by hand from crontab(5), crontab.guru and the manual of Quartz.
@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * *", ["2026-01-01 00:00", "2026-01-01 00:01", "2026-01-01 00:02", "2026-01-01 00:03"]),
        ("*/15 * * * *", ["2026-01-01 00:00", "2026-01-01 00:15", "2026-01-01 00:30", "2026-01-01 00:45"]),
        ("5 4 * * *", ["2026-01-01 04:05", "2026-01-02 04:05", "2026-01-03 04:05", "2026-01-04 04:05"]),
        ("5 0 * 8 *", ["2026-08-01 00:05", "2026-08-02 00:05", "2026-08-03 00:05", "2026-08-04 00:05"]),
        ("15 14 1 * *", ["2026-01-01 14:15", "2026-02-01 14:15", "2026-03-01 14:15", "2026-04-01 14:15"]),
        ("0 22 * * 1-5", ["2026-01-01 22:00", "2026-01-02 22:00", "2026-01-05 22:00", "2026-01-06 22:00"]),
        ("23 0-20/2 * * *", ["2026-01-01 00:23", "2026-01-01 02:23", "2026-01-01 04:23", "2026-01-01 06:23"]),
        ("5 4 * * sun", ["2026-01-04 04:05", "2026-01-11 04:05", "2026-01-18 04:05", "2026-01-25 04:05"]),
        ("0 0,12 1 */2 *", ["2026-01-01 00:00", "2026-01-01 12:00", "2026-03-01 00:00", "2026-03-01 12:00"]),
        ("0 4 8-14 * *", ["2026-01-08 04:00", "2026-01-09 04:00", "2026-01-10 04:00", "2026-01-11 04:00"]),
        ("0 0 1,15 * 3", ["2026-01-01 00:00", "2026-01-07 00:00", "2026-01-14 00:00", "2026-01-15 00:00"]),
        ("0 0 1 1 *", ["2026-01-01 00:00", "2027-01-01 00:00", "2028-01-01 00:00", "2029-01-01 00:00"]),
        ("0 0 29 2 *", ["2028-02-29 00:00", "2032-02-29 00:00", "2036-02-29 00:00", "2040-02-29 00:00"]),
        ("0 0 31 * *", ["2026-01-31 00:00", "2026-03-31 00:00", "2026-05-31 00:00", "2026-07-31 00:00"]),
        ("59 23 31 12 ?", ["2026-12-31 23:59", "2027-12-31 23:59", "2028-12-31 23:59", "2029-12-31 23:59"]),
        ("*/20 30 6 * * *", ["2026-01-01 06:30", "2026-01-01 06:30:20", "2026-01-01 06:30:40", "2026-01-02 06:30"]),
        (
            "59 59 23 * * *",
            ["2026-01-01 23:59:59", "2026-01-02 23:59:59", "2026-01-03 23:59:59", "2026-01-04 23:59:59"],
        ),
        ("0 15 10 ? * MON-FRI", ["2026-01-01 10:15", "2026-01-02 10:15", "2026-01-05 10:15", "2026-01-06 10:15"]),
        ("0 0/5 14,18 * * ?", ["2026-01-01 14:00", "2026-01-01 14:05", "2026-01-01 14:10", "2026-01-01 14:15"]),
        ("0 10,44 14 ? 3 WED", ["2026-03-04 14:10", "2026-03-04 14:44", "2026-03-11 14:10", "2026-03-11 14:44"]),
        ("0 15 10 L * ?", ["2026-01-31 10:15", "2026-02-28 10:15", "2026-03-31 10:15", "2026-04-30 10:15"]),
        ("0 15 10 L-2 * ?", ["2026-01-29 10:15", "2026-02-26 10:15", "2026-03-29 10:15", "2026-04-28 10:15"]),
        ("0 15 10 ? * 5L", ["2026-01-30 10:15", "2026-02-27 10:15", "2026-03-27 10:15", "2026-04-24 10:15"]),
        ("0 15 10 ? * 5#3", ["2026-01-16 10:15", "2026-02-20 10:15", "2026-03-20 10:15", "2026-04-17 10:15"]),
        ("0 11 11 11 11 ?", ["2026-11-11 11:11", "2027-11-11 11:11", "2028-11-11 11:11", "2029-11-11 11:11"]),
        ("@every 1h30m", ["2026-01-01 00:00", "2026-01-01 01:30", "2026-01-01 03:00", "2026-01-01 04:30"]),
        ("@every 2d", ["2026-01-01 00:00", "2026-01-03 00:00", "2026-01-05 00:00", "2026-01-07 00:00"]),
    ],
)
def test_a_known_expression_has_its_known_times(expression: str, expected: list[str]) -> None:
    assert times(expression) == expected


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("0 0 LW * *", ["01-30 Fri", "02-27 Fri", "03-31 Tue", "04-30 Thu"]),
        ("0 0 1W * *", ["01-01 Thu", "02-02 Mon", "03-02 Mon", "04-01 Wed"]),
        ("0 0 15W * *", ["01-15 Thu", "02-16 Mon", "03-16 Mon", "04-15 Wed"]),
        ("0 0 31W * *", ["01-30 Fri", "03-31 Tue", "05-29 Fri", "07-31 Fri"]),
        ("0 0 L,1 * *", ["01-01 Thu", "01-31 Sat", "02-01 Sun", "02-28 Sat"]),
        ("0 0 L-30 * *", ["01-01 Thu", "03-01 Sun", "05-01 Fri", "07-01 Wed"]),
        ("0 0 * * friL", ["01-30 Fri", "02-27 Fri", "03-27 Fri", "04-24 Fri"]),
        ("0 0 * * mon#1,mon#3", ["01-05 Mon", "01-19 Mon", "02-02 Mon", "02-16 Mon"]),
        ("0 0 * * fri#5", ["01-30 Fri", "05-29 Fri", "07-31 Fri", "10-30 Fri"]),
        ("0 0 * * 7", ["01-04 Sun", "01-11 Sun", "01-18 Sun", "01-25 Sun"]),
        ("0 0 * * 5-7", ["01-02 Fri", "01-03 Sat", "01-04 Sun", "01-09 Fri"]),
        ("0 0 * * fri-mon", ["01-02 Fri", "01-03 Sat", "01-04 Sun", "01-05 Mon"]),
        ("0 0 * * sat-sun", ["01-03 Sat", "01-04 Sun", "01-10 Sat", "01-11 Sun"]),
        ("0 0 * * 7-1", ["01-04 Sun", "01-05 Mon", "01-11 Sun", "01-12 Mon"]),
        ("0 0 1 nov-feb *", ["01-01 Thu", "02-01 Sun", "11-01 Sun", "12-01 Tue"]),
        ("0 0 30-2 * *", ["01-01 Thu", "01-02 Fri", "01-30 Fri", "01-31 Sat"]),
        ("0 0 20/5 * *", ["01-20 Tue", "01-25 Sun", "01-30 Fri", "02-20 Fri"]),
    ],
)
def test_a_day_is_chosen_as_documented(expression: str, expected: list[str]) -> None:
    assert days(expression) == expected


def test_a_range_of_hours_may_go_round_midnight() -> None:
    assert times("0 22-2/2 * * *", 4) == [
        "2026-01-01 00:00",
        "2026-01-01 02:00",
        "2026-01-01 22:00",
        "2026-01-02 00:00",
    ]


@pytest.mark.parametrize("expression", ["0 9 * JAN,Jul MON-fri", "0 9 * jan,jul mon-FRI"])
def test_names_are_read_in_any_case(expression: str) -> None:
    same = Cron("0 9 * 1,7 1-5")
    assert list(Cron(expression).between(START, START + YEAR)) == list(same.between(START, START + YEAR))


@pytest.mark.parametrize(("macro", "fields"), MACROS.items())
def test_a_macro_is_what_crontab_says_it_is(macro: str, fields: str) -> None:
    assert times(macro) == times(fields)


# -- Day of the month and day of the week (crontab(5))


def test_with_both_days_restricted_either_is_enough() -> None:
    assert days("30 4 1,15 * 5", 5) == ["01-01 Thu", "01-02 Fri", "01-09 Fri", "01-15 Thu", "01-16 Fri"]


@pytest.mark.parametrize("expression", ["0 0 */2 * mon", "0 0 ? * mon", "0 0 * * mon"])
def test_a_field_that_begins_with_a_star_must_hold_too(expression: str) -> None:
    found = [datetime.fromisoformat(one) for one in times(expression, 50)]
    assert all(when.weekday() == 0 for when in found)
    if "*/2" in expression:
        assert all(when.day % 2 == 1 for when in found)


# -- Rare days, and the end of the search


def test_a_day_that_comes_every_forty_years_is_found() -> None:
    assert times("0 0 29 2 */7", 3, "2060-03-01") == ["2088-02-29 00:00", "2128-02-29 00:00", "2156-02-29 00:00"]
    assert times("0 0 * 2 sun#5", 3, "2060-03-01") == ["2088-02-29 00:00", "2128-02-29 00:00", "2156-02-29 00:00"]


def test_no_day_of_the_calendar_is_rarer_than_forty_years() -> None:
    """The longest wait for a 29 February on one day of the week, over the 400 years after which dates repeat."""
    leap_days = [date(year, 2, 29) for year in range(2000, 2801) if year % 4 == 0 and (year % 100 or year % 400 == 0)]
    longest = 0
    for weekday in range(7):
        matching = [day for day in leap_days if day.weekday() == weekday]
        longest = max(longest, *(b.year - a.year for a, b in pairwise(matching)))
        trigger = Cron(f"0 0 * 2 {(weekday + 1) % 7}#5")
        walked = list(islice(trigger.between(datetime(2000, 1, 1, tzinfo=UTC), datetime(2800, 1, 1, tzinfo=UTC)), 500))
        assert [when.date() for when in walked] == [day for day in matching if day.year < 2800]
    assert longest == 40


def test_what_a_zone_always_skips_is_given_up_after_forty_years() -> None:
    """The last Sunday of March at 2:30 is left out in Berlin, every year."""
    never = Cron("30 2 * 3 sunL", tz="Europe/Berlin", gap="skip")
    assert never.next(START) is None
    assert never.prev(START) is None or never.prev(START) < datetime(1996, 12, 31, tzinfo=UTC)  # type: ignore[operator]


# -- Zones


def test_without_a_zone_it_is_utc() -> None:
    assert Cron("0 9 * * *") == Cron("0 9 * * *", tz="UTC")


@pytest.mark.parametrize("prefix", ["TZ=Asia/Tokyo", "CRON_TZ=Asia/Tokyo"])
def test_a_zone_may_stand_before_the_fields(prefix: str) -> None:
    assert times(f"{prefix} 0 9 * * *", 2) == ["2026-01-01 00:00", "2026-01-02 00:00"]
    assert load_spec(dump_spec(Cron(f"{prefix} @daily"))) == Cron(f"{prefix} @daily")


def test_two_different_zones_are_refused() -> None:
    Cron("TZ=Asia/Tokyo 0 9 * * *", tz="Asia/Tokyo")
    with pytest.raises(ValueError, match="says its zone itself"):
        Cron("TZ=Asia/Tokyo 0 9 * * *", tz="Europe/Berlin")


# -- Changes of clocks, told as a reader of the documentation would expect


def berlin(expression: str, day: str, **policy: str) -> list[str]:
    """The times of a day in Berlin, as a clock there shows them, with the offset."""
    zone = ZoneInfo("Europe/Berlin")
    start = datetime.fromisoformat(day).replace(tzinfo=zone)
    trigger = Cron(expression, tz="Europe/Berlin", **policy)  # type: ignore[arg-type]
    return [f"{at.astimezone(zone):%H:%M%z}"[:8] for at in trigger.between(start, start + timedelta(days=1))]


SPRING, AUTUMN = "2026-03-29", "2026-10-25"


@pytest.mark.parametrize(("gap", "expected"), [("after", ["03:00+02"]), ("skip", [])])
def test_a_time_that_is_left_out_comes_right_after_the_gap_or_not(gap: str, expected: list[str]) -> None:
    assert berlin("30 2 * * *", SPRING, gap=gap) == expected


@pytest.mark.parametrize(
    ("fold", "expected"),
    [("first", ["02:30+02"]), ("second", ["02:30+01"]), ("both", ["02:30+02", "02:30+01"])],
)
def test_a_time_that_comes_twice_counts_as_asked(fold: str, expected: list[str]) -> None:
    assert berlin("30 2 * * *", AUTUMN, fold=fold) == expected


def test_several_times_in_one_gap_are_one_run() -> None:
    assert berlin("0,20,40 2,3 * * *", SPRING) == ["03:00+02", "03:20+02", "03:40+02"]


@pytest.mark.parametrize(("day", "count"), [(SPRING, 23 * 4), (AUTUMN, 25 * 4)])
@pytest.mark.parametrize("fold", ["first", "second", "both"])
def test_a_wildcard_goes_by_real_time_whatever_the_policy(day: str, count: int, fold: str) -> None:
    found = berlin("*/15 * * * *", day, fold=fold)
    assert len(found) == count
    assert len(set(found)) == count


def test_an_hour_that_is_a_wildcard_makes_it_real_time_too() -> None:
    assert berlin("30 * * * *", AUTUMN)[2:5] == ["02:30+02", "02:30+01", "03:30+01"]
    assert berlin("*/30 2 * * *", SPRING) == []
    assert berlin("*/30 2 * * *", AUTUMN) == ["02:00+02", "02:30+02", "02:00+01", "02:30+01"]


def test_every_value_spelt_out_is_no_wildcard() -> None:
    assert berlin("0,30 0-23 * * *", AUTUMN)[4:7] == ["02:00+02", "02:30+02", "03:00+01"]


def test_a_day_that_a_zone_never_had_comes_at_the_start_of_the_next() -> None:
    """Samoa went from 29 to 31 December 2011."""
    trigger = Cron("0 9 30 12 *", tz="Pacific/Apia")
    found = trigger.next(datetime(2011, 12, 29, tzinfo=UTC))
    assert found is not None
    assert f"{found.astimezone(ZoneInfo('Pacific/Apia')):%Y-%m-%d %H:%M}" == "2011-12-31 00:00"


# -- Hash spreading


@pytest.mark.parametrize(
    ("expression", "key", "expected"),
    [
        ("H H * * *", "backup", ["2026-01-01 08:09", "2026-01-02 08:09"]),
        ("H H * * *", "report", ["2026-01-01 03:35", "2026-01-02 03:35"]),
        ("H/15 * * * *", "backup", ["2026-01-01 00:09", "2026-01-01 00:24"]),
        ("H(0-29)/10 H(1-5) * * *", "backup", ["2026-01-01 04:09", "2026-01-01 04:19"]),
        ("H H H H *", "backup", ["2026-12-02 08:09", "2027-12-02 08:09"]),
        ("H H H * * H", "backup", ["2026-01-01 08:09:15", "2026-01-08 08:09:15"]),
    ],
)
def test_what_a_key_spreads_to_is_the_same_in_every_release(expression: str, key: str, expected: list[str]) -> None:
    assert times(expression, 2, key=key) == expected


def test_many_keys_spread_over_all_minutes() -> None:
    minutes = {times("H * * * *", 1, key=f"schedule-{number}")[0] for number in range(1000)}
    assert len(minutes) == 60
