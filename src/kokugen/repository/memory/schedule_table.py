"""The schedules in memory, with the order in which they want decisions, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.repository.memory.heap import Entry, LazyHeap
from kokugen.repository.memory.occurrences import Occurrences
from kokugen.repository.memory.record import Record
from kokugen.repository.schedule_rows import AuditRow, LedgerRow, ScheduledTask, ScheduleRow, extends
from kokugen.task import TaskState, replace


class ScheduleTable:
    """The schedules of one namespace, by id and name and in order of when they want a decision."""

    __slots__ = ("_occurrences", "audit", "ids", "ledger", "rows", "wakes")

    def __init__(self, occurrences: Occurrences) -> None:
        self._occurrences = occurrences
        occurrences.report = self._hear
        self.rows: dict[str, ScheduleRow] = {}
        self.ids: dict[str, str] = {}
        self.wakes = LazyHeap()
        self.ledger: dict[str, list[LedgerRow]] = {}
        self.audit: list[AuditRow] = []

    def put(self, row: ScheduleRow) -> None:
        """Write a row in the place of the one before it."""
        self.remove(row.id)
        self.rows[row.id] = row
        self.ids[row.name] = row.id
        if row.wake_at is not None:
            self.wakes.push(row.wake_at, 0, row.id)

    def remove(self, schedule_id: str) -> None:
        """Delete a row, where there is one. Its ledger and audit stay."""
        before = self.rows.pop(schedule_id, None)
        if before is not None:
            del self.ids[before.name]
            self.wakes.drop(schedule_id)

    def due(self, until: int, limit: int) -> list[ScheduleRow]:
        """Return those that want a decision by then, the earliest first; no others are looked at."""
        taken: list[Entry] = []
        while len(taken) < limit and (top := self.wakes.top()) is not None and top[0] <= until:
            taken.append(self.wakes.pop())
        for wake_at, _, schedule_id in taken:
            self.wakes.push(wake_at, 0, schedule_id)
        return [self.rows[schedule_id] for _, _, schedule_id in taken]

    def await_end(self, schedule_id: str) -> None:
        """See to it that with a delay there is no next time while an occurrence waits or runs."""
        row = self.rows.get(schedule_id)
        if row is not None and row.delay is not None and self._occurrences.open(schedule_id):
            self._occurrences.ask_to_report(schedule_id)
            self.put(replace(row, next_at=None, wake_at=None if row.paused_at is None else row.wake_at))

    def _hear(self, record: Record, now: int) -> None:
        """Count failures in a row, and begin the delay with the last end."""
        assert isinstance(record.asked, ScheduledTask)
        row = self.rows.get(record.asked.schedule_id)
        if row is None:
            return
        failed = record.state == TaskState.FAILED
        if row.failures_max is not None and (failed or (record.state == TaskState.DONE and row.failures)):
            row = _after(row, failures=row.failures + 1 if failed else 0)
            if failed and row.failures >= (row.failures_max or 0) and row.paused_at is None:
                row = replace(row, wake_at=now if row.wake_at is None else min(now, row.wake_at))
        if row.delay is not None and not self._occurrences.open(row.id):
            at = max(now + row.delay, row.decided + 1)
            wake_at = row.wake_at if row.paused_at is not None else at if row.wake_at is None else min(at, row.wake_at)
            row = _after(row, next_at=at, wake_at=wake_at)
        self.put(row)

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Write down what was decided; the first row may go on where the latest ends."""
        for number, row in enumerate(rows):
            kept = self.ledger.setdefault(row.schedule_id, [])
            if number > 0 or not _extended(kept, row):
                kept.append(row)


def _after(row: ScheduleRow, **changes: int | None) -> ScheduleRow:
    after: ScheduleRow = replace(row, rev=row.rev + 1, **changes)
    return after


def _extended(kept: list[LedgerRow], row: LedgerRow) -> bool:
    """Let the latest of the rows go on, where it can; return whether it does."""
    place = max(range(len(kept)), key=lambda n: (kept[n].last, n), default=None)
    if place is None or not extends(kept[place], row):
        return False
    before = kept[place]
    count = None if before.count is None or row.count is None else before.count + row.count
    kept[place] = replace(before, last=row.last, count=count, at=row.at)
    return True
