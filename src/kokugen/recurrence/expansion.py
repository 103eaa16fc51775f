"""The local times of an RRULE: expanded by python-dateutil in chunks of whole periods, a few of which are kept.

A chunk begins where the rule's own period does (a year, a month, a week, a day), so that INTERVAL, BYSETPOS and the
like mean in it what they mean from the start on, and any chunk can be expanded without those before it.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterator
from datetime import date, datetime, time, timedelta
from functools import cached_property, lru_cache
from typing import Any

from kokugen.errors import TriggerError
from kokugen.recurrence.offsets import DAY_S
from kokugen.recurrence.pattern import EPOCH_DAY, YEAR_MAX
from kokugen.recurrence.rrule_text import Rule
from kokugen.recurrence.trigger import YEARS_MAX

PERIODS = {"YEARLY": 8, "MONTHLY": 24, "WEEKLY": 26, "DAILY": 64}
"""How many periods are expanded at a time; a rule by the hour, minute or second is expanded a day at a time."""
PER_YEAR = {"YEARLY": 1, "MONTHLY": 12, "WEEKLY": 53}
"""How many periods a year has, at most; of those of the others 366."""
CHUNKS_MAX = 20_000
COUNT_CHUNKS_MAX = 2000
KEPT = 8
UNIT_S = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}


class Expansion:
    """The walls of a rule from a start on, up to its end."""

    def __init__(self, rule: Rule, start: datetime, until: datetime | None) -> None:
        self._rule = rule
        self._start = start
        self._first = wall_of(start)
        self._until = None if until is None else wall_of(until)
        self._chunk = lru_cache(maxsize=KEPT)(self._expand)
        self._size = PERIODS.get(rule.freq, 1) * (1 if rule.is_sub_daily else rule.interval)
        years = YEARS_MAX * (rule.interval if rule.freq == "YEARLY" else 1)
        self._chunks_max = min(CHUNKS_MAX, years * PER_YEAR.get(rule.freq, 366) // self._size + 2)

    def at_or_after(self, wall: int) -> int | None:
        wall = max(wall, self._first)
        if self._last is not None and wall > self._last:
            return None
        if self._rule.is_rate:
            return self._checked(self._first - (self._first - wall) // self._period_s * self._period_s)
        number = self._chunk_of(wall)
        for chunk in map(self._chunk, range(number, number + self._chunks_max)):
            at = bisect_left(chunk, wall)
            if at < len(chunk):
                return self._checked(chunk[at])
        return None

    def before(self, wall: int) -> int | None:
        if self._last is not None:
            wall = min(wall, self._last + 1)
        if wall <= self._first:
            return None
        if self._rule.is_rate:
            return self._first + (wall - 1 - self._first) // self._period_s * self._period_s
        number = self._chunk_of(wall - 1)
        for chunk in map(self._chunk, range(number, max(number - self._chunks_max, -1), -1)):
            at = bisect_left(chunk, wall)
            if at:
                return chunk[at - 1]
        return None

    def count(self, start: int, end: int) -> int:
        start = max(start, self._first)
        end = end if self._last is None else min(end, self._last + 1)
        if start >= end:
            return 0
        if self._rule.is_rate:
            return (self._first - start) // self._period_s - (self._first - end) // self._period_s
        numbers = range(self._chunk_of(start), self._chunk_of(end - 1) + 1)
        return sum(bisect_left(chunk, end) - bisect_left(chunk, start) for chunk in map(self._chunk, numbers))

    def _checked(self, wall: int) -> int | None:
        return wall if self._last is None or wall <= self._last else None

    @cached_property
    def _last(self) -> int | None:
        """The last local time that may be, by UNTIL or COUNT."""
        count = self._rule.count
        if count is None:
            return self._until
        if self._rule.is_rate:
            return self._first + (count - 1) * self._period_s
        for number in range(COUNT_CHUNKS_MAX):
            chunk = self._chunk(number)
            if len(chunk) >= count:
                return chunk[count - 1]
            count -= len(chunk)
        return None

    @property
    def _period_s(self) -> int:
        return self._rule.interval * UNIT_S[self._rule.freq]

    # -- Chunks

    def _chunk_of(self, wall: int) -> int:
        return self._number(date.fromordinal(wall // DAY_S + EPOCH_DAY)) // self._size

    def _number(self, day: date) -> int:
        """Return how many periods a day is after that of the start, by an interval of 1."""
        freq, first = self._rule.freq, self._start.date()
        if freq == "YEARLY":
            return day.year - first.year
        if freq == "MONTHLY":
            return (day.year - first.year) * 12 + day.month - first.month
        return (day - self._anchor).days // (7 if freq == "WEEKLY" else 1)

    @cached_property
    def _anchor(self) -> date:
        """The first day of the period of the start."""
        first = self._start.date()
        into_week = (first.weekday() - self._rule.week_start) % 7
        return first - timedelta(days=into_week) if self._rule.freq == "WEEKLY" else first

    def _chunk_start(self, number: int) -> date | None:
        """Return the first day of a chunk; None where it is beyond what can be."""
        freq, first = self._rule.freq, self._start.date()
        periods = number * self._size
        if freq in {"YEARLY", "MONTHLY"}:
            months = first.year * 12 + (first.month - 1 + periods if freq == "MONTHLY" else periods * 12)
            return date(months // 12, months % 12 + 1, 1) if months // 12 <= YEAR_MAX else None
        ordinal = self._anchor.toordinal() + periods * (7 if freq == "WEEKLY" else 1)
        return date.fromordinal(ordinal) if ordinal < date(YEAR_MAX + 1, 1, 1).toordinal() else None

    def _expand(self, number: int) -> list[int]:
        """Return the walls of a chunk, in order."""
        start, end = self._chunk_start(number), self._chunk_start(number + 1)
        if start is None:
            return []
        last = datetime.combine(end or date(YEAR_MAX + 1, 1, 1), time(0)) - timedelta(seconds=1)
        made = _rrule_class()(dtstart=datetime.combine(start, time(0)), until=last, **self._arguments)
        walls: Iterator[int] = map(wall_of, made)
        if self._rule.is_sub_daily:
            walls = (wall + second for wall in walls for second in self._seconds)
            walls = (wall for wall in walls if (wall - self._first) % self._period_s == 0)
        return [wall for wall in walls if wall >= self._first]

    @cached_property
    def _arguments(self) -> dict[str, Any]:
        """What dateutil is told; what the start says where the rule does not (RFC 5545, 3.3.10) is said here."""
        rule, start = self._rule, self._start
        given: dict[str, Any] = {name.lower(): list(values) for name, values in rule.by.items()}
        if rule.by_day:
            weekdays = _weekdays()
            given["byweekday"] = [weekdays[day](number) if number else weekdays[day] for day, number in rule.by_day]
        if not given.keys() & {"byweekno", "byyearday", "bymonthday", "byweekday"}:
            given |= self._day_of_start(given)
        if rule.is_sub_daily:
            times = {"byhour": 0, "byminute": 0, "bysecond": 0}
            return given | times | {"freq": _frequency("DAILY"), "wkst": rule.week_start}
        times = {"byhour": start.hour, "byminute": start.minute, "bysecond": start.second}
        return times | given | {"freq": _frequency(rule.freq), "interval": rule.interval, "wkst": rule.week_start}

    def _day_of_start(self, given: dict[str, Any]) -> dict[str, Any]:
        freq, start = self._rule.freq, self._start
        if freq == "YEARLY":
            return {"bymonth": given.get("bymonth", start.month), "bymonthday": start.day}
        if freq == "MONTHLY":
            return {"bymonthday": start.day}
        return {"byweekday": start.weekday()} if freq == "WEEKLY" else {}

    @cached_property
    def _seconds(self) -> list[int]:
        """The seconds of a day that a rule by the hour, minute or second allows."""
        rule, start = self._rule, self._start
        hours = rule.by.get("BYHOUR", tuple(range(24)))
        whole = tuple(range(60))
        minutes = rule.by.get("BYMINUTE", whole if rule.freq != "HOURLY" else (start.minute,))
        seconds = rule.by.get("BYSECOND", whole if rule.freq == "SECONDLY" else (start.second,))
        return [hour * 3600 + minute * 60 + second for hour in hours for minute in minutes for second in seconds]


class Dated:
    """Walls without some, and with others."""

    def __init__(self, walls: Expansion, exdates: frozenset[int], rdates: list[int]) -> None:
        self._walls = walls
        self._exdates = exdates
        self._rdates = [wall for wall in rdates if wall not in exdates]

    def at_or_after(self, wall: int) -> int | None:
        found = self._walls.at_or_after(wall)
        while found is not None and found in self._exdates:
            found = self._walls.at_or_after(found + 1)
        at = bisect_left(self._rdates, wall)
        extra = self._rdates[at] if at < len(self._rdates) else None
        return _chosen(min, found, extra)

    def before(self, wall: int) -> int | None:
        found = self._walls.before(wall)
        while found is not None and found in self._exdates:
            found = self._walls.before(found)
        at = bisect_left(self._rdates, wall)
        return _chosen(max, found, self._rdates[at - 1] if at else None)

    def count(self, start: int, end: int) -> int:
        removed = sum(self._has(wall) for wall in self._exdates if start <= wall < end)
        added = sum(not self._has(wall) for wall in self._rdates if start <= wall < end)
        return self._walls.count(start, end) - removed + added

    def _has(self, wall: int) -> bool:
        return self._walls.at_or_after(wall) == wall


def wall_of(when: datetime) -> int:
    """Return a naive datetime in seconds since 1970-01-01 00:00."""
    return (when.toordinal() - EPOCH_DAY) * DAY_S + when.hour * 3600 + when.minute * 60 + when.second


def _chosen(choose: Callable[[int, int], int], one: int | None, other: int | None) -> int | None:
    if one is None or other is None:
        return one if other is None else other
    return choose(one, other)


def _rrule_class() -> Any:
    try:
        from dateutil.rrule import rrule
    except ImportError as error:
        raise TriggerError("RRule needs python-dateutil: pip install kokugen[rrule]") from error
    return rrule


def _frequency(name: str) -> int:
    from dateutil import rrule

    return int(getattr(rrule, name))


def _weekdays() -> Any:
    from dateutil.rrule import weekdays

    return weekdays
