"""The local times of a cron expression as bit masks, so that the next one is a few shifts away.

`Pattern` knows nothing of zones: it is the `Walls` of a `WallClock`. Walls are whole seconds since 1970-01-01 00:00.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import date
from functools import cached_property

from kokugen.recurrence.bits import highest, lowest, ones
from kokugen.recurrence.trigger import YEARS_MAX

DAY_S = 86_400
EPOCH_DAY = date(1970, 1, 1).toordinal()
MONTHS_MAX = YEARS_MAX * 12 + 1
YEAR_MAX = 9000
LENGTHS = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)

Days = Callable[[int, int], int]
"""The days of a month as bits 1 to 31, by the weekday of its first (Sunday is 0) and its length."""


class Pattern:
    """Local times at which second, minute of the day, month and day are all among the allowed ones."""

    def __init__(self, seconds: int, minutes: int, months: int, days: Days) -> None:
        self._seconds = seconds
        self._minutes = minutes
        self._months = months
        self._days = days
        self._masks: dict[tuple[int, int], int] = {}
        self._per_minute = seconds.bit_count()
        self._first_s = lowest(minutes) * 60 + lowest(seconds)
        self._last_s = highest(minutes) * 60 + highest(seconds)
        self._month = (0, 0, 0)  # first day, first day of the next month, days as bits from 0

    def is_possible(self) -> bool:
        """Return whether any day is allowed: every kind of month comes within 40 years."""
        months = [month for month in range(1, 13) if self._months >> month & 1]
        lengths = {LENGTHS[month - 1] for month in months} | ({29} if 2 in months else set())
        return any(self._mask(weekday, length) for length in lengths for weekday in range(7))

    def at_or_after(self, wall: int) -> int | None:
        day, second = divmod(wall, DAY_S)
        first, end, mask = self._month
        if not first <= day < end:
            first, end, mask = self._load(day)
        mask >>= day - first
        if mask & 1:
            found = self._time_at_or_after(second)
            if found is not None:
                return day * DAY_S + found
        rest = mask >> 1
        if rest:
            return (day + (rest & -rest).bit_length()) * DAY_S + self._first_s
        following = self._day_from(end)
        return None if following is None else following * DAY_S + self._first_s

    def before(self, wall: int) -> int | None:
        day, second = divmod(wall, DAY_S)
        first, end, mask = self._month
        if not first <= day < end:
            first, _, mask = self._load(day)
        at = day - first
        if mask >> at & 1:
            found = self._time_before(second)
            if found is not None:
                return day * DAY_S + found
        earlier = mask & ((1 << at) - 1)
        if earlier:
            return (first + highest(earlier)) * DAY_S + self._last_s
        preceding = self._day_before(first)
        return None if preceding is None else preceding * DAY_S + self._last_s

    def count(self, start: int, end: int) -> int:
        return self._count_before(end) - self._count_before(start) + self._days_between(start, end)

    def mask(self, start: int, end: int) -> int:
        first, last = start // DAY_S, -(-end // DAY_S)
        found = 0
        for day in range(first, last):
            month, _, days = self._load(day)
            if days >> (day - month) & 1:
                found |= self._day_mask << ((day - first) * DAY_S)
        return (found >> (start - first * DAY_S)) & ones(0, end - start)

    @cached_property
    def _day_mask(self) -> int:
        """The allowed seconds of an allowed day."""
        found = 0
        for minute in range(24 * 60):
            if self._minutes >> minute & 1:
                found |= self._seconds << (minute * 60)
        return found

    # -- Times of a day

    def _time_at_or_after(self, second: int) -> int | None:
        minute, second = divmod(second, 60)
        minutes = self._minutes >> minute
        if minutes & 1:
            seconds = self._seconds >> second
            if seconds:
                return minute * 60 + second + lowest(seconds)
        rest = minutes >> 1
        return (minute + (rest & -rest).bit_length()) * 60 + lowest(self._seconds) if rest else None

    def _time_before(self, second: int) -> int | None:
        minute, second = divmod(second, 60)
        if self._minutes >> minute & 1:
            seconds = self._seconds & ((1 << second) - 1)
            if seconds:
                return minute * 60 + highest(seconds)
        earlier = self._minutes & ((1 << minute) - 1)
        return highest(earlier) * 60 + highest(self._seconds) if earlier else None

    def _count_before(self, wall: int) -> int:
        """Return how many there are earlier on the same day."""
        day, second = divmod(wall, DAY_S)
        first, _, mask = self._load(day)
        if not mask >> (day - first) & 1:
            return 0
        minute, second = divmod(second, 60)
        whole = (self._minutes & ((1 << minute) - 1)).bit_count() * self._per_minute
        part = (self._seconds & ((1 << second) - 1)).bit_count() if self._minutes >> minute & 1 else 0
        return whole + part

    # -- Days

    def _load(self, day: int) -> tuple[int, int, int]:
        """Return the month of a day, and keep it for the next question."""
        then = date.fromordinal(day + EPOCH_DAY)
        first = day - then.day + 1
        length = month_length(then.year, then.month)
        allowed = self._months >> then.month & 1
        mask = self._mask((first + EPOCH_DAY) % 7, length) >> 1 if allowed else 0
        self._month = month = (first, first + length, mask)
        return month

    def _mask(self, weekday: int, length: int) -> int:
        mask = self._masks.get((weekday, length))
        if mask is None:
            mask = self._masks[weekday, length] = self._days(weekday, length) & ((2 << length) - 2)
        return mask

    def _day_from(self, day: int) -> int | None:
        """Return the first allowed day from the first of a month on, within 40 years."""
        then = date.fromordinal(day + EPOCH_DAY)
        year, month = then.year, then.month
        for _ in range(MONTHS_MAX):
            length = month_length(year, month)
            if self._months >> month & 1:
                mask = self._mask((day + EPOCH_DAY) % 7, length)
                if mask:
                    self._month = (day, day + length, mask >> 1)
                    return day + lowest(mask) - 1
            day += length
            year, month = (year, month + 1) if month < 12 else (year + 1, 1)
            if year > YEAR_MAX:
                return None
        return None

    def _day_before(self, day: int) -> int | None:
        """Return the last allowed day before the first of a month, within 40 years."""
        then = date.fromordinal(day + EPOCH_DAY)
        year, month = then.year, then.month
        for _ in range(MONTHS_MAX):
            year, month = (year, month - 1) if month > 1 else (year - 1, 12)
            length = month_length(year, month)
            day -= length
            if self._months >> month & 1:
                mask = self._mask((day + EPOCH_DAY) % 7, length)
                if mask:
                    return day + highest(mask) - 1
        return None

    def _days_between(self, start: int, end: int) -> int:
        """Return how many there are on the whole days from that of `start` on, before that of `end`."""
        first, last = start // DAY_S, end // DAY_S
        found, day = 0, first
        while day < last:
            month, end_day, mask = self._load(day)
            until = min(end_day, last)
            found += ((mask >> (day - month)) & ((1 << (until - day)) - 1)).bit_count()
            day = until
        return found * self._minutes.bit_count() * self._per_minute


def month_length(year: int, month: int) -> int:
    """Return the number of days of a month."""
    is_leap = month == 2 and year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return LENGTHS[month - 1] + is_leap


def minutes_of_day(hours: int, minutes: int) -> int:
    """Return the minutes of a day, from masks of hours and minutes of an hour."""
    found = 0
    for hour in range(24):
        if hours >> hour & 1:
            found |= minutes << (hour * 60)
    return found
