"""What schedules will make between two instants: told one by one, or counted, and what a change would make of that.

Called by the agenda. `outlook` takes the decisions of a scheduler in advance.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from heapq import merge
from itertools import islice
from typing import NamedTuple

from msgspec import Struct

from kokugen.clock import from_us, to_us
from kokugen.recurrence.trigger import Trigger
from kokugen.recurrence.wall import WallTrigger
from kokugen.repository.schedule_rows import ScheduledTask, ScheduleRow
from kokugen.schedules import edits
from kokugen.schedules.definitions import Definition
from kokugen.schedules.edits import Act, Draft, Unsettled
from kokugen.schedules.outlook import Made, Outlook, standing
from kokugen.zones import load_zone

DAY = timedelta(days=1)


class Upcoming(Struct, frozen=True, kw_only=True, order=True):
    """A time at which a schedule will make a task, as things are."""

    due: datetime
    name: str
    time: datetime
    clock_change: bool = False
    """Whether the clocks of the schedule's zone, or of one of them, change on that day."""


class Tally(Struct, frozen=True, kw_only=True):
    """How many tasks each schedule will make between each two of some instants, by its name. None: left out."""

    counts: dict[str, list[int]]
    zones: dict[str, tuple[str, ...]]
    """The zones of its local times."""


class Schedule(NamedTuple):
    """A schedule, and what it says."""

    row: ScheduleRow
    definition: Definition


class Window(NamedTuple):
    """What is looked at, as things are `now`: at most `limit` tasks from `first` on and before `end`."""

    now: int
    first: int
    end: int
    limit: int


def preview(schedules: Sequence[Schedule], window: Window) -> list[Upcoming]:
    """Return what schedules will make together, in order."""
    return list(islice(merge(*(upcoming(one, window) for one in schedules)), window.limit))


def upcoming(schedule: Schedule, window: Window) -> Iterator[Upcoming]:
    """Yield what one schedule will make, in order; nothing comes of one that is paused until its pause ends."""
    row, definition = schedule
    ahead = Outlook(row, definition, window.now).until(window.first, window.end - 1)
    return _told(row.name, definition.trigger, ahead)


def preview_edit(
    schedule: Schedule, draft: Draft, after: Definition, window: Window
) -> tuple[list[Upcoming], list[Upcoming]]:
    """Return what a schedule will make as it is, and what it would were it edited now, both up to one instant."""
    row = standing(schedule.row, schedule.definition, window.now)
    made, edited = _edited(Schedule(row, schedule.definition), draft, after, window.now)
    late = (Made(task.nominal, max(task.due_at, window.now)) for task in made)
    late = (one for one in late if window.first <= one.due < window.end)
    found = (
        upcoming(schedule, window),
        merge(_told(row.name, schedule.definition.trigger, late), upcoming(Schedule(edited, after), window)),
    )
    before, then = (list(islice(one, window.limit)) for one in found)
    full = [one[-1].due for one in (before, then) if len(one) == window.limit]
    if not full:
        return before, then
    last = min(full)
    return [one for one in before if one.due <= last], [one for one in then if one.due <= last]


def _edited(schedule: Schedule, draft: Draft, after: Definition, now: int) -> tuple[list[ScheduledTask], ScheduleRow]:
    """Return what an edit would make at once, and the row that it would leave."""
    row, before = schedule
    made: list[ScheduledTask] = []
    while True:
        try:
            change = edits.edit(row, before, draft, after, Act(now=now, ahead_us=0))
        except Unsettled as first:
            made += first.change.tasks
            row = first.change.row
        else:
            return made + change.tasks, change.row


def tally(schedules: Sequence[Schedule], edges: Sequence[datetime], now: int) -> Tally:
    """Count what schedules will make between each two neighbours of some instants, which are in order."""
    marks = [to_us(edge) for edge in edges]
    counts = {row.name: _counts(row, definition, marks, now) for row, definition in schedules}
    told = {name: found for name, found in counts.items() if any(found)}
    zones = {row.name: zones_of(one.trigger) for row, one in schedules if row.name in told}
    return Tally(counts=told, zones=zones)


def _counts(row: ScheduleRow, definition: Definition, marks: list[int], now: int) -> list[int]:
    """Return how many there are in each part. Those of a part together: there may be very many."""
    counts = [0] * (len(marks) - 1)
    outlook = Outlook(row, definition, now)
    for made in outlook.settle():
        if marks[0] <= made.due < marks[-1]:
            counts[bisect_right(marks, made.due) - 1] += 1
    policy, trigger = definition.policy, outlook.times
    end = marks[-1] if policy.end_us is None else min(marks[-1], policy.end_us + 1)
    room = None if policy.max_runs is None else policy.max_runs - outlook.row.runs
    since = outlook.row.decided
    if room is not None and since < marks[0] - 1:
        room -= trigger.count_us(since + 1, marks[0])
    at = None if outlook.paused else trigger.next_us(max(since, marks[0] - 1))
    while at is not None and at < end and (room is None or room > 0):
        part = bisect_right(marks, at) - 1
        found = trigger.count_us(at, min(marks[part + 1], end))
        found = found if room is None else min(found, room)
        counts[part] += found
        room = None if room is None else room - found
        at = trigger.next_us(marks[part + 1] - 1)
    return counts


def zones_of(trigger: Trigger) -> tuple[str, ...]:
    """Return the zones that a trigger, or one that it is made of, speaks in the local time of; UTC is none."""
    if isinstance(trigger, WallTrigger):
        return () if trigger.zone_name == "UTC" else (trigger.zone_name,)
    values = [getattr(trigger, name) for name in trigger.__struct_fields__]
    parts = [part for value in values for part in (value if isinstance(value, tuple) else (value,))]
    return tuple(sorted({name for part in parts if isinstance(part, Trigger) for name in zones_of(part)}))


def _told(name: str, trigger: Trigger, ahead: Iterator[Made]) -> Iterator[Upcoming]:
    zones = zones_of(trigger)
    for nominal, due in ahead:
        time = from_us(nominal)
        change = any(clocks_change(zone, time) for zone in zones)
        yield Upcoming(due=from_us(due), name=name, time=time, clock_change=change)


def clocks_change(zone_name: str, time: datetime) -> bool:
    """Return whether the clocks of a zone change on the local day of an instant."""
    day = time.astimezone(load_zone(zone_name)).replace(hour=0, minute=0, second=0, microsecond=0, fold=0)
    return day.utcoffset() != (day + DAY).utcoffset()
