"""A schedule as people and programs read it."""

from __future__ import annotations

from datetime import datetime

from msgspec import Struct

from kokugen.clock import from_us
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.schedules.definitions import Definition
from kokugen.schedules.policy import Policy


class ScheduleInfo(Struct, frozen=True, kw_only=True):
    """Everything that is known about a schedule. Frozen: a change is a new value. Instants are aware, in UTC."""

    name: str
    id: str
    owner: str | None
    """Who declares it in code, or `import:…`, what it was imported from; None: it was made at run time."""
    trigger: Trigger
    policy: Policy
    work_id: str
    param: str
    """The arguments of its tasks, as JSON."""
    overlap: str
    edition: int
    """One more with every change of people or code."""
    next_time: datetime | None
    """The first time that is not decided; None: there is none, or the end of a run is to tell it."""
    over: bool
    """Whether nothing comes any more."""
    paused_at: datetime | None
    paused_until: datetime | None
    paused_note: str | None
    paused_by: str | None
    runs: int
    """How many of its times became tasks."""
    failures: int
    """How many runs failed in a row; counted where there is a `failures_max`."""
    skipped: int
    coalesced: int
    created_at: datetime
    modified_at: datetime

    @property
    def paused(self) -> bool:
        """Return whether it is paused."""
        return self.paused_at is not None


class PutSchedule(Struct, frozen=True, kw_only=True):
    """What became of a schedule that was put into a store: whether it was made, or changed, or was like this."""

    info: ScheduleInfo
    made: bool
    changed: bool
    """Whether anything was: true of one that was made, too."""


def info_of(row: ScheduleRow, definition: Definition) -> ScheduleInfo:
    """Return what is known of a schedule."""
    return ScheduleInfo(
        name=row.name,
        id=row.id,
        owner=row.owner,
        trigger=definition.trigger,
        policy=definition.policy,
        work_id=definition.template.work_id,
        param=definition.template.param,
        overlap=row.overlap,
        edition=row.edition,
        next_time=_instant(next_of(row, definition)),
        over=is_over(row, definition),
        paused_at=_instant(row.paused_at),
        paused_until=_instant(row.paused_until),
        paused_note=row.paused_note,
        paused_by=row.paused_by,
        runs=row.runs,
        failures=row.failures,
        skipped=row.skipped,
        coalesced=row.coalesced,
        created_at=from_us(row.created_at),
        modified_at=from_us(row.modified_at),
    )


def next_of(row: ScheduleRow, definition: Definition) -> int | None:
    """Return the next time, which the end of a run may have set although no other is to follow."""
    policy, at = definition.policy, row.next_at
    if policy.max_runs is not None and row.runs >= policy.max_runs:
        return None
    return None if at is None or (policy.end_us is not None and at > policy.end_us) else at


def is_over(row: ScheduleRow, definition: Definition) -> bool:
    """Return whether nothing comes any more, so that no end of a run is to tell the next time either."""
    policy = definition.policy
    if next_of(row, definition) is not None:
        return False
    ended = policy.end_us is not None and row.decided >= policy.end_us
    return row.delay is None or ended or (policy.max_runs is not None and row.runs >= policy.max_runs)


def _instant(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
