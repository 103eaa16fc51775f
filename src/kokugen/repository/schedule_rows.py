"""What travels between a repository and those who decide about schedules: frozen rows, instants in microseconds.

A store decides nothing about a schedule. It swaps one row for another where its revision is the one that was decided
upon, together with the tasks and the ledger that go with it, or it does nothing.
"""

from __future__ import annotations

from enum import StrEnum

from msgspec import Struct

from kokugen.repository.rows import NewTask
from kokugen.task import TaskState

OVERLAP_HOLD = "overlap"
"""The hold of an occurrence while an earlier one of its schedule is not over, and the reason of one that is dropped."""

REPLACED = "replaced"
"""The reason of a run that is asked to stop for the next occurrence, and of an occurrence that an edit took back."""

LEDGER_MAX = 1000
"""How many rows of a kind one look at the ledger returns at most."""


class Overlap(StrEnum):
    """What becomes of an occurrence that is due while an earlier one of its schedule still waits or runs."""

    SKIP = "skip"
    """It is cancelled."""
    QUEUE_ONE = "queue_one"
    """The first of them waits, further ones are cancelled."""
    QUEUE_ALL = "queue_all"
    """It waits for its turn."""
    REPLACE = "replace"
    """The earlier one is asked to stop; of several that wait the latest runs."""
    ALLOW = "allow"
    """Both run."""


class Reason(StrEnum):
    """What was decided of nominal times of a schedule."""

    MADE = "made"
    """Each is a task."""
    COALESCED = "coalesced"
    """The one at `stand_in` stands for them."""
    MISSED = "missed"
    """They passed while no node looked, and are not caught up with."""
    TOO_OLD = "too old"
    """They passed too long ago to be caught up with: outside the window."""
    PAUSED = "paused"
    """They passed while the schedule was paused."""
    BACKFILLED = "backfilled"
    """Someone asked for them later: each that was not made before is a task."""
    TRIGGERED = "triggered"
    """Someone asked for it: no nominal time, a task at the instant of the asking."""


class ScheduleRow(Struct, frozen=True, kw_only=True, array_like=True):
    """A schedule as it is stored; the order of the fields is the order of the columns.

    Every nominal time up to `decided` is decided, none after it. `next_at` is the first one after it, None where there
    is none. `wake_at` is when the next decision is wanted, None: never by itself.
    """

    id: str
    name: str
    owner: str | None = None
    """Who declares it in code, or what it was imported from; None: it was made at run time."""
    spec: str
    """The trigger, as JSON."""
    policy: str
    """What to do about late and overlapping occurrences, as JSON."""
    template: str
    """The task of every occurrence, as JSON."""
    overlap: str = Overlap.QUEUE_ONE
    gen: int = 1
    """The generation of its definition: the ledger says under which one a time was decided."""
    rev: int = 1
    """One more with every change, decisions included."""
    edition: int = 1
    """One more with every change of people or code, and so not with decisions."""
    decided: int
    next_at: int | None = None
    wake_at: int | None = None
    spaced: int | None = None
    """Until when tasks that catch up are spread already, where they have a rate."""
    paused_at: int | None = None
    paused_until: int | None = None
    paused_note: str | None = None
    paused_by: str | None = None
    runs: int = 0
    """How many nominal times were made into tasks and not taken back: what `max_runs` counts."""
    skipped: int = 0
    coalesced: int = 0
    created_at: int
    modified_at: int
    delay: int | None = None
    """How long after the end of each run the next is due; None: its times do not depend on runs.

    With a delay `next_at` is None while an occurrence waits or runs, and the store sets it when the last of them ends.
    """
    failures: int = 0
    """How many of its runs failed in a row, as long as `failures_max` is not None."""
    failures_max: int | None = None
    """At how many of them it wants a decision at once."""
    declared: int = 0
    """One more each time that code of its owner says that it declares it still."""


class ScheduledTask(NewTask, frozen=True, kw_only=True, array_like=True, gc=False):
    """A task of a schedule. Its id follows from the schedule and `nominal`, so that it can only be made once."""

    schedule_id: str
    nominal: int
    overlap: str | None = None
    """None where it may run beside others."""
    reports: bool = False
    """Whether its schedule's row is to hear of its end."""


