"""What importers hand over, as plain data: the schedules that they found, and what they could not carry over.

Each importer reads one kind of source into a `Reading`; the command line shows it, and the scheduler stores it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import datetime, timedelta

from msgspec import Struct

from kokugen.acceptance import request_of
from kokugen.clock import EPOCH
from kokugen.codec import encode_params
from kokugen.errors import KokugenError
from kokugen.recurrence.calendar import Windows
from kokugen.recurrence.combined import During
from kokugen.recurrence.spec import dump_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.schedule_options import SPAN_MAX, ScheduleOptions
from kokugen.task import Params, TaskParam

LATEST = EPOCH.replace(year=8999)
"""An end that never comes."""
WINDOW_MAX = SPAN_MAX
"""The window of a source that runs what it missed, however late."""


class Found(Struct, frozen=True, kw_only=True):
    """A schedule of a source, as one of kokugen's."""

    source: str
    """Where it stands: a line, or the name of a job."""
    origin: str
    """What it stands in, such as a file: what is not there any more at the next import is gone."""
    function: str
    """What the source runs, by the source's name for it."""
    when: Trigger | timedelta
    """A timedelta counts from when the schedule is first put into a store."""
    param: TaskParam
    options: ScheduleOptions
    paused: str | None = None
    """Why it is not to run before it is resumed; None: it runs."""
    notes: tuple[str, ...] = ()
    """What of it is different from now on."""

    @property
    def name(self) -> str:
        """Return the name of the schedule."""
        return self.options.name or self.param.work_id


class LeftOut(Struct, frozen=True):
    """What a source has and kokugen has not."""

    source: str
    reason: str
    name: str | None = None
    """Of the schedule that it would be, where it has a name."""


class Reading(Struct, frozen=True, kw_only=True):
    """What was read of a source."""

    origins: tuple[str, ...]
    """What was read, though nothing may stand in it."""
    found: tuple[Found, ...] = ()
    left_out: tuple[LeftOut, ...] = ()
    declaration: str | None = None
    """Python code that declares the commands of the work, where it is commands: for the user to look over."""


class NotCarriedError(KokugenError, ValueError):
    """Inside importers: one entry has no counterpart here. It is reported as left out, and the others are read."""


def attempted(source: str, name: str, read: Callable[[], Found]) -> Found | LeftOut:
    """Return the schedule of a name that `read` finds, where the scheduler will take it; else why it is left out."""
    try:
        found = read()
        request_of(found.param, None)
        encode_params(Params.of(found.param.param))
        if isinstance(found.when, Trigger):
            dump_spec(found.when)
    except KokugenError as error:
        return LeftOut(source, str(error), name)
    except OverflowError:
        return LeftOut(source, "it has a number, a span or a time that is out of range", name)
    return found


def reading_of(origin: str, entries: Iterable[Found | LeftOut]) -> Reading:
    """Return what became of all entries of a source."""
    each = list(entries)
    return Reading(
        origins=(origin,),
        found=tuple(one for one in each if isinstance(one, Found)),
        left_out=tuple(one for one in each if isinstance(one, LeftOut)),
    )


def bounded(trigger: Trigger, start: datetime | None, end: datetime | None) -> Trigger:
    """Return the times of a trigger from `start` on, up to `end`, both included."""
    if start is None and end is None:
        return trigger
    first = EPOCH if start is None else start
    last = LATEST if end is None else end + timedelta(microseconds=1)
    if first >= last:
        raise NotCarriedError(f"it ends, {last.isoformat()}, before it starts, {first.isoformat()}")
    return During(trigger, Windows(((first, last),)))
