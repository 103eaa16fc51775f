"""Holidays and blackouts from iCalendar files, as offices and calendars publish them."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest

from kokugen.errors import TriggerError
from kokugen.recurrence import Cron, Days, Windows, dump_calendar, load_calendar, read_icalendar

BERLIN = ZoneInfo("Europe/Berlin")


def file_of(*events: str) -> str:
    body = "".join(f"BEGIN:VEVENT\nUID:{at}\n{event.strip()}\nEND:VEVENT\n" for at, event in enumerate(events))
    return f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//tests//EN\n{body}END:VCALENDAR\n".replace("\n", "\r\n")


NEW_YEAR = "SUMMARY:New Year\nDTSTART;VALUE=DATE:20260101\nDTEND;VALUE=DATE:20260102"
EASTER = "SUMMARY:Easter\nDTSTART;VALUE=DATE:20260403\nDTEND;VALUE=DATE:20260407"


def test_all_day_events_are_days() -> None:
    calendar = read_icalendar(file_of(NEW_YEAR, EASTER), tz="Europe/Berlin")
    days = (date(2026, 1, 1), date(2026, 4, 3), date(2026, 4, 4), date(2026, 4, 5), date(2026, 4, 6))
    assert calendar == Days(days, tz="Europe/Berlin")
    assert load_calendar(dump_calendar(calendar)) == calendar


def test_an_event_without_an_end_is_one_day() -> None:
    assert read_icalendar(file_of("DTSTART;VALUE=DATE:20260101")) == Days((date(2026, 1, 1),))


def test_a_yearly_holiday_is_written_out_for_the_years_asked_for() -> None:
    text = file_of("DTSTART;VALUE=DATE:20001225\nRRULE:FREQ=YEARLY")
    assert read_icalendar(text, years=(2026, 2028)) == Days(tuple(date(year, 12, 25) for year in (2026, 2027, 2028)))


def test_events_with_times_are_windows() -> None:
    text = file_of("DTSTART;TZID=Europe/Berlin:20260327T220000\nDTEND;TZID=Europe/Berlin:20260328T020000")
    expected = (datetime(2026, 3, 27, 21, tzinfo=UTC), datetime(2026, 3, 28, 1, tzinfo=UTC))
    assert read_icalendar(text) == Windows((expected,))


def test_a_time_without_a_zone_is_in_the_given_one() -> None:
    text = file_of("DTSTART:20260101T090000\nDURATION:PT2H")
    expected = (datetime(2026, 1, 1, 9, tzinfo=BERLIN), datetime(2026, 1, 1, 11, tzinfo=BERLIN))
    assert read_icalendar(text, tz="Europe/Berlin") == Windows((expected,))


def test_a_recurring_window_keeps_its_local_time_and_its_exceptions() -> None:
    calendar = read_icalendar(
        file_of(
            "DTSTART;TZID=Europe/Berlin:20260322T220000\nDURATION:PT4H\nRRULE:FREQ=WEEKLY;COUNT=4\n"
            "EXDATE;TZID=Europe/Berlin:20260405T220000"
        )
    )
    assert isinstance(calendar, Windows)
    assert [f"{start.astimezone(BERLIN):%m-%d %H:%M}" for start, _ in calendar.windows] == [
        "03-22 22:00",
        "03-29 22:00",
        "04-12 22:00",
    ]


def test_a_night_of_a_clock_change_is_as_long_as_it_is() -> None:
    text = file_of("DTSTART;TZID=Europe/Berlin:20260329T010000\nDTEND;TZID=Europe/Berlin:20260329T040000")
    calendar = read_icalendar(text)
    assert isinstance(calendar, Windows)
    ((start, end),) = calendar.windows
    assert (end - start).total_seconds() == 2 * 3600


def test_cancelled_events_are_left_out() -> None:
    assert read_icalendar(file_of(NEW_YEAR, f"{EASTER}\nSTATUS:CANCELLED")) == read_icalendar(file_of(NEW_YEAR))


def test_a_file_is_read_at_its_path(tmp_path: Path) -> None:
    path = tmp_path / "holidays.ics"
    path.write_text(file_of(NEW_YEAR), encoding="utf-8", newline="")
    assert read_icalendar(path) == read_icalendar(file_of(NEW_YEAR)) == read_icalendar(file_of(NEW_YEAR).encode())


def test_a_trigger_keeps_clear_of_the_holidays_of_a_file() -> None:
    trigger = Cron("0 9 * * mon-fri", tz="Europe/Berlin") - read_icalendar(file_of(EASTER), tz="Europe/Berlin")
    maundy_thursday = datetime(2026, 4, 2, 9, tzinfo=BERLIN)
    assert trigger.next(maundy_thursday) == datetime(2026, 4, 7, 9, tzinfo=BERLIN)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "is not a calendar"),
        ("hello", "is not a calendar"),
        (file_of(), "0 events are not 1 to 10000"),
        (file_of("SUMMARY:Never"), "'Never' has no DTSTART"),
        (file_of("DTSTART;VALUE=DATE:20260101\nDTEND;VALUE=DATE:20260101"), "has no length"),
        (file_of("DTSTART:20260101T090000Z"), "has no length"),
        (file_of("DTSTART;VALUE=DATE:20260101\nDTEND:20260102T000000Z"), "begins with a date and ends with a time"),
        (file_of("DTSTART;VALUE=DATE:20260101\nRRULE:FREQ=YEARLY;BYEASTER=1"), "BYEASTER=1"),
        (file_of("DTSTART;VALUE=DATE:20260101\nRDATE;VALUE=DATE:20260105"), "dates without a rule"),
        (file_of("DTSTART;TZID=Mars/Base:20260101T090000\nDURATION:PT1H"), "is no IANA name"),
        (file_of("DTSTART:20260101T090000Z\nDURATION:PT1H\nRECURRENCE-ID:20260101T090000Z"), "single occurrences"),
        ("BEGIN:VCALENDAR\r\n" + "X" * (5 << 20), "bytes are more than"),
    ],
)
def test_what_is_not_carried_is_refused(text: str, message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        read_icalendar(text)
