"""What drawings of days have in common: a line of 24 hours, marks and notes of clock changes, titles.

Called by the views of the calendar, and by that of the ledger.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from datetime import date, datetime, timedelta
from zoneinfo import ZoneInfo

from kokugen.cli import times
from kokugen.cli.drawing import FAINT, MARK, STRONG, Line, Piece, Signs
from kokugen.cli.hours import HOUR_S, Change, Part, changes, midnight

DAY = timedelta(days=1)
HOURS = 24
NOTES_MAX = 6
LABEL_WIDTH, COUNT_WIDTH, CELL_WIDTH = 15, 8, 2

Marks = dict[date, str]
"""What is remarkable about a day: how long it is, or that clocks elsewhere change."""


def title(first: date, days: int, zone: ZoneInfo, told: str) -> Iterator[Line]:
    """Yield the lines above a drawing."""
    last = "" if days == 1 else f" to {first + (days - 1) * DAY}"
    yield [Piece(f"{first:%a} {first}{last}, {zone.key}", STRONG)]
    yield [Piece(told)]
    yield []


def head(count: str) -> Line:
    """Return the line above lines of hours."""
    hours = "".join(f"{hour:02}" if hour % 3 == 0 else "  " for hour in range(HOURS))
    return [Piece(" " * LABEL_WIDTH), Piece(hours, FAINT), Piece(f"{count:>{COUNT_WIDTH}}", FAINT)]


def hour_line(day: date, cells: Mapping[int, Piece], signs: Signs) -> Line:
    """Return the line of a day, with a cell for each hour; clocks skip those that have none."""
    skipped = Piece(signs.skipped * CELL_WIDTH, FAINT)
    return [Piece(f"{day:%a} {day} "), *(cells.get(hour, skipped) for hour in range(HOURS))]


def skip_legend(parted: Mapping[date, Mapping[int, object]], signs: Signs) -> Iterator[Line]:
    """Yield what the sign of skipped hours means, where there are some."""
    if any(len(hours) < HOURS for hours in parted.values()):
        yield [Piece(signs.skipped, FAINT), Piece(" an hour that clocks skip")]


def by_day(found: Iterable[Part], first: date, days: int) -> dict[date, list[Part]]:
    """Return the parts of each day; a day that clocks skip has none."""
    parted: dict[date, list[Part]] = {first + number * DAY: [] for number in range(days)}
    for part in found:
        parted[part.day].append(part)
    return parted


def by_hour(found: Iterable[Part], first: date, days: int) -> dict[date, dict[int, list[Part]]]:
    """Return the parts of each hour of each day: several where clocks show it twice."""
    parted: dict[date, dict[int, list[Part]]] = {}
    for day, of_day in by_day(found, first, days).items():
        hours = parted[day] = dict[int, list[Part]]()
        for part in of_day:
            hours.setdefault(part.second // HOUR_S, []).append(part)
    return parted


def marks(first: date, days: int, zone: ZoneInfo, others: Iterable[str]) -> Marks:
    """Return the days on which clocks change: those of the zone, or those of others."""
    start, end = midnight(first, zone), midnight(first + days * DAY, zone)
    far = {
        one.at.astimezone(zone).date(): "*" for name in others for one in changes(start, end, times.parse_zone(name))
    }
    dates = (first + number * DAY for number in range(days))
    return far | {day: f"{long:g} h" for day in dates if (long := length_h(day, zone)) != HOURS}


def length_h(day: date, zone: ZoneInfo) -> float:
    """Return how many hours a day has."""
    return (midnight(day + DAY, zone) - midnight(day, zone)) / timedelta(hours=1)


def mark(day: date, known: Marks) -> Piece:
    """Return what stands at the end of a day's line."""
    return Piece(f"  {known[day]}" if day in known else "", MARK)


def clock_notes(first: date, days: int, zone: ZoneInfo, others: Iterable[str]) -> Iterator[Line]:
    """Yield a line for each clock change, with an empty line above them."""
    start, end = midnight(first, zone), midnight(first + days * DAY, zone)
    names = sorted({zone.key, *others})
    notes = [(one, name) for name in names for one in changes(start, end, times.parse_zone(name))]
    notes.sort(key=lambda note: note[0].at)
    if notes:
        yield []
    for one, name in notes[:NOTES_MAX]:
        yield [Piece("* ", MARK), Piece(f"{one.before:%a} {one.before.date()}, clocks of {name}: {_jump(one)}")]
    if len(notes) > NOTES_MAX:
        yield [Piece(f"  and {len(notes) - NOTES_MAX} clock changes more")]


def _jump(change: Change) -> str:
    before, after = change.before, change.after
    return f"{_clock(before, after)} {'' if after > before else 'back '}to {_clock(after, before)}"


def _clock(one: datetime, other: datetime) -> str:
    """Return what a clock shows, with the day where that is another."""
    return f"{one:%H:%M}" if abs(one - other) < DAY else f"{one:%Y-%m-%d %H:%M}"


def over(found: Iterable[Part], now: datetime) -> bool:
    """Return whether all parts are over."""
    return all(part.end <= now for part in found)
