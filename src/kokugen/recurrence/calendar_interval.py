"""Calendar intervals: every so many days, weeks, months or years at a local time, counted from a first date."""

from __future__ import annotations

from datetime import date, datetime, time
from functools import cached_property
from typing import Literal

from kokugen.errors import TriggerError
from kokugen.recurrence.calendar import wall_time_s
from kokugen.recurrence.offsets import DAY_S
from kokugen.recurrence.pattern import EPOCH_DAY, YEAR_MAX, month_length
from kokugen.recurrence.trigger import YEARS_MAX
from kokugen.recurrence.wall import WallTrigger

UNITS = ("years", "months", "weeks", "days")
Overflow = Literal["last", "skip", "next"]


class CalendarInterval(WallTrigger, frozen=True, tag="calendar_interval"):
    """Every so many `days` and `weeks`, or `months` and `years`, from the date `start` on, `at` a local time.

    `CalendarInterval(date(2026, 1, 31), months=3, at=time(9), tz="Europe/Berlin")`. Every time is counted from the
    first, so that nothing drifts. What a month does with a day that it does not have is its `overflow`: its "last"
    day, "skip", or the first of the "next" month.
    """

    start: date
    years: int = 0
    months: int = 0
    weeks: int = 0
    days: int = 0
    at: time = time(0)
    overflow: Overflow = "last"

    def __post_init__(self) -> None:
        super().__post_init__()
        wall_time_s("CalendarInterval: at", self.at)
        if self.overflow not in {"last", "skip", "next"}:
            raise TriggerError(f"CalendarInterval: overflow {self.overflow!r} is not 'last', 'skip' or 'next'")
        if (
            not isinstance(self.start, date)
            or isinstance(self.start, datetime)
            or not 1970 <= self.start.year < YEAR_MAX
        ):
            raise TriggerError(f"CalendarInterval: start {self.start!r} is not a date of the years 1970 to 8999")
        for unit in UNITS:
            _check_count(unit, getattr(self, unit))
        by_month, by_day = self.years * 12 + self.months, self.weeks * 7 + self.days
        if bool(by_month) == bool(by_day):
            raise TriggerError("CalendarInterval: give months and years, or days and weeks, and not both")
        if max(by_month // 12, by_day // 366) > YEARS_MAX:
            raise TriggerError(f"CalendarInterval: it is longer than {YEARS_MAX} years")

    @property
    def begins(self) -> int:
        return (self.start.toordinal() - EPOCH_DAY) * DAY_S

    @cached_property
    def walls(self) -> _Months | _Days:
        at_s = wall_time_s("at", self.at)
        if self.months or self.years:
            return _Months(self.start, self.years * 12 + self.months, at_s, self.overflow)
        return _Days(self.start, self.weeks * 7 + self.days, at_s)


class _Days:
    """Walls every so many days."""

    __slots__ = ("_first", "_period_s")

    def __init__(self, start: date, days: int, at_s: int) -> None:
        self._first = (start.toordinal() - EPOCH_DAY) * DAY_S + at_s
        self._period_s = days * DAY_S

    def at_or_after(self, wall: int) -> int:
        return self._first + max(-((self._first - wall) // self._period_s), 0) * self._period_s

    def before(self, wall: int) -> int | None:
        steps = (wall - 1 - self._first) // self._period_s
        return self._first + steps * self._period_s if steps >= 0 else None

    def count(self, start: int, end: int) -> int:
        return self._steps_before(end) - self._steps_before(start)

    def _steps_before(self, wall: int) -> int:
        return max(-((self._first - wall) // self._period_s), 0)


class _Months:
    """Walls every so many months."""

    __slots__ = ("_at_s", "_day", "_first", "_overflow", "_period")

    def __init__(self, start: date, period: int, at_s: int, overflow: Overflow) -> None:
        self._first = start.year * 12 + start.month - 1
        self._day = start.day
        self._period = period
        self._at_s = at_s
        self._overflow = overflow

    def at_or_after(self, wall: int) -> int | None:
        step = max(self._step_of(wall) - 1, 0)
        while True:
            month = self._first + step * self._period
            if month // 12 > YEAR_MAX:
                return None
            found = self._wall(month)
            if found is not None and found >= wall:
                return found
            step += 1

    def before(self, wall: int) -> int | None:
        for step in range(self._step_of(wall) + 1, -1, -1):
            found = self._wall(self._first + step * self._period)
            if found is not None and found < wall:
                return found
        return None

    def count(self, start: int, end: int) -> int:
        first, last = max(self._step_of(start) - 1, 0), max(self._step_of(end) + 1, 0)
        walls = (self._wall(self._first + step * self._period) for step in range(first, last + 1))
        return sum(1 for wall in walls if wall is not None and start <= wall < end)

    def _step_of(self, wall: int) -> int:
        """Return about which step a local time belongs to: one more or less at most."""
        day = date.fromordinal(max(wall // DAY_S + EPOCH_DAY, 1))
        return (day.year * 12 + day.month - 1 - self._first) // self._period

    def _wall(self, month: int) -> int | None:
        year, number = month // 12, month % 12 + 1
        length = month_length(year, number)
        day = date(year, number, min(self._day, length)).toordinal() - EPOCH_DAY
        if self._day > length:
            if self._overflow == "skip":
                return None
            day += self._overflow == "next"
        return day * DAY_S + self._at_s


def _check_count(unit: str, count: int) -> None:
    if isinstance(count, bool) or not isinstance(count, int) or count < 0:
        raise TriggerError(f"CalendarInterval: {unit} {count!r} is not a whole number of 0 or more")
