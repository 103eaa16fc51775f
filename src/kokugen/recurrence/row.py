"""The seed's cron row: lists of allowed values, and when they next come true in a time zone.

A tab (`kokugen.recurrence.tab`) or a builder makes rows, a rescheduler asks them for their next time.
"""

from __future__ import annotations

from calendar import monthrange
from collections.abc import Iterator
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from itertools import product

from msgspec import Struct

from kokugen.errors import InvalidEntryError, ScheduledTimeError

YEARS_MAX = 30
"""How far ahead a row is searched for its next time."""

Values = tuple[int, ...] | None

_RANGES = {
    "weekday": (0, 6),
    "month": (1, 12),
    "day": (1, 31),
    "hour": (0, 23),
    "minute": (0, 59),
    "second": (0, 59),
}
_SECOND = timedelta(seconds=1)


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
        its first occurrence alone. Raises InvalidEntryError where there is none within 30 years.
        """
        if after.tzinfo is None:
            raise ScheduledTimeError(f"cron row: {after} has no time zone: give an aware datetime")
        if self.is_reboot:
            return None
        for wall in self._walls(after.astimezone(tz).replace(tzinfo=None, microsecond=0)):
            instant = _instant(wall, tz)
            if instant > after:
                return instant
        raise InvalidEntryError(f"cron row: {self} does not match any time within {YEARS_MAX} years of {after}")

    def _walls(self, start: datetime) -> Iterator[datetime]:
        """Yield the matching local times from `start` on, in order."""
        times = [time(h, m, s) for h, m, s in product(*map(self._allowed, ("hour", "minute", "second")))]
        for day in self._days(start.date()):
            walls = (datetime.combine(day, part) for part in times)
            yield from (wall for wall in walls if wall >= start)

    def _days(self, start: date) -> Iterator[date]:
        first = start.toordinal()
        end = min(first + YEARS_MAX * 366, date.max.toordinal() - 1)  # the last day may not exist in UTC
        return filter(self._fits, map(date.fromordinal, range(first, end)))

    def _fits(self, day: date) -> bool:
        if self.month and day.month not in self.month:
            return False
        if self.weekday and day.isoweekday() % 7 not in self.weekday:
            return False
        if not self.day or day.day in self.day:
            return True
        return day.day == monthrange(day.year, day.month)[1] and max(self.day) > day.day

    def _allowed(self, name: str) -> list[int]:
        values: Values = getattr(self, name)
        if name == "second" and values is None:
            return [0]
        low, high = _RANGES[name]
        return sorted(set(values)) if values else list(range(low, high + 1))


def _instant(wall: datetime, tz: tzinfo) -> datetime:
    """Return when a local time comes, the first time; where it is skipped, the first instant after the gap."""
    instant = wall.replace(tzinfo=tz).astimezone(UTC)
    if instant.astimezone(tz).replace(tzinfo=None) == wall:
        return instant
    return _gap_end(wall.replace(tzinfo=tz, fold=1).astimezone(UTC), instant, tz)


def _gap_end(before: datetime, after: datetime, tz: tzinfo) -> datetime:
    """Return the instant of the clock change between two instants (PEP 495: fold tells the offsets around a gap)."""
    old = before.astimezone(tz).utcoffset()
    while after - before > _SECOND:
        middle = before + (after - before) // 2 // _SECOND * _SECOND
        if middle.astimezone(tz).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after
