"""What became of the times of a schedule: the ledger's decisions, and what their tasks did, told one by one.

Times in a row that did not run for one reason are told together, with a count.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime, timedelta

from msgspec import Struct

from kokugen.clock import from_us, to_us
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import (
    OVERLAP_HOLD,
    REPLACED,
    Ledger,
    LedgerRow,
    OccurrenceEnd,
    OccurrenceTask,
    Reason,
    ScheduleRow,
)
from kokugen.task import TaskState

MADE = (Reason.MADE, Reason.BACKFILLED, Reason.TRIGGERED)
_STATES = {
    TaskState.INITIALIZED: "waiting",
    TaskState.WORKING: "running",
    TaskState.DONE: "ran",
    TaskState.CANCELLED: "cancelled",
    TaskState.FAILED: "failed",
}


class Occurrence(Struct, frozen=True, kw_only=True):
    """A nominal time of a schedule, or a run of them, and what became of it.

    `outcome` is ran, failed, cancelled, skipped (an earlier run was not over), replaced (an edit or a pause took it
    back), waiting or running; of times that are no tasks coalesced, missed, too old or paused.
    """

    time: datetime
    until: datetime
    """The last of the times; the same as `time` where it is one."""
    count: int | None = 1
    """How many; None where they were too many to be counted."""
    outcome: str
    by_hand: bool = False
    """Whether it was triggered or backfilled."""
    into: datetime | None = None
    """The time that stands for it, where it was coalesced."""
    task_id: str | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    reason: str | None = None
    error: str | None = None

    @property
    def late_by(self) -> timedelta | None:
        """Return how much later than its time it started; None where it did not, or is too old for it to be known."""
        return None if self.started_at is None else self.started_at - self.time


def occurrences_of(row: ScheduleRow | None, trigger: Trigger | None, ledger: Ledger) -> list[Occurrence]:
    """Return what became of the times in a part of a ledger, in order."""
    tasks = {task.nominal: task for task in ledger.tasks}
    ends: dict[int, list[OccurrenceEnd]] = {}
    for end in reversed(ledger.ends):
        ends.setdefault(end.nominal, []).append(
            end
        )  # of a time that was taken back and decided anew, the first is last
    told: list[Occurrence] = []
    for place, entry in enumerate(ledger.rows, 1):
        if entry.reason in MADE:
            known = trigger if row is not None and row.delay is None and entry.gen == row.gen else None
            made = _made(entry, known, tasks, ends)
            later = ledger.rows[place:]
            told += [one for one in made if one.outcome != REPLACED or not _decided_anew(one, entry, later)]
        else:
            told.append(_passed(entry))
    told.sort(key=lambda one: one.time)
    return told


def _decided_anew(one: Occurrence, entry: LedgerRow, later: list[LedgerRow]) -> bool:
    """Return whether a time that was taken back was decided about again under the same definition."""
    at = to_us(one.time)
    return any(other.gen == entry.gen and other.first <= at <= other.last for other in later)


def _passed(entry: LedgerRow) -> Occurrence:
    return Occurrence(
        time=from_us(entry.first),
        until=from_us(entry.last),
        count=entry.count,
        outcome=entry.reason,
        into=None if entry.stand_in is None else from_us(entry.stand_in),
    )


def _made(
    entry: LedgerRow,
    trigger: Trigger | None,
    tasks: dict[int, OccurrenceTask],
    ends: dict[int, list[OccurrenceEnd]],
) -> Iterator[Occurrence]:
    """Yield each time of an entry of which something is known, and those between them together."""
    by_hand = entry.reason != Reason.MADE
    known = sorted(at for at in tasks.keys() | ends.keys() if entry.first <= at <= entry.last)
    if trigger is None and not by_hand:
        yield from _counted(entry, known)
    at = entry.first
    for nominal in known:
        if not by_hand:
            yield from _gone(trigger, at, nominal - 1)
        if gone := ends.get(nominal):
            yield _of_end(gone.pop(), by_hand=by_hand)
            if not gone:
                del ends[nominal]
        else:
            yield _of_task(tasks.pop(nominal), by_hand=by_hand)
        at = nominal + 1
    if not by_hand:
        yield from _gone(trigger, at, entry.last)


def _gone(trigger: Trigger | None, first: int, last: int) -> Iterator[Occurrence]:
    """Yield the times whose tasks are Done and past retention."""
    if trigger is None or first > last:
        return
    begin, end = trigger.next_us(first - 1), trigger.prev_us(last + 1)
    if begin is None or end is None or begin > last or end < first:
        return
    yield Occurrence(time=from_us(begin), until=from_us(end), count=trigger.count_us(begin, end + 1), outcome="ran")


def _counted(entry: LedgerRow, known: list[int]) -> Iterator[Occurrence]:
    """Yield, as one, the times whose tasks are Done and past retention, where no trigger can tell which they were."""
    gone = (entry.count or 0) - len(known)
    if gone > 0:
        yield Occurrence(time=from_us(entry.first), until=from_us(entry.last), count=gone, outcome="ran")


def _of_task(task: OccurrenceTask, *, by_hand: bool) -> Occurrence:
    skipped = task.state is TaskState.CANCELLED and task.reason == OVERLAP_HOLD
    return Occurrence(
        time=from_us(task.nominal),
        until=from_us(task.nominal),
        outcome="skipped" if skipped else _STATES[task.state],
        by_hand=by_hand,
        task_id=task.id,
        started_at=_instant(task.started_at),
        finished_at=_instant(task.finished_at),
        reason=task.reason or task.hold,
    )


def _of_end(end: OccurrenceEnd, *, by_hand: bool) -> Occurrence:
    outcome = REPLACED if end.state is TaskState.INITIALIZED else _STATES[end.state]
    return Occurrence(
        time=from_us(end.nominal),
        until=from_us(end.nominal),
        outcome="skipped" if end.reason == OVERLAP_HOLD else outcome,
        by_hand=by_hand,
        task_id=end.task_id,
        finished_at=_instant(end.finished_at),
        reason=end.reason,
        error=end.error,
    )


def _instant(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
