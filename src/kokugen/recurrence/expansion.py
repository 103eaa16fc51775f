"""The local times of an RRULE: the days of each period, the times of each day, and what BYSETPOS leaves of them.

Periods are found by arithmetic: no rule is ever walked from its start. Walls are seconds since 1970-01-01 00:00.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Iterable
from datetime import date, datetime
from functools import cached_property, lru_cache

from kokugen.recurrence.offsets import DAY_S
from kokugen.recurrence.pattern import EPOCH_DAY
from kokugen.recurrence.rrule_days import Days
from kokugen.recurrence.rrule_text import Rule
from kokugen.recurrence.trigger import YEARS_MAX

PER_YEAR = {"YEARLY": 1, "MONTHLY": 12, "WEEKLY": 53}
"""How many periods a year has, at most; of those of the others 366."""
KEPT = 16
DAYS = {"YEARLY": 366, "MONTHLY": 31, "WEEKLY": 7}
"""How many days a period has that are looked at, at most; one of the others has one."""
COUNTED_DAYS_MAX = 120_000
"""For so many days, more than 300 years, the end of a COUNT is looked for: a rule without one in them has no end."""
UNIT_S = {"HOURLY": 3600, "MINUTELY": 60, "SECONDLY": 1}


class Expansion:
    """The walls of a rule from a start on, up to its end."""

    def __init__(self, rule: Rule, start: datetime, until: datetime | None) -> None:
        self._rule = rule
        self._start = start
        self.first = wall_of(start)
        self._until = None if until is None else wall_of(until)
        self._days = Days(rule, start.date())
        self._walls = lru_cache(maxsize=KEPT)(self._expand)
        self._periods_per_year = max(PER_YEAR.get(rule.freq, 366) // (1 if rule.is_sub_daily else rule.interval), 1)

    def at_or_after(self, wall: int) -> int | None:
        wall = max(wall, self.first)
        if self.last is not None and wall > self.last:
            return None
        if self._rule.is_rate:
            return self._checked(self.first - (self.first - wall) // self._period_s * self._period_s)
        number = self._period_of(wall)
        for walls in map(self._walls, range(number, number + self._periods_max)):
            at = bisect_left(walls, wall)
            if at < len(walls):
                return self._checked(walls[at])
        return None

    def before(self, wall: int) -> int | None:
        if self.last is not None:
            wall = min(wall, self.last + 1)
        if wall <= self.first:
            return None
        if self._rule.is_rate:
            return self.first + (wall - 1 - self.first) // self._period_s * self._period_s
        number = self._period_of(wall - 1)
        for walls in map(self._walls, range(number, max(number - self._periods_max, -1), -1)):
            at = bisect_left(walls, wall)
            if at:
                return walls[at - 1]
        return None

    def count(self, start: int, end: int) -> int:
        start = max(start, self.first)
        end = end if self.last is None else min(end, self.last + 1)
        if start >= end:
            return 0
        if self._rule.is_rate:
            return (self.first - start) // self._period_s - (self.first - end) // self._period_s
        numbers = range(self._period_of(start), self._period_of(end - 1) + 1)
        return sum(bisect_left(walls, end) - bisect_left(walls, start) for walls in map(self._walls, numbers))

    @cached_property
    def last(self) -> int | None:
        """The last local time that may be, by UNTIL or COUNT."""
        count = self._rule.count
        if count is None:
            return self._until
        if self._rule.is_rate:
            return self.first + (count - 1) * self._period_s
        for number in range(COUNTED_DAYS_MAX // DAYS.get(self._rule.freq, 1)):
            walls = self._walls(number)
            if len(walls) >= count:
                return walls[count - 1]
            count -= len(walls)
        return None

    def _checked(self, wall: int) -> int | None:
        return wall if self.last is None or wall <= self.last else None

    @property
    def _period_s(self) -> int:
        return self._rule.interval * UNIT_S[self._rule.freq]

    @property
    def _periods_max(self) -> int:
        return YEARS_MAX * self._periods_per_year + 2

    def _period_of(self, wall: int) -> int:
        return self._days.number_of(date.fromordinal(wall // DAY_S + EPOCH_DAY))

    def _expand(self, number: int) -> list[int]:
        """Return the walls of a period, in order."""
        walls = [day * DAY_S + second for day in self._days.in_period(number) for second in self._seconds]
        if self._rule.is_sub_daily:
            unit_s, phase = UNIT_S[self._rule.freq], self.first // UNIT_S[self._rule.freq]
            walls = [wall for wall in walls if (wall // unit_s - phase) % self._rule.interval == 0]
        positions = self._rule.by.get("BYSETPOS")
        if positions is not None:
            walls = sorted({walls[at] for at in _indices(positions, len(walls))})
        return walls if number else [wall for wall in walls if wall >= self.first]

    @cached_property
    def _seconds(self) -> list[int]:
        """The seconds of a day that the rule allows; what it does not say is that of the start, or any."""
        rule, start = self._rule, self._start
        every = range(60)
        hours: Iterable[int] = rule.by.get("BYHOUR", range(24) if rule.is_sub_daily else (start.hour,))
        minutes = rule.by.get("BYMINUTE", every if rule.freq in {"MINUTELY", "SECONDLY"} else (start.minute,))
        seconds = rule.by.get("BYSECOND", every if rule.freq == "SECONDLY" else (start.second,))
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


def _indices(positions: Iterable[int], size: int) -> list[int]:
    """Return where BYSETPOS points: 1 is the first, -1 the last."""
    return [one - 1 if one > 0 else size + one for one in positions if abs(one) <= size]
