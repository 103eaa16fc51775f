"""A task as the memory repository keeps it: what was asked for, and what became of it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime

import msgspec
from msgspec import Struct

from kokugen.clock import from_us, to_us
from kokugen.repository.rows import ChainedTask, Claimed, Link, NewTask, linked_param
from kokugen.repository.schedule_rows import ScheduledTask, ScheduleRow
from kokugen.repository.seed_methods import readable_param
from kokugen.task import Attempt, Mode, Priority, TaskInfo, TaskQuery, TaskState, read_progress

NO_GATES = (None, None, None)


class Record(Struct, gc=False):
    """One task. It refers to nothing that refers back, so the garbage collector need not know it."""

    id: str
    asked: NewTask
    due_at: int
    start_deadline: int | None
    created_at: int
    modified_at: int
    state: int = TaskState.INITIALIZED
    hold: str | None = None
    reason: str | None = None
    error: str | None = None
    result: str | None = None
    attempt: int = 0
    lost: int = 0
    fence: int = 0
    rev: int = 0
    claim: str | None = None
    final_claim: str | None = None
    owner: str | None = None
    beat: int = 0
    ttl_s: float | None = None
    cancel_requested: bool = False
    claimed_at: int | None = None
    started_at: int | None = None
    finished_at: int | None = None
    given: str | None = None
    progress: str | None = None
    gates: tuple[str | None, str | None, str | None] = NO_GATES
    """The gates of its key, its work and its queue."""
    gate: str | None = None
    """The one that it has to pass next."""

    @property
    def link(self) -> Link | None:
        """Return its place in a chain."""
        asked = self.asked
        if not isinstance(asked, ChainedTask):
            return None
        return Link(asked.chain, asked.follows, asked.follows_arg, self.given)

    @property
    def limited(self) -> bool:
        """Return whether it has any gates."""
        return self.gates is not NO_GATES and self.gates != NO_GATES


def info_of(record: Record, namespace: str, schedules: Mapping[str, ScheduleRow]) -> TaskInfo:
    """Return what is known of the task."""
    asked, link = record.asked, record.link
    of = asked if isinstance(asked, ScheduledTask) else None
    schedule = None if of is None else schedules.get(of.schedule_id)
    return TaskInfo(
        work_id=asked.work_id,
        scheduled_time=from_us(asked.scheduled_time),
        id=record.id,
        param=readable_param(linked_param(asked.param, link)),
        state=TaskState(record.state),
        last_modified=from_us(record.modified_at),
        namespace=namespace,
        queue=asked.queue,
        priority=Priority(-asked.rank),
        mode=Mode(asked.mode),
        tags=tags_of(asked),
        unique=asked.unique_key,
        due_at=from_us(record.due_at),
        start_deadline=_instant(record.start_deadline),
        zone=asked.zone,
        local_time=asked.local_time,
        hold=record.hold,
        reason=record.reason,
        error=record.error,
        result=record.result,
        attempt=record.attempt,
        max_attempts=asked.max_attempts,
        lost=record.lost,
        max_lost=asked.max_lost,
        fence=record.fence,
        owner=record.owner,
        cancel_requested=record.cancel_requested,
        rev=record.rev,
        created_at=from_us(record.created_at),
        claimed_at=_instant(record.claimed_at),
        started_at=_instant(record.started_at),
        finished_at=_instant(record.finished_at),
        chain=None if link is None else link.chain,
        follows=None if link is None else link.follows,
        progress=read_progress(record.progress, record.fence),
        schedule_id=None if of is None else of.schedule_id,
        schedule=None if schedule is None else schedule.name,
        nominal=None if of is None else from_us(of.nominal),
        limit_key=asked.limit_key,
        gate=record.gate,
    )


def _instant(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)


def tags_of(asked: NewTask) -> tuple[str, ...]:
    """Return the tags, which travel as a JSON array."""
    return tuple(msgspec.json.decode(asked.tags)) if asked.tags else ()


def claimed_of(record: Record) -> Claimed:
    """Return all that a run of the task needs."""
    asked, link = record.asked, record.link
    return Claimed(
        id=record.id,
        work_id=asked.work_id,
        param=linked_param(asked.param, link),
        queue=asked.queue,
        mode=asked.mode,
        scheduled_time=asked.scheduled_time,
        due_at=record.due_at,
        attempt=record.attempt,
        max_attempts=asked.max_attempts,
        lost=record.lost,
        max_lost=asked.max_lost,
        fence=record.fence,
        tags=asked.tags,
        options=asked.options,
        start_deadline=record.start_deadline,
        link=link,
    )


def attempt_of(record: Record, outcome: str, now: int, error: str | None) -> Attempt:
    """Return how the attempt that is under way ends."""
    return Attempt(
        fence=record.fence,
        attempt=record.attempt,
        outcome=outcome,
        node=record.owner,
        claimed_at=_instant(record.claimed_at),
        started_at=_instant(record.started_at),
        finished_at=from_us(now),
        error=error,
    )


def fits(record: Record, query: TaskQuery) -> bool:
    """Return whether every condition of the query but its page holds; `states` is looked at by the table."""
    asked = record.asked
    return (
        (query.work_id is None or asked.work_id == query.work_id)
        and (query.queue is None or asked.queue == query.queue)
        and (query.unique is None or asked.unique_key == query.unique)
        and (query.owner is None or record.owner == query.owner)
        and (query.chain is None or (record.link is not None and record.link.chain == query.chain))
        and (query.held is None or (record.hold is not None) == query.held)
        and (query.due_before is None or record.due_at < to_us(query.due_before))
        and (query.due_from is None or record.due_at >= to_us(query.due_from))
        and (query.tag is None or query.tag in tags_of(asked))
    )
