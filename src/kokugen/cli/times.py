"""Times as people type and read them. Called by the commands that take or print a time."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import date, datetime, timedelta
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

import click

from kokugen.clock import YEARS, SystemClock, from_us
from kokugen.errors import ScheduledTimeError
from kokugen.zones import load_zone

F = TypeVar("F", bound=Callable[..., Any])
UNITS = {"ms": "milliseconds", "s": "seconds", "m": "minutes", "h": "hours", "d": "days", "w": "weeks"}
SPAN = re.compile(r"(?:\d+(?:\.\d+)?(?:ms|s|m|h|d|w))+")
PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d|w)")


def now() -> datetime:
    """Return this machine's time, in UTC."""
    return from_us(SystemClock().wall_us())


def time_options(required: bool = True) -> Callable[[F], F]:
    """Add --at, --in and --tz to a command; `chosen_time` reads them."""
    also = "" if required else " Without either: now."

    def add(command: F) -> F:
        command = click.option("--tz", metavar="ZONE", help="The zone of --at, such as Europe/Berlin.")(command)
        command = click.option("--in", "in_", metavar="SPAN", help="From now: 90s, 1h30m, 2d." + also)(command)
        return click.option("--at", metavar="TIME", help="2026-12-24T18:00 with --tz, or with an offset.")(command)

    return add


def chosen_time(at: str | None, in_: str | None, tz: str | None) -> datetime | None:
    """Return the aware time that --at, --in and --tz say together, or None if they say none."""
    if at is not None and in_ is not None:
        raise click.UsageError("--at and --in exclude each other: give one of them")
    if at is None and tz is not None:
        raise click.UsageError("--tz is the zone of --at: give --at too")
    if in_ is not None:
        return later(parse_span(in_, "--in"))
    return None if at is None else parse_time(at, tz)


def required_time(at: str | None, in_: str | None, tz: str | None) -> datetime:
    """Return the aware time that the options say. Raises UsageError where they say none."""
    when = chosen_time(at, in_, tz)
    if when is None:
        raise click.UsageError("no time was given: use --at TIME --tz ZONE, or --in SPAN")
    return when


def parse_time(text: str, tz: str | None, option: str = "--at") -> datetime:
    """Return an aware time from ISO 8601 text and the zone's name. Raises ScheduledTimeError."""
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        raise ScheduledTimeError(f"{option} {text!r} is not a time: write it like 2026-12-24T18:00") from None
    if when.tzinfo is not None and tz is not None:
        raise ScheduledTimeError(f"{option} {text!r} has an offset of its own: leave --tz out, or the offset")
    if when.tzinfo is None and tz is None:
        raise ScheduledTimeError(f"{option} {text!r} could be anywhere: add --tz ZONE, or an offset such as +01:00")
    return when if tz is None else when.replace(tzinfo=parse_zone(tz))


def parse_instant(text: str, option: str) -> datetime:
    """Return an aware time from ISO 8601 text that says its offset. Raises ScheduledTimeError."""
    if lacks_zone(text):
        raise ScheduledTimeError(f"{option} {text!r} could be anywhere: add an offset such as +01:00, or Z for UTC")
    return parse_time(text, None, option)


def lacks_zone(text: str) -> bool:
    """Return whether the text is a time that has no offset of its own."""
    try:
        return datetime.fromisoformat(text).tzinfo is None
    except ValueError:
        return False


def parse_date(text: str, option: str) -> date:
    """Return a day, of the years that are kept. Raises ScheduledTimeError."""
    try:
        day = date.fromisoformat(text)
    except ValueError:
        raise ScheduledTimeError(f"{option} {text!r} is not a day: write it like 2026-12-24") from None
    if day.year not in YEARS:
        raise ScheduledTimeError(f"{option} {text!r} is out of range: use the years {YEARS[0]} to {YEARS[-1]}")
    return day


def parse_zone(name: str) -> ZoneInfo:
    """Return the zone. Raises ScheduledTimeError where there is none of this name."""
    try:
        return load_zone(name)
    except (LookupError, ValueError, OSError):
        raise ScheduledTimeError(f"there is no time zone {name!r}: use an IANA name such as Europe/Berlin") from None


def parse_span(text: str, option: str) -> timedelta:
    """Return a span such as 90s, 1h30m or 7d. Raises ScheduledTimeError."""
    if not SPAN.fullmatch(text):
        raise ScheduledTimeError(f"{option} {text!r} is not a span of time: write it like 90s, 1h30m or 7d")
    try:
        return sum((timedelta(**{UNITS[unit]: float(count)}) for count, unit in PART.findall(text)), timedelta())
    except OverflowError:
        raise ScheduledTimeError(f"{option} {text!r} is longer than any time that is kept") from None


def later(span: timedelta) -> datetime:
    """Return the time that far from now. Raises ScheduledTimeError past the end of time."""
    return _shifted(span, "from now")


def earlier(span: timedelta) -> datetime:
    """Return the time that far back. Raises ScheduledTimeError before the beginning of time."""
    return _shifted(-span, "before now")


def _shifted(span: timedelta, where: str) -> datetime:
    try:
        return now() + span
    except OverflowError:
        raise ScheduledTimeError(f"{abs(span).days} days {where} is outside the years that are kept") from None


def relative(when: datetime, base: datetime) -> str:
    """Return how far off a time is: `in 5 min`, `3 h ago`."""
    away = brief(abs(when - base))
    return f"in {away}" if when >= base else f"{away} ago"


def brief(span: timedelta) -> str:
    """Return a span in its largest unit that says enough: `250 ms`, `1.2 s`, `5 min`, `3 h`, `12 d`."""
    seconds = span.total_seconds()
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.0f} h" if seconds < 172_800 else f"{seconds / 86_400:,.0f} d"


def stamp(when: datetime | None) -> str:
    """Return a time to the millisecond, in UTC, or a dash."""
    return when.strftime("%Y-%m-%d %H:%M:%S.") + f"{when.microsecond // 1000:03d}Z" if when else "-"
