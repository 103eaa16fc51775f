"""Calendars from iCalendar files: all-day events are holidays, others are stretches of time, such as blackouts.

The files come from anywhere, so what is not carried is refused instead of being left out silently.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any

from kokugen.errors import TriggerError
from kokugen.recurrence.calendar import Calendar, Days, Windows
from kokugen.recurrence.rrule import RRule
from kokugen.recurrence.wall import check_zone
from kokugen.zones import load_zone

YEARS = (2000, 2049)
DAY = timedelta(days=1)
EVENTS_MAX = 10_000
BYTES_MAX = 4 << 20
SPANS_MAX = 10_000
"""How many days and stretches of time a file may have, events that recur written out."""
ONCE = ("DTSTART", "DTEND", "DURATION")
READ = {*ONCE, "RRULE", "RDATE", "EXDATE"}
UNREADABLE = (ValueError, LookupError, AttributeError, TypeError, OverflowError, OSError)
"""What icalendar raises for a file that is none: it reads each value without a look at what is there."""


def read_icalendar(source: str | bytes | Path, *, tz: str = "UTC", years: tuple[int, int] = YEARS) -> Calendar:
    """Return the time that the events of an iCalendar file cover; `source` is its Path, or its text.

    `tz` is where the days are, and the zone of times without one. Events that recur are written out for `years`, the
    first to the last; cancelled ones are left out. Needs icalendar: `pip install kokugen[icalendar]`. Raises
    TriggerError for what is no calendar, and for what is not carried.
    """
    check_zone(tz)
    dates: set[date] = set()
    windows: set[tuple[datetime, datetime]] = set()
    for start, end in _all_spans(source, tz, years):
        if isinstance(start, datetime):
            windows.add((start, end))
        else:
            dates.update(start + DAY * number for number in range(min((end - start).days, SPANS_MAX + 1)))
        if len(dates) + len(windows) > SPANS_MAX:
            raise TriggerError(
                f"iCalendar: there are more than {SPANS_MAX} days and stretches of time: take fewer years"
            )
    days = Days(tuple(dates), tz=tz)
    if not windows:
        return days
    timed = Windows(tuple(windows))
    return days | timed if dates else timed


def _all_spans(source: str | bytes | Path, tz: str, years: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Yield the start and end of each occurrence of each event."""
    for event in _events(source):
        try:
            yield from _spans(event, tz, years)
        except TriggerError:
            raise
        except UNREADABLE as error:
            raise TriggerError(f"iCalendar: {_name(event)!r} cannot be read: {error}") from error


def _name(event: Any) -> str:
    return str(event.get("SUMMARY", event.get("UID", "an event")))


def _events(source: str | bytes | Path) -> Iterator[Any]:
    try:
        from icalendar import Calendar as File
    except ImportError as error:
        raise TriggerError("iCalendar files need icalendar: pip install kokugen[icalendar]") from error
    try:
        text = (
            source.read_bytes() if isinstance(source, Path) else source.encode() if isinstance(source, str) else source
        )
    except UnicodeEncodeError as error:
        raise TriggerError(f"iCalendar: this is not a calendar: {error}") from error
    if len(text) > BYTES_MAX:
        raise TriggerError(f"iCalendar: {len(text)} bytes are more than {BYTES_MAX}")
    try:
        events = File.from_ical(text).walk("VEVENT")
    except UNREADABLE as error:
        raise TriggerError(f"iCalendar: this is not a calendar: {error}") from error
    if not 0 < len(events) <= EVENTS_MAX:
        raise TriggerError(f"iCalendar: {len(events)} events are not 1 to {EVENTS_MAX}")
    return (event for event in events if str(event.get("STATUS", "")).upper() != "CANCELLED")


