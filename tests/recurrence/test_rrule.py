"""RRULE: what RFC 5545 says, with the times of dateutil, at the right instants."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from random import Random
from zoneinfo import ZoneInfo

import pytest
from dateutil.rrule import rrulestr

from kokugen.errors import TriggerError
from kokugen.recurrence import RRule, dump_spec, load_spec

NEW_YORK = ZoneInfo("America/New_York")
BERLIN = ZoneInfo("Europe/Berlin")


def local(text: str) -> datetime:
    """A time without a zone: what DTSTART is beside its TZID."""
    return datetime.fromisoformat(text)


def first(trigger: RRule, count: int, zone: ZoneInfo = NEW_YORK) -> list[str]:
    found: list[str] = []
    at = trigger.next(datetime(1970, 1, 1, tzinfo=UTC))
    while at is not None and len(found) < count:
        found.append(f"{at.astimezone(zone):%Y-%m-%d %H:%M}")
        at = trigger.next(at)
    return found


# The examples of RFC 5545, 3.8.5.3, of which each line is one; DTSTART is 1997-09-02 09:00 in New York.
@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("FREQ=DAILY;COUNT=10", [f"1997-09-{day:02}" for day in range(2, 12)]),
        ("FREQ=DAILY;INTERVAL=10;COUNT=5", ["1997-09-02", "1997-09-12", "1997-09-22", "1997-10-02", "1997-10-12"]),
        ("FREQ=WEEKLY;INTERVAL=2;WKST=SU", ["1997-09-02", "1997-09-16", "1997-09-30", "1997-10-14", "1997-10-28"]),
        ("FREQ=WEEKLY;COUNT=4;WKST=SU;BYDAY=TU,TH", ["1997-09-02", "1997-09-04", "1997-09-09", "1997-09-11"]),
        (
            "FREQ=WEEKLY;INTERVAL=2;COUNT=4;WKST=SU;BYDAY=TU,TH",
            ["1997-09-02", "1997-09-04", "1997-09-16", "1997-09-18"],
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=1FR", ["1997-09-05", "1997-10-03", "1997-11-07"]),
        ("FREQ=MONTHLY;INTERVAL=2;COUNT=4;BYDAY=1SU,-1SU", ["1997-09-07", "1997-09-28", "1997-11-02", "1997-11-30"]),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=-2MO", ["1997-09-22", "1997-10-20", "1997-11-17"]),
        ("FREQ=MONTHLY;BYMONTHDAY=-3", ["1997-09-28", "1997-10-29", "1997-11-28", "1997-12-29"]),
        ("FREQ=MONTHLY;COUNT=4;BYMONTHDAY=1,-1", ["1997-09-30", "1997-10-01", "1997-10-31", "1997-11-01"]),
        ("FREQ=MONTHLY;INTERVAL=18;BYMONTHDAY=10,11,12", ["1997-09-10", "1997-09-11", "1997-09-12", "1999-03-10"]),
        ("FREQ=YEARLY;COUNT=4;BYMONTH=6,7", ["1998-06-02", "1998-07-02", "1999-06-02", "1999-07-02"]),
        ("FREQ=YEARLY;INTERVAL=3;BYYEARDAY=1,100,200", ["2000-01-01", "2000-04-09", "2000-07-18", "2003-01-01"]),
        ("FREQ=YEARLY;BYDAY=20MO", ["1998-05-18", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYWEEKNO=20;BYDAY=MO", ["1998-05-11", "1999-05-17", "2000-05-15"]),
        ("FREQ=YEARLY;BYMONTH=3;BYDAY=TH", ["1998-03-05", "1998-03-12", "1998-03-19", "1998-03-26", "1999-03-04"]),
        ("FREQ=MONTHLY;BYDAY=FR;BYMONTHDAY=13", ["1998-02-13", "1998-03-13", "1998-11-13", "1999-08-13", "2000-10-13"]),
        ("FREQ=MONTHLY;BYDAY=SA;BYMONTHDAY=7,8,9,10,11,12,13", ["1997-09-13", "1997-10-11", "1997-11-08"]),
        (
            "FREQ=YEARLY;INTERVAL=4;BYMONTH=11;BYDAY=TU;BYMONTHDAY=2,3,4,5,6,7,8",
            ["1997-11-04", "2001-11-06", "2005-11-08"],
        ),
        ("FREQ=MONTHLY;COUNT=3;BYDAY=TU,WE,TH;BYSETPOS=3", ["1997-09-04", "1997-10-07", "1997-11-06"]),
        ("FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-2", ["1997-09-29", "1997-10-30", "1997-11-27", "1997-12-30"]),
        (
            "FREQ=MONTHLY;BYMONTHDAY=15,30;COUNT=5",
            ["1997-09-15", "1997-09-30", "1997-10-15", "1997-10-30", "1997-11-15"],
        ),
    ],
)
def test_an_example_of_the_rfc_has_its_days(rule: str, expected: list[str]) -> None:
    trigger = RRule(rule, local("1997-09-02T09:00"), tz="America/New_York")
    assert first(trigger, len(expected)) == [f"{day} 09:00" for day in expected]


def test_a_count_ends_it() -> None:
    assert len(first(RRule("FREQ=DAILY;COUNT=10", local("1997-09-02T09:00")), 99)) == 10
    assert len(first(RRule("FREQ=MINUTELY;INTERVAL=90;COUNT=4", local("1997-09-02T09:00")), 99)) == 4


def test_until_is_a_time_of_the_rule_too() -> None:
    """It is in UTC where DTSTART has a zone."""
    trigger = RRule("FREQ=DAILY;UNTIL=19970905T130000Z", local("1997-09-02T09:00"), tz="America/New_York")
    assert first(trigger, 99)[-1] == "1997-09-05 09:00"
    assert trigger.prev(datetime(2030, 1, 1, tzinfo=UTC)) == datetime(1997, 9, 5, 13, tzinfo=UTC)


def test_exdates_are_left_out_and_rdates_added() -> None:
    trigger = RRule(
        "FREQ=WEEKLY;COUNT=3",
        local("2026-01-05T09:00"),
        exdates=(local("2026-01-12T09:00"), local("2026-01-13T09:00")),
        rdates=(local("2026-01-07T10:00"), local("2026-01-05T09:00")),
        tz="America/New_York",
    )
    assert first(trigger, 9) == ["2026-01-05 09:00", "2026-01-07 10:00", "2026-01-19 09:00"]
    assert trigger.count_between(datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)) == 3


# -- The same as dateutil, from any place in the rule


RULES = [
    "FREQ=YEARLY",
    "FREQ=YEARLY;INTERVAL=3;BYMONTH=2,8;BYMONTHDAY=29,-1",
    "FREQ=YEARLY;BYWEEKNO=1,53;BYDAY=MO,SU",
    "FREQ=YEARLY;BYYEARDAY=-1,60;BYHOUR=3,4",
    "FREQ=YEARLY;BYDAY=1MO,-1FR;BYMONTH=4",
    "FREQ=YEARLY;BYMONTH=1,6;BYDAY=MO,TU;BYSETPOS=1,-1",
    "FREQ=MONTHLY",
    "FREQ=MONTHLY;INTERVAL=5;BYMONTHDAY=31",
    "FREQ=MONTHLY;BYDAY=2TU;BYHOUR=8,20;BYMINUTE=0,30",
    "FREQ=MONTHLY;INTERVAL=2;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1;BYMONTH=2,4,8",
    "FREQ=WEEKLY",
    "FREQ=WEEKLY;INTERVAL=3;BYDAY=MO,SU;WKST=SU",
    "FREQ=WEEKLY;INTERVAL=2;BYDAY=SU;WKST=MO;BYMONTH=5,6",
    "FREQ=DAILY;INTERVAL=17",
    "FREQ=DAILY;INTERVAL=2;BYMONTH=7;BYDAY=SA;BYSECOND=15,45",
    "FREQ=DAILY;BYMONTHDAY=13;BYDAY=FR",
    "FREQ=HOURLY;INTERVAL=7",
    "FREQ=HOURLY;INTERVAL=6;BYDAY=MO",
    "FREQ=HOURLY;BYHOUR=9,17;BYMINUTE=4,30",
    "FREQ=MINUTELY;INTERVAL=45;BYHOUR=3,4,5",
    "FREQ=MINUTELY;INTERVAL=7;BYDAY=WE;BYHOUR=12",
    "FREQ=SECONDLY;INTERVAL=50;BYHOUR=1;BYMINUTE=2,3,4,5;BYMONTHDAY=1",
    "FREQ=DAILY;COUNT=400",
    "FREQ=MONTHLY;COUNT=77;BYDAY=-1WE",
    "FREQ=WEEKLY;BYDAY=TU;UNTIL=20311201T000000Z",
]


@pytest.mark.parametrize("rule", RULES)
def test_in_utc_it_has_the_times_of_dateutil(rule: str) -> None:
    """dateutil walks from the start; kokugen is asked at random places."""
    start = local("2024-02-29T03:04:05")
    expected = list(rrulestr(rule.replace("Z", ""), dtstart=start).between(start, local("2033-01-01"), inc=True))
    trigger, chance = RRule(rule, start), Random(rule)
    assert expected
    for at in [0, *(chance.randrange(len(expected)) for _ in range(25))]:
        when = expected[at].replace(tzinfo=UTC)
        assert trigger.next(when - timedelta(microseconds=1)) == when
        assert trigger.prev(when + timedelta(microseconds=1)) == when
        assert trigger.prev(when) == (expected[at - 1].replace(tzinfo=UTC) if at else None)
    some = expected[:2000]
    end = some[-1].replace(tzinfo=UTC) + timedelta(seconds=1)
    assert [when.replace(tzinfo=None) for when in trigger.between(start.replace(tzinfo=UTC), end)] == some
    assert trigger.count_between(start.replace(tzinfo=UTC), end) == len(some)


def test_a_rule_is_not_walked_from_its_start() -> None:
    """After a century of seconds the next one is found at once: a walk would take minutes."""
    trigger = RRule("FREQ=SECONDLY;BYHOUR=9", local("1970-01-01T00:00"))
    assert trigger.next(datetime(2070, 1, 1, tzinfo=UTC)) == datetime(2070, 1, 1, 9, tzinfo=UTC)


# -- Changes of clocks


def berlin(rule: str, start: str, day: str, **policy: str) -> list[str]:
    trigger = RRule(rule, local(start), tz="Europe/Berlin", **policy)  # type: ignore[arg-type]
    begin = datetime.fromisoformat(day).replace(tzinfo=BERLIN)
    return [f"{at.astimezone(BERLIN):%H:%M%z}"[:8] for at in trigger.between(begin, begin + timedelta(days=1))]


def test_a_fixed_time_follows_the_policy() -> None:
    assert berlin("FREQ=DAILY", "2026-01-01T02:30", "2026-03-29") == ["03:00+02"]
    assert berlin("FREQ=DAILY", "2026-01-01T02:30", "2026-03-29", gap="skip") == []
    assert berlin("FREQ=DAILY", "2026-01-01T02:30", "2026-10-25") == ["02:30+02"]
    assert berlin("FREQ=DAILY", "2026-01-01T02:30", "2026-10-25", fold="both") == ["02:30+02", "02:30+01"]


def test_the_last_time_of_a_rule_in_a_fold_counts_as_asked() -> None:
    assert berlin("FREQ=DAILY;COUNT=1", "2026-10-25T02:30", "2026-10-25", fold="both") == ["02:30+02", "02:30+01"]
    assert berlin("FREQ=DAILY;COUNT=1", "2026-10-25T02:30", "2026-10-25", fold="second") == ["02:30+01"]


def test_hours_go_by_real_time_without_a_repeated_or_a_missing_instant() -> None:
    assert len(set(berlin("FREQ=HOURLY", "2026-01-01T00:00", "2026-03-29"))) == 23
    assert len(set(berlin("FREQ=HOURLY", "2026-01-01T00:00", "2026-10-25"))) == 25
    assert berlin("FREQ=HOURLY;INTERVAL=5", "2026-03-28T19:00", "2026-03-29") == [
        "00:00+01",
        "06:00+02",
        "11:00+02",
        "16:00+02",
        "21:00+02",
    ]
    assert berlin("FREQ=MINUTELY;INTERVAL=30;BYHOUR=2", "2026-01-01T00:00", "2026-10-25") == [
        "02:00+02",
        "02:30+02",
        "02:00+01",
        "02:30+01",
    ]


# -- iCalendar's own form


def test_the_lines_of_an_event_are_read() -> None:
    trigger = RRule.from_ical(
        "DTSTART;TZID=America/New_York:19970902T090000\r\nRRULE:FREQ=DAILY;COU\r\n NT=5\r\n"
        "EXDATE;TZID=America/New_York:19970903T090000,19970904T090000\r\nRDATE:19971001T130000Z\r\n"
    )
    assert first(trigger, 9) == ["1997-09-02 09:00", "1997-09-05 09:00", "1997-09-06 09:00", "1997-10-01 09:00"]
    assert load_spec(dump_spec(trigger)) == trigger


def test_a_start_in_utc_is_in_utc_and_one_without_a_zone_in_the_given_one() -> None:
    assert RRule.from_ical("DTSTART:20260101T090000Z\nRRULE:FREQ=DAILY").tz == "UTC"
    assert RRule.from_ical("DTSTART:20260101T090000\nRRULE:FREQ=DAILY", tz="Asia/Tokyo").tz == "Asia/Tokyo"
    assert RRule.from_ical("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=DAILY").start == local("2026-01-01")


def test_an_aware_start_is_told_in_the_zone_of_the_rule() -> None:
    start = datetime(2026, 1, 1, 8, tzinfo=UTC)
    assert RRule("FREQ=DAILY", start, tz="Europe/Berlin").start == local("2026-01-01T09:00")


@pytest.mark.parametrize(
    ("rule", "message"),
    [
        ("", "'' is not carried; a part is one of BYDAY"),
        ("FREQ=FORTNIGHTLY", "FREQ=FORTNIGHTLY is not one of YEARLY"),
        ("INTERVAL=2", "FREQ= is not one of"),
        ("FREQ=DAILY;INTERVAL=0", "INTERVAL=0 is not 1 to 1000"),
        ("FREQ=DAILY;COUNT=1000000", "COUNT=1000000 is not 1 to 100000"),
        ("FREQ=DAILY;COUNT=3;UNTIL=20270101T000000Z", "COUNT or UNTIL, and not both"),
        ("FREQ=DAILY;UNTIL=20270101", "is a date: give a time too, such as 20270101T235959"),
        ("FREQ=DAILY;UNTIL=20271301T000000", "is not a time such as"),
        ("FREQ=DAILY;FREQ=DAILY", "FREQ is there twice"),
        ("FREQ=DAILY;BYEASTER=0", "'BYEASTER=0' is not carried"),
        ("RSCALE=CHINESE;FREQ=YEARLY", "'RSCALE=CHINESE' is not carried"),
        ("FREQ=YEARLY;SKIP=OMIT", "'SKIP=OMIT' is not carried"),
        ("FREQ=DAILY;BYHOUR=24", "BYHOUR=24 is not 0 to 23"),
        ("FREQ=DAILY;BYSECOND=60", "BYSECOND=60 is not 0 to 59"),
        ("FREQ=MONTHLY;BYMONTHDAY=0", "BYMONTHDAY=0 is not 1 to 31"),
        ("FREQ=DAILY;BYDAY=1MO", "BYDAY=1MO means nothing with FREQ=DAILY"),
        ("FREQ=MONTHLY;BYDAY=XX", "BYDAY=XX is not one of MO"),
        ("FREQ=MONTHLY;BYWEEKNO=3", "BYWEEKNO means nothing with FREQ=MONTHLY"),
        ("FREQ=WEEKLY;BYMONTHDAY=3", "BYMONTHDAY means nothing with FREQ=WEEKLY"),
        ("FREQ=HOURLY;BYSETPOS=1", "BYSETPOS with FREQ=HOURLY is not carried"),
        ("FREQ=MONTHLY;BYMONTH=2;BYMONTHDAY=30", "never comes true"),
        ("FREQ=DAILY;UNTIL=20200101T000000Z", "never comes true"),
    ],
)
def test_what_is_not_carried_is_refused_by_name(rule: str, message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        RRule(rule, local("2026-01-01T09:00"))


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        ("RRULE:FREQ=DAILY", "one DTSTART and one RRULE"),
        ("DTSTART:20260101T090000", "one DTSTART and one RRULE"),
        ("DTSTART:20260101T090000\nRRULE:FREQ=DAILY\nRRULE:FREQ=WEEKLY", "one DTSTART and one RRULE"),
        ("DTSTART:20260101T090000\nEXRULE:FREQ=DAILY", "EXRULE is not carried"),
        ("DTSTART:20260101T090000\nRRULE:FREQ=DAILY\nRDATE;VALUE=PERIOD:20260101T090000Z/PT1H", "'VALUE=PERIOD'"),
        ("DTSTART;TZID=Mars:20260101T090000\nRRULE:FREQ=DAILY", "there is no time zone 'Mars'"),
        (
            "DTSTART;TZID=Asia/Tokyo:20260101T090000\nRRULE:FREQ=DAILY\nEXDATE;TZID=UTC:20260101T090000",
            "one TZID at most",
        ),
        ("DTSTART:tomorrow\nRRULE:FREQ=DAILY", "'tomorrow' is not a time"),
        ("nonsense", "is not a line"),
    ],
)
def test_lines_that_are_not_carried_are_refused(lines: str, message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        RRule.from_ical(lines)
