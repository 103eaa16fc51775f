"""The schedules in memory, with the order in which they want decisions, and what was decided."""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.repository.memory.heap import Entry, LazyHeap
from kokugen.repository.schedule_rows import AuditRow, LedgerRow, ScheduleRow, extends
from kokugen.task import replace


class ScheduleTable:
    """The schedules of one namespace, by id and name and in order of when they want a decision."""

    __slots__ = ("audit", "ids", "ledger", "rows", "wakes")

    def __init__(self) -> None:
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

    def append(self, rows: Sequence[LedgerRow]) -> None:
        """Write down what was decided; the first row may go on where the latest ends."""
        for number, row in enumerate(rows):
            kept = self.ledger.setdefault(row.schedule_id, [])
            if number > 0 or not _extended(kept, row):
                kept.append(row)


def _extended(kept: list[LedgerRow], row: LedgerRow) -> bool:
    """Let the latest of the rows go on, where it can; return whether it does."""
    place = max(range(len(kept)), key=lambda n: (kept[n].last, n), default=None)
    if place is None or not extends(kept[place], row):
        return False
    before = kept[place]
    count = None if before.count is None or row.count is None else before.count + row.count
    kept[place] = replace(before, last=row.last, count=count, at=row.at)
    return True
