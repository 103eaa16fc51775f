"""A stored task as a database tells it, and as people read it. Both databases with SQL answer with these rows."""

from __future__ import annotations

from datetime import datetime
from typing import Any

import msgspec
from msgspec import Struct

from kokugen.clock import from_us, instant
from kokugen.repository.limit_rows import key_of
from kokugen.repository.rows import Link, linked_param
from kokugen.repository.seed_methods import readable_param
from kokugen.task import Attempt, Mode, Priority, TaskInfo, TaskState, read_progress

ATTEMPT_TIMES = ("claimed_at", "started_at", "finished_at")


GATE = "CASE WHEN {t}gate = '' THEN coalesce({t}limit_key, {t}limit_work, {t}limit_queue) ELSE {t}gate END"
"""The gate that a task has to pass next, also where it is not due and stands in no line yet."""


class TaskRow(Struct, array_like=True):
    """The columns of one task, in this order; times are microseconds since the epoch."""

    id: str
    work_id: str
    scheduled_time: int
    param: str
    state: int
    modified_at: int
    queue: str
    rank: int
    mode: int
    tags: str | None
    unique_key: str | None
    due_at: int
    start_deadline: int | None
    zone: str | None
    local_time: str | None
    hold: str | None
    reason: str | None
    error: str | None
    result: str | None
    attempt: int
    max_attempts: int
    lost: int
    max_lost: int
    fence: int
    owner: str | None
    cancel_requested: bool | int
    rev: int
    created_at: int
    claimed_at: int | None
    started_at: int | None
    finished_at: int | None
    chain: str | None
    follows: str | None
    follows_arg: str | None
    given: str | None
    progress: str | None
    schedule_id: str | None
    schedule: str | None
    """The name of the schedule, while there is one."""
    nominal: int | None
    limit_key: str | None
    gate: str | None

    @property
    def link(self) -> Link | None:
        """Return its place in a chain."""
        return None if self.chain is None else Link(self.chain, self.follows, self.follows_arg, self.given)


def info_of(row: TaskRow, namespace: str) -> TaskInfo:
    """Return what people read."""
    return TaskInfo(
        id=row.id,
        work_id=row.work_id,
        scheduled_time=from_us(row.scheduled_time),
        param=readable_param(linked_param(row.param, row.link)),
        state=TaskState(row.state),
        last_modified=from_us(row.modified_at),
        namespace=namespace,
        queue=row.queue,
        priority=Priority(-row.rank),
        mode=Mode(row.mode),
        tags=_tags(row.tags),
        unique=row.unique_key,
        due_at=from_us(row.due_at),
        start_deadline=_when(row.start_deadline),
        zone=row.zone,
        local_time=row.local_time,
        hold=row.hold,
        reason=row.reason,
        error=row.error,
        result=row.result,
        attempt=row.attempt,
        max_attempts=row.max_attempts,
        lost=row.lost,
        max_lost=row.max_lost,
        fence=row.fence,
        owner=row.owner,
        cancel_requested=bool(row.cancel_requested),
        rev=row.rev,
        created_at=from_us(row.created_at),
        claimed_at=_when(row.claimed_at),
        started_at=_when(row.started_at),
        finished_at=_when(row.finished_at),
        chain=row.chain,
        follows=row.follows,
        progress=read_progress(row.progress, row.fence),
        schedule_id=row.schedule_id,
        schedule=row.schedule,
        nominal=_when(row.nominal),
        limit_key=key_of(row.limit_key),
        gate=row.gate,
    )


def _tags(text: str | None) -> tuple[str, ...]:
    """Return the tags; what another program wrote, and cannot be read, keeps nobody from reading the task."""
    try:
        return tuple(map(str, msgspec.json.decode(text))) if text else ()
    except msgspec.DecodeError:
        return ()


def _when(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def attempt_of(columns: dict[str, Any]) -> Attempt:
    """Return an attempt, whose columns have the names of its fields."""
    return Attempt(**(columns | {name: instant(columns[name]) for name in ATTEMPT_TIMES}))
