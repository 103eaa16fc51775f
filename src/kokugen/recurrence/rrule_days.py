"""The days of one period of an RRULE: those of its year, month, week or day that pass the rule's BY parts.

RFC 5545 (3.3.10) says of each part whether it expands or limits; on the days of the whole period that is the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

from kokugen.recurrence.pattern import EPOCH_DAY, YEAR_MAX, month_length
from kokugen.recurrence.rrule_text import Rule

WEEK_DAYS = 7


class Days:
    """The periods of a rule from a first day on, by number, and the days in each."""

    def __init__(self, rule: Rule, first: date) -> None:
        self._rule = rule
        self._first = first
        into_week = (first.weekday() - rule.week_start) % WEEK_DAYS
        self._anchor = first - timedelta(days=into_week) if rule.freq == "WEEKLY" else first
        self._months = frozenset(rule.by.get("BYMONTH", ()))
        self._weeks = frozenset(rule.by.get("BYWEEKNO", ()))
        self._year_days = frozenset(rule.by.get("BYYEARDAY", ()))
        self._month_days = frozenset(rule.by.get("BYMONTHDAY", ()))
        self._weekdays = frozenset(day for day, number in rule.by_day if number == 0)
        self._nth = frozenset(one for one in rule.by_day if one[1] != 0)
        if not (self._weeks or self._year_days or self._month_days or rule.by_day):
            self._take_from_first()

    def _take_from_first(self) -> None:
        """Where the rule names no day, it is that of its start."""
        freq, first = self._rule.freq, self._first
        if freq == "YEARLY" and not self._months:
            self._months = frozenset({first.month})
        if freq in {"YEARLY", "MONTHLY"}:
            self._month_days = frozenset({first.day})
        if freq == "WEEKLY":
            self._weekdays = frozenset({first.weekday()})

    def number_of(self, day: date) -> int:
        """Return the number of the last period of the rule that begins on that day or earlier."""
        freq, first = self._rule.freq, self._first
        if freq == "YEARLY":
            number = day.year - first.year
        elif freq == "MONTHLY":
            number = (day.year - first.year) * 12 + day.month - first.month
        else:
            number = (day - self._anchor).days // (WEEK_DAYS if freq == "WEEKLY" else 1)
        return number // self._interval

    def in_period(self, number: int) -> list[int]:
        """Return the days of a period that pass, in order, as days since 1970-01-01."""
        return [day.toordinal() - EPOCH_DAY for day in self._whole(number * self._interval) if self._passes(day)]

    @property
    def _interval(self) -> int:
        return 1 if self._rule.is_sub_daily else self._rule.interval

    def _whole(self, number: int) -> Iterator[date]:
        """Yield the days of a period, without the months that the rule leaves out."""
        freq, first = self._rule.freq, self._first
        if freq == "YEARLY":
            year = first.year + number
            months = sorted(self._months) or range(1, 13)
            return (day for month in months for day in _month(year, month))
        if freq == "MONTHLY":
            months_since_0 = first.year * 12 + first.month - 1 + number
            month = months_since_0 % 12 + 1
            return _month(months_since_0 // 12, month) if not self._months or month in self._months else iter(())
        length = WEEK_DAYS if freq == "WEEKLY" else 1
        start = self._anchor.toordinal() + number * length
        return (date.fromordinal(one) for one in range(start, start + length) if one <= date.max.toordinal())

    def _passes(self, day: date) -> bool:
        if self._months and day.month not in self._months:
            return False
        if self._month_days and not self._is_month_day(day):
            return False
        if (self._weekdays or self._nth) and not (day.weekday() in self._weekdays or self._is_nth(day)):
            return False
        if self._year_days and not self._is_year_day(day):
            return False
        return not self._weeks or self._is_in_week(day)

    def _is_month_day(self, day: date) -> bool:
        from_end = day.day - month_length(day.year, day.month) - 1
        return day.day in self._month_days or from_end in self._month_days

    def _is_year_day(self, day: date) -> bool:
        number = day.toordinal() - date(day.year, 1, 1).toordinal() + 1
        return number in self._year_days or number - _year_length(day.year) - 1 in self._year_days

    def _is_nth(self, day: date) -> bool:
        """Return whether it is such a weekday of its month; or of its year, for a yearly rule without months."""
        if not self._nth:
            return False
        if self._rule.freq == "YEARLY" and not self._months:
            at, length = day.toordinal() - date(day.year, 1, 1).toordinal(), _year_length(day.year)
        else:
            at, length = day.day - 1, month_length(day.year, day.month)
        return not self._nth.isdisjoint(
            {(day.weekday(), at // WEEK_DAYS + 1), (day.weekday(), -((length - 1 - at) // WEEK_DAYS + 1))}
        )

    def _is_in_week(self, day: date) -> bool:
        """Return whether it is in such a week of the year that its week belongs to (ISO 8601, from WKST on)."""
        start = self._rule.week_start
        middle = day + timedelta(days=3 - (day.weekday() - start) % WEEK_DAYS)  # the year with most days of the week
        number = (middle.toordinal() - date(middle.year, 1, 1).toordinal()) // WEEK_DAYS + 1
        last = (_year_length(middle.year) - (middle.toordinal() - date(middle.year, 1, 1).toordinal()) - 1) // WEEK_DAYS
        return number in self._weeks or -last - 1 in self._weeks


def _month(year: int, month: int) -> Iterator[date]:
    days = range(1, month_length(year, month) + 1) if year <= YEAR_MAX else range(0)
    return (date(year, month, day) for day in days)


def _year_length(year: int) -> int:
    return 337 + month_length(year, 2)
