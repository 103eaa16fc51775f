"""What schedules will run when, drawn: days by hours, a month by weeks, and one day by schedules.

A view says between which instants it wants to know how many tasks there will be, and draws the answer. Called by
`kokugen calendar`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from datetime import date, datetime
from typing import TYPE_CHECKING, NamedTuple
from zoneinfo import ZoneInfo

from kokugen.cli import console, days
from kokugen.cli.days import DAY
from kokugen.cli.drawing import FAINT, MARK, Line, Piece, Scale, Signs, fitted, short
from kokugen.cli.hours import HOUR_S, Part, parts

if TYPE_CHECKING:
    from kokugen.schedules.preview import Tally

NAME_WIDTH = 20
NAMES_MAX = 30
WEEKDAYS = ("Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun")
DAY_WIDTH = 11


class Counts(NamedTuple):
    """What is drawn: how often each schedule runs in each part, how often all do, and which days are remarkable."""

    each: dict[str, list[int]]
    sums: dict[Part, int]
    marks: days.Marks

    def of(self, some: Iterable[Part]) -> int:
        """Return how many run in some parts."""
        return sum(self.sums[part] for part in some)


class View(ABC):
    """A drawing of some days in a zone, as things are `now`."""

    step_s = HOUR_S
    """How long its parts are at most."""

    def __init__(self, first: date, count: int, zone: ZoneInfo, now: datetime, signs: Signs) -> None:
        self.first, self.count, self.zone, self.now, self.signs = first, count, zone, now, signs
        self.parts = parts(first, count, zone, self.step_s)

    @property
    def edges(self) -> list[datetime]:
        """The instants between which tasks are to be counted."""
        return [*(part.start for part in self.parts), *(part.end for part in self.parts[-1:])]

    def lines(self, found: Tally) -> Iterator[Line]:
        """Yield the drawing."""
        zones = sorted({name for names in found.zones.values() for name in names})
        sums = [sum(column) for column in zip(*found.counts.values(), strict=True)] or [0] * len(self.parts)
        told = f"{console.counted(len(found.counts), 'schedule')}, {console.counted(sum(sums), 'run')}"
        marks = days.marks(self.first, self.count, self.zone, zones)
        yield from days.title(self.first, self.count, self.zone, told)
        yield from self.body(Counts(found.counts, dict(zip(self.parts, sums, strict=True)), marks))
        yield from days.clock_notes(self.first, self.count, self.zone, zones)

    @abstractmethod
    def body(self, found: Counts) -> Iterator[Line]:
        """Yield what is between title and notes."""


class HoursView(View):
    """A line a day, a cell an hour."""

    def body(self, found: Counts) -> Iterator[Line]:
        parted = days.by_hour(self.parts, self.first, self.count)
        scale = Scale(max(found.of(hour) for hours in parted.values() for hour in hours.values()), self.signs)
        yield days.head("runs")
        for day, hours in parted.items():
            cells = {hour: self.cell(part, found.of(part), scale) for hour, part in hours.items()}
            total = Piece(f"{short(sum(map(found.of, hours.values()))):>{days.COUNT_WIDTH}}")
            yield [*days.hour_line(day, cells, self.signs), total, days.mark(day, found.marks)]
        yield []
        yield scale.legend("in an hour")
        yield from days.skip_legend(parted, self.signs)

    def cell(self, of_hour: list[Part], count: int, scale: Scale) -> Piece:
        """Return the cell of an hour; blank where it is over."""
        return Piece(" " * days.CELL_WIDTH) if days.over(of_hour, self.now) else scale.piece(count, days.CELL_WIDTH)


class MonthView(View):
    """A line a week, a cell a day."""

    step_s = 24 * HOUR_S

    def __init__(self, first: date, zone: ZoneInfo, now: datetime, signs: Signs) -> None:
        begin = first.replace(day=1)
        super().__init__(begin, ((begin + 31 * DAY).replace(day=1) - begin).days, zone, now, signs)

    def body(self, found: Counts) -> Iterator[Line]:
        parted = days.by_day(self.parts, self.first, self.count)
        scale = Scale(max(map(found.of, parted.values())), self.signs)
        yield [Piece("    "), Piece("".join(f"{name:<{DAY_WIDTH}}" for name in WEEKDAYS), FAINT)]
        monday = self.first - self.first.weekday() * DAY
        while monday < self.first + self.count * DAY:
            week = [monday + number * DAY for number in range(len(WEEKDAYS))]
            cells = [piece for day in week for piece in self.cell(day, parted.get(day), found, scale)]
            yield [Piece(f"W{monday.isocalendar().week:02}", FAINT), *cells]
            monday = week[-1] + DAY
        yield []
        yield scale.legend("in a day")

    def cell(self, day: date, of_day: list[Part] | None, found: Counts, scale: Scale) -> list[Piece]:
        """Return the pieces of a day: its number, a mark, its shade and how many run; blank where it is over."""
        if of_day is None:
            return [Piece(" " * DAY_WIDTH)]
        number = f"{day.day:>3}{'*' if day in found.marks else ' '}"
        if not of_day:
            return [Piece(number), Piece(f"{self.signs.skipped:<7}", FAINT)]
        if days.over(of_day, self.now):
            return [Piece(f"{number:<{DAY_WIDTH}}", FAINT)]
        count = found.of(of_day)
        return [Piece(number), scale.piece(count), Piece(f" {short(count) if count else '':<5}")]


class DayView(View):
    """A line a schedule, a cell half an hour of real time: the lines of a day of 23 h are shorter than others."""

    step_s = HOUR_S // 2

    def __init__(self, day: date, zone: ZoneInfo, now: datetime, signs: Signs) -> None:
        super().__init__(day, 1, zone, now, signs)

    def body(self, found: Counts) -> Iterator[Line]:
        scale = Scale(max(found.sums.values()), self.signs)
        yield self.head()
        names = sorted(found.each)
        for name in names[:NAMES_MAX]:
            yield self.line(fitted(name, NAME_WIDTH), found.each[name], scale)
        if len(names) > NAMES_MAX:
            yield [Piece(f"and {len(names) - NAMES_MAX:,} more: give the names of those to be drawn", FAINT)]
        if len(names) != 1:
            yield self.line(f"{'all':<{NAME_WIDTH}}", list(found.sums.values()), scale)
        yield []
        long = found.marks.get(self.first, "*")
        yield [*scale.legend("in half an hour"), Piece("" if long == "*" else f"   a day of {long}", MARK)]

    def head(self) -> Line:
        """Return the line with the hours, as clocks show them."""
        labels = [" "] * len(self.parts)
        for place, part in enumerate(self.parts[:-1]):
            if part.second % (3 * HOUR_S) == 0 and labels[place] == " ":
                labels[place : place + 2] = f"{part.second // HOUR_S:02}"
        return [Piece(f"{'':{NAME_WIDTH + 1}}{''.join(labels)}{'runs':>{days.COUNT_WIDTH}}", FAINT)]

    def line(self, label: str, counts: list[int], scale: Scale) -> Line:
        cells = [
            Piece(" ") if part.end <= self.now else scale.piece(count)
            for part, count in zip(self.parts, counts, strict=True)
        ]
        return [Piece(f"{label} "), *cells, Piece(f"{short(sum(counts)):>{days.COUNT_WIDTH}}")]
