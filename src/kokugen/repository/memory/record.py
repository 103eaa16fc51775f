"""A task as the memory repository keeps it: what was asked for, and what became of it."""

from __future__ import annotations

from datetime import datetime

import msgspec
from msgspec import Struct

from kokugen.clock import from_us, to_us
from kokugen.repository.rows import Claimed, NewTask
from kokugen.repository.seed_methods import readable_param
from kokugen.task import Attempt, Mode, Priority, TaskInfo, TaskQuery, TaskState


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
    gates: tuple[str | None, str | None, str | None] = (None, None, None)
    """The gates of its key, its work and its queue."""
    gate: str | None = None
    """The one that it has to pass next."""

    @property
    def limited(self) -> bool:
        """Return whether it has any gates."""
        return self.gates != (None, None, None)


def info_of(record: Record, namespace: str) -> TaskInfo:
    """Return what is known of the task."""
    asked = record.asked
    return TaskInfo(
        work_id=asked.work_id,
        scheduled_time=from_us(asked.scheduled_time),
        id=record.id,
        param=readable_param(asked.param),
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
    asked = record.asked
    return Claimed(
        id=record.id,
        work_id=asked.work_id,
        param=asked.param,
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
        and (query.held is None or (record.hold is not None) == query.held)
        and (query.due_before is None or record.due_at < to_us(query.due_before))
        and (query.due_from is None or record.due_at >= to_us(query.due_from))
        and (query.tag is None or query.tag in tags_of(asked))
    )