class LedgerRow(Struct, frozen=True, kw_only=True, array_like=True):
    """Nominal times, one behind the other, of one schedule that were decided alike."""

    schedule_id: str
    gen: int
    first: int
    last: int
    count: int | None
    """How many; None where they were too many to be counted one by one: then the trigger tells."""
    reason: str
    stand_in: int | None = None
    """The nominal time that stands for them, where they were coalesced."""
    detail: str | None = None
    at: int
    """When that was decided; for a run of decisions, the last of them."""


class AuditRow(Struct, frozen=True, kw_only=True, array_like=True):
    """A change of a schedule by someone: what it was before and is after, as JSON; None: there was, or is, none."""

    schedule_id: str
    name: str
    at: int
    who: str | None
    what: str
    why: str | None
    before: str | None
    after: str | None


class ScheduleChange(Struct, frozen=True, kw_only=True, array_like=True):
    """One swap, all or nothing: it happens where the stored row's revision is `expected`; None: where there is none.

    Nor does it happen where a task from the nominal time `drop_from` on waits no more, unless the row is deleted: what
    is claimed, cancelled or over cannot be decided anew.

    In this order: waiting tasks from the nominal time `drop_from` on are deleted, and taken off `runs`; the row is
    written, or deleted; tasks are added, on hold unless nothing of the schedule waits or runs; then ledger and audit.
    """

    row: ScheduleRow
    expected: int | None = None
    remove: bool = False
    drop_from: int | None = None
    tasks: list[ScheduledTask] = []
    ledger: list[LedgerRow] = []
    audit: AuditRow | None = None

    @property
    def is_decision(self) -> bool:
        """Return whether it does nothing but what a node decides by itself, where no end of a run is awaited."""
        by_itself = self.audit is None and self.drop_from is None and not self.remove
        return by_itself and self.expected == self.row.rev - 1 and self.row.delay is None


class Changed(Struct, frozen=True, array_like=True):
    """What became of a change: False where someone else changed the row, or a task of its, first, or has its name."""

    applied: bool
    dropped: int = 0


class ScheduleQuery(Struct, frozen=True, kw_only=True):
    """Which schedules to return: all conditions that are given must hold. In order of their names."""

    ids: tuple[str, ...] | None = None
    names: tuple[str, ...] | None = None
    owner: str | None = None
    paused: bool | None = None
    after: str | None = None
    """Only names after this one."""
    limit: int = 100


class LedgerQuery(Struct, frozen=True, kw_only=True):
    """Which part of a schedule's ledger to return: what touches `first` to `last`, both included."""

    schedule_id: str
    first: int
    last: int
    limit: int = LEDGER_MAX


class OccurrenceTask(Struct, frozen=True, kw_only=True, array_like=True):
    """A task of a schedule that the store still has."""

    id: str
    nominal: int
    state: TaskState
    due_at: int
    hold: str | None
    reason: str | None
    attempt: int
    started_at: int | None
    finished_at: int | None


class OccurrenceEnd(Struct, frozen=True, kw_only=True, array_like=True):
    """How an occurrence ended whose task is gone: past retention, or taken back. One that is Done leaves none."""

    nominal: int
    task_id: str
    state: TaskState
    """Initialized: it was taken back before it ran."""
    reason: str | None
    error: str | None
    finished_at: int | None


class Ledger(Struct, frozen=True, kw_only=True):
    """A part of a ledger, each list in order of time; decisions as they were taken."""

    rows: list[LedgerRow]
    tasks: list[OccurrenceTask]
    ends: list[OccurrenceEnd]


def extends(before: LedgerRow, row: LedgerRow) -> bool:
    """Return whether `row` goes on where the schedule's latest row `before` ends: both are one row then."""
    return (
        before.gen == row.gen
        and before.reason == row.reason
        and before.stand_in == row.stand_in
        and before.detail == row.detail
        and before.last < row.first
        and before.reason != Reason.TRIGGERED
    )
