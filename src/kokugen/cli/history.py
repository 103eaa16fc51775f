"""What became of the times of a schedule, drawn: a day a line, and in each hour the worst that happened.

Called by `kokugen ledger --draw`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import date, datetime, timedelta
from itertools import islice
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from kokugen.cli import console, days, times
from kokugen.cli.days import CELL_WIDTH, COUNT_WIDTH, DAY
from kokugen.cli.drawing import ASCII, FAINT, PLAIN, Ink, Line, Piece, Signs, short
from kokugen.cli.hours import Part, parts

if TYPE_CHECKING:
    from kokugen.recurrence.trigger import Trigger
    from kokugen.schedules.occurrences import Occurrence

DAYS_MAX = 62
LATE = timedelta(seconds=10)
"""How late a start is to be called late."""
WALKED_MAX = 20_000
"""How many times that are told together are drawn one by one."""
TICK = timedelta(microseconds=1)


class Mark(NamedTuple):
    """How an outcome is drawn, in blocks and in ASCII, and what the legend says of it."""

    block: str
    plain: str
    told: str
    ink: Ink


FAILED = Mark("✗", "x", "failed", Ink("red", bold=True))
MISSED = Mark("○", "o", "did not run", Ink("magenta"))
LATER = Mark("◐", "l", "ran late", Ink("yellow"))
UNDER_WAY = Mark("▸", ">", "runs or waits", Ink("cyan"))
PAUSED = Mark("=", "=", "paused", Ink("blue"))
RAN = Mark("●", "*", "ran", Ink("green"))
MARKS = (FAILED, MISSED, LATER, UNDER_WAY, PAUSED, RAN)
"""The worst first."""
_MARK_OF = {
    "failed": FAILED,
    "cancelled": FAILED,
    "running": UNDER_WAY,
    "waiting": UNDER_WAY,
    "paused": PAUSED,
    "ran": RAN,
}


class Hour(NamedTuple):
    """What happened in a part of an hour."""

    marks: set[Mark]
    lates: list[timedelta]


class History:
    """The drawing of a schedule's days in a zone."""

    def __init__(self, first: date, count: int, zone: ZoneInfo, signs: Signs) -> None:
        self.first, self.count, self.zone, self.signs = first, count, zone, signs
        self.parts = parts(first, count, zone)
        self._starts = [part.start for part in self.parts]

    def lines(self, name: str, found: Sequence[Occurrence], trigger: Trigger) -> Iterator[Line]:
        """Yield the drawing. Times that are told together are those that the trigger has, where it has as many."""
        hours = {part: Hour(set(), []) for part in self.parts}
        totals = dict.fromkeys((part.day for part in self.parts), 0)
        for one in found:
            for part in self._places(one, trigger):
                hours[part].marks.add(mark_of(one))
                hours[part].lates.extend([] if one.late_by is None else [one.late_by])
            day = self.parts[self._place(one.time)].day
            totals[day] += one.count or 0
        told = f"{name}: {console.counted(sum(one.count or 0 for one in found), 'time')}"
        yield from days.title(self.first, self.count, self.zone, told)
        yield [*days.head("times"), Piece("  latest", FAINT)]
        for day, by_hour in days.by_hour(self.parts, self.first, self.count).items():
            cells = {hour: self._cell([hours[part] for part in of_hour]) for hour, of_hour in by_hour.items()}
            lates = [late for of_hour in by_hour.values() for part in of_hour for late in hours[part].lates]
            latest = times.brief(max(timedelta(0), *lates)) if lates else ""
            yield [
                *days.hour_line(day, cells, self.signs),
                Piece(f"{short(totals.get(day, 0)):>{COUNT_WIDTH}}"),
                Piece(f"{latest:>8}"),
            ]
        yield []
        yield self._legend({mark for hour in hours.values() for mark in hour.marks})
        yield from days.clock_notes(self.first, self.count, self.zone, ())

    def _place(self, when: datetime) -> int:
        return min(max(bisect_right(self._starts, when) - 1, 0), len(self.parts) - 1)

    def _places(self, one: Occurrence, trigger: Trigger) -> Iterator[Part]:
        """Yield the parts that its times are in."""
        walked = list(islice(trigger.between(one.time, one.until + TICK), WALKED_MAX + 1))
        if one.count == 1 or len(walked) != one.count:
            yield from self.parts[self._place(one.time) : self._place(one.until) + 1]
        else:
            yield from {self.parts[self._place(when)] for when in walked}

    def _cell(self, of_hour: Sequence[Hour]) -> Piece:
        marks = {mark for hour in of_hour for mark in hour.marks}
        worst = next((mark for mark in MARKS if mark in marks), None)
        if worst is None:
            return Piece(self.signs.none.ljust(CELL_WIDTH), FAINT)
        return Piece(self._sign(worst).ljust(CELL_WIDTH), worst.ink)

    def _sign(self, mark: Mark) -> str:
        return mark.plain if self.signs == ASCII else mark.block

    def _legend(self, seen: set[Mark]) -> Line:
        line = [Piece(self.signs.none, FAINT), Piece(" none")]
        for mark in reversed(MARKS):
            if mark in seen:
                line += [Piece("  "), Piece(self._sign(mark), mark.ink), Piece(f" {mark.told}", PLAIN)]
        return line


def mark_of(one: Occurrence) -> Mark:
    """Return how an occurrence is drawn."""
    if one.outcome == "ran" and one.late_by is not None and one.late_by > LATE:
        return LATER
    return _MARK_OF.get(one.outcome, MISSED)


def days_of(start: datetime, end: datetime, zone: ZoneInfo) -> tuple[date, int]:
    """Return the first day of a span, and how many days it touches."""
    first, last = (when.astimezone(zone).date() for when in (start, max(start, end - TICK)))
    return first, (last - first) // DAY + 1
