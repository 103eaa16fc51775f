"""The days of a time zone in parts of an hour or less, as its clocks show them: days may have 23 hours, or 25.

Called by what draws days: the calendar, and the ledger.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta, tzinfo
from typing import NamedTuple

from kokugen.clock import EPOCH
from kokugen.recurrence.offsets import DAY_S, OffsetTable, offset_table

HOUR_S = 3600
EPOCH_DAY = EPOCH.toordinal()


class Part(NamedTuple):
    """A span of time within which the local day and hour stay the same."""

    start: datetime
    end: datetime
    day: date
    second: int
    """Of the day, as the clock shows it at the start."""


class Change(NamedTuple):
    """A clock change: what the clock shows before it, and after."""

    at: datetime
    before: datetime
    after: datetime


def midnight(day: date, zone: tzinfo) -> datetime:
    """Return when a day begins; where clocks skip it, when the next one does."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).astimezone(UTC)


def parts(first: date, days: int, zone: tzinfo, step_s: int = HOUR_S) -> list[Part]:
    """Return the parts of so many days, in order. They are cut at whole steps of local time, and at clock changes."""
    start, end = midnight(first, zone), midnight(first + timedelta(days=days), zone)
    return list(_parts(_seconds(start), _seconds(end), offset_table(zone), step_s))


def _parts(at: int, end: int, table: OffsetTable, step_s: int) -> Iterator[Part]:
    while at < end:
        span = table.span(at)
        local = at + span.offset
        following = min(at - local % step_s + step_s, span.end, end)
        day = date.fromordinal(EPOCH_DAY + local // DAY_S)
        yield Part(_instant(at), _instant(following), day, local % DAY_S)
        at = following


def changes(start: datetime, end: datetime, zone: tzinfo) -> Iterator[Change]:
    """Yield the clock changes of a zone from `start` on and before `end`."""
    table = offset_table(zone)
    at = _seconds(start)
    while at < _seconds(end):
        span = table.span(at)
        if span.start == at and span.before != span.offset:
            yield Change(_instant(at), _shown(at + span.before), _shown(at + span.offset))
        at = span.end


def _seconds(when: datetime) -> int:
    return (when - EPOCH) // timedelta(seconds=1)


def _instant(second: int) -> datetime:
    return EPOCH + timedelta(seconds=second)


def _shown(local: int) -> datetime:
    """Return what a clock on the wall shows, without a zone."""
    return _instant(local).replace(tzinfo=None)