def _spans(event: Any, tz: str, years: tuple[int, int]) -> Iterator[tuple[Any, Any]]:
    """Yield the start and end of each occurrence of an event: dates of a whole day, aware datetimes else."""
    name = _name(event)
    for key, why in event.errors:
        if key in READ:
            raise TriggerError(f"iCalendar: {key} of {name!r} cannot be read: {why}")
    if any(isinstance(event.get(key), list) for key in ONCE):
        raise TriggerError(f"iCalendar: {name!r} says more than once when it is")
    if "DTSTART" not in event:
        raise TriggerError(f"iCalendar: {name!r} has no DTSTART")
    if "RECURRENCE-ID" in event or "EXRULE" in event:
        raise TriggerError(f"iCalendar: {name!r} changes single occurrences of another event, which is not carried")
    start = event["DTSTART"].dt
    length = _length(event, start, name)
    if not isinstance(start, datetime):
        starts: Iterator[Any] = _dates(event, start, years, name)
    else:
        starts = _times(event, start, tz, years, name)
    return ((one, one + length) for one in starts)


def _length(event: Any, start: date, name: str) -> timedelta:
    if "DTEND" in event:
        end = event["DTEND"].dt
        if isinstance(end, datetime) is not isinstance(start, datetime):
            raise TriggerError(f"iCalendar: {name!r} begins with a date and ends with a time, or the other way round")
        length: timedelta = _utc(end, start) - _utc(start, start)
    elif "DURATION" in event:
        length = event["DURATION"].dt
    else:
        length = timedelta(0) if isinstance(start, datetime) else DAY
    if length <= timedelta(0) or (not isinstance(start, datetime) and length % DAY):
        raise TriggerError(f"iCalendar: {name!r} has no length, or a part of a day")
    return length


def _utc(when: Any, start: Any) -> Any:
    """Return an aware time in UTC, so that the length of an event is one of real time."""
    return when.astimezone(UTC) if getattr(start, "tzinfo", None) is not None else when


def _dates(event: Any, start: date, years: tuple[int, int], name: str) -> Iterator[date]:
    first = datetime.combine(start, time(0))
    if (rule := _rule(event, first, "UTC", name)) is None:
        return iter([start])
    return (when.date() for when in _between(rule, years))


def _times(event: Any, start: datetime, tz: str, years: tuple[int, int], name: str) -> Iterator[datetime]:
    zone = _zone_name(event["DTSTART"], tz, name)
    if (rule := _rule(event, start.replace(tzinfo=None), zone, name)) is None:
        return iter([start.replace(tzinfo=load_zone(zone)).astimezone(UTC)])
    return _between(rule, years)


def _between(rule: RRule, years: tuple[int, int]) -> Iterator[datetime]:
    first, last = years
    return rule.between(datetime(first, 1, 1, tzinfo=UTC), datetime(last + 1, 1, 1, tzinfo=UTC))


def _rule(event: Any, start: datetime, tz: str, name: str) -> RRule | None:
    """Return when an event recurs; None where it does not."""
    rules = event.get("RRULE")
    if rules is None and "RDATE" not in event:
        return None
    if rules is None or isinstance(rules, list):
        raise TriggerError(f"iCalendar: {name!r} has several rules, or dates without a rule, which is not carried")
    text = rules.to_ical().decode()
    if "UNTIL" in rules and not isinstance(rules["UNTIL"][0], datetime):
        until = f"{rules['UNTIL'][0]:%Y%m%d}"
        text = text.replace(f"UNTIL={until}", f"UNTIL={until}T235959")
    return RRule(text, start, tuple(_listed(event, "EXDATE", tz)), tuple(_listed(event, "RDATE", tz)), tz=tz)


def _listed(event: Any, key: str, tz: str) -> Iterator[datetime]:
    """Yield the dates of EXDATE or RDATE, as local times."""
    lists = event.get(key, [])
    for one in lists if isinstance(lists, list) else [lists]:
        for item in one.dts:
            when = item.dt
            if isinstance(when, datetime):
                yield when if when.tzinfo is None else when.astimezone(load_zone(tz)).replace(tzinfo=None)
            elif isinstance(when, date):
                yield datetime.combine(when, time(0))
            else:
                raise TriggerError(f"iCalendar: a period in {key} is not carried")


def _zone_name(start: Any, tz: str, name: str) -> str:
    """Return the zone of a DTSTART: `tz` where it says none."""
    zone = getattr(start.dt.tzinfo, "key", None) or str(start.dt.tzinfo or start.params.get("TZID", tz))
    try:
        check_zone(zone)
    except TriggerError as error:
        raise TriggerError(f"iCalendar: the zone {zone!r} of {name!r} is no IANA name, which is not carried") from error
    return str(zone)
