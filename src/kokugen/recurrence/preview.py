"""What schedules will make between two instants: the decisions of a scheduler, taken in advance and thrown away."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice

from msgspec import Struct

from kokugen.clock import from_us, to_us
from kokugen.recurrence.decision import Decision
from kokugen.recurrence.definitions import Definition
from kokugen.recurrence.trigger import Trigger
from kokugen.recurrence.wall import WallTrigger
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.task import replace
from kokugen.zones import load_zone

DAY = timedelta(days=1)


class Upcoming(Struct, frozen=True, kw_only=True, order=True):
    """A time at which a schedule will make a task, as things are."""

    due: datetime
    name: str
    time: datetime
    clock_change: bool = False
    """Whether the clocks of the schedule's zone change on that day."""


def preview_of(row: ScheduleRow, definition: Definition, start: datetime, end: datetime) -> Iterator[Upcoming]:
    """Yield what a schedule will make from `start` on and before `end`, in order of its times.

    Nothing comes of one that is paused, until its pause ends.
    """
    first, last = to_us(start), to_us(end) - 1
    ahead = replace(row, decided=max(row.decided, first - 1), spaced=None)
    while True:
        decision = Decision(ahead, definition.trigger, definition.policy, now=max(first, ahead.decided), until=last)
        for nominal, due in decision.made:
            time = from_us(nominal)
            yield Upcoming(due=from_us(due), name=row.name, time=time, clock_change=_changes(definition.trigger, time))
        if decision.whole or not decision.made:
            return
        ahead = decision.row


def preview(
    schedules: list[tuple[ScheduleRow, Definition]], start: datetime, end: datetime, limit: int
) -> list[Upcoming]:
    """Return what schedules will make together, in order of their times, up to a limit."""
    each = (preview_of(row, definition, start, end) for row, definition in schedules)
    return list(islice(merge(*each, key=lambda one: (one.due, one.name)), limit))


def _changes(trigger: Trigger, time: datetime) -> bool:
    if not isinstance(trigger, WallTrigger):
        return False
    zone = load_zone(trigger.zone_name)
    day = time.astimezone(zone).replace(hour=0, minute=0, second=0, microsecond=0)
    return day.utcoffset() != (day + DAY).utcoffset()
