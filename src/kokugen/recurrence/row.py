"""The seed's cron row: lists of allowed values, and when they next come true in a time zone.

A tab (`kokugen.recurrence.tab`) or a builder makes rows, a rescheduler asks them for their next time.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo

from msgspec import Struct

from kokugen.clock import EPOCH
from kokugen.errors import InvalidEntryError, ScheduledTimeError
from kokugen.recurrence.bits import bits, ones
from kokugen.recurrence.offsets import DAY_S, offset_table
from kokugen.recurrence.pattern import Pattern, minutes_of_day
from kokugen.recurrence.trigger import YEARS_MAX
from kokugen.recurrence.wall import MAX_S, MIN_S, SEARCH_S, WallClock

Values = tuple[int, ...] | None

_RANGES = {
    "weekday": (0, 6),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}


class CronRow(Struct, frozen=True, forbid_unknown_fields=True):
    """When to run a command: at every local time whose fields are all among the allowed values.

    None or empty allows every value, but a `second` of None is 0 (the seed's rows know no seconds). A row whose
    fields are all None is the seed's reboot row: it runs once, at the start. Weekdays count from Sunday, 0, to 6;
    unlike crontab(5), `day` and `weekday` must both hold. As in the seed, a day that a month does not have is its
    last day. `command` is a work id and its arguments.
    """

    weekday: Values = None
    month: Values = None
    day: Values = None
    hour: Values = None
    minute: Values = None
    second: Values = None
    command: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high) in _RANGES.items():
            for value in getattr(self, name) or ():
                if isinstance(value, bool) or not isinstance(value, int) or not low <= value <= high:
                    raise InvalidEntryError(f"cron row: {name} {value!r} is not one of {low} to {high}")

    @property
    def is_reboot(self) -> bool:
        """Return whether the row is to run once, at the start."""
        return all(getattr(self, name) is None for name in _RANGES)

    def next(self, after: datetime, tz: tzinfo = UTC) -> datetime | None:
        """Return the first matching instant later than `after`, in UTC; None for a reboot row.

        A local time that a clock change skips comes at the first instant after the gap, one that occurs twice at
        its first occurrence alone. Raises InvalidEntryError where there is none within 40 years.
        """
        if after.tzinfo is None:
            raise ScheduledTimeError(f"cron row: {after} has no time zone: give an aware datetime")
        if self.is_reboot:
            return None
        since = after - EPOCH
        instant = max(since.days * DAY_S + since.seconds + 1, MIN_S)
        clock = WallClock(offset_table(tz), gap="after", fold="first")
        found = clock.next(self._pattern(), instant, instant + SEARCH_S) if instant < MAX_S else None
        if found is None:
            raise InvalidEntryError(f"cron row: {self} does not match any time within {YEARS_MAX} years of {after}")
        return EPOCH + timedelta(seconds=found)

    def _pattern(self) -> Pattern:
        minutes = minutes_of_day(self._mask("hour"), self._mask("minute"))
        return Pattern(1 if self.second is None else self._mask("second"), minutes, self._mask("month"), self._days)

    def _days(self, first: int, length: int) -> int:
        """Return the days of a month that hold, as bits, by the weekday of its first and its length."""
        of_month = bits(min(day, length) for day in self.day) if self.day else ones(1, length + 1)
        of_week = self._mask("weekday")
        return of_month & bits(day for day in range(1, length + 1) if of_week >> (first + day - 1) % 7 & 1)

    def _mask(self, name: str) -> int:
        low, high = _RANGES[name]
        values: Values = getattr(self, name)
        return bits(values) if values else ones(low, high + 1)
