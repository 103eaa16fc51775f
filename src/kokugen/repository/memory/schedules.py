"""Schedules in memory: swapped by revision, with their tasks, their ledger and their audit, under the one lock."""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.reply import Reply
from kokugen.repository.memory.record import Record
from kokugen.repository.memory.store import MemoryStore
from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.schedule_rows import (
    LEDGER_MAX,
    REPLACED,
    AuditRow,
    Changed,
    Ledger,
    LedgerQuery,
    LedgerRow,
    OccurrenceTask,
    ScheduleChange,
    ScheduledTask,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.task import TaskState, replace

PAGE_MAX = 1000


class MemorySchedules(MemoryStore):
    """The `ScheduleRepository` in memory."""

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        with self._lock:
            now = self._clock.wall_us()
            answers = [self._change(change, now) for change in changes]
            self._pass_gates(now)
        due = [task.due_at for change in changes for task in change.tasks]
        self._hint([*due, *(0 for change in changes if change.drop_from is not None)])
        return Reply.of(answers)

    def _change(self, change: ScheduleChange, now: int) -> Changed:
        schedules, row = self._schedules, change.row
        before = schedules.rows.get(row.id)
        holder = schedules.ids.get(row.name)
        if (None if before is None else before.rev) != change.expected or (
            not change.remove and (holder not in {None, row.id} or self._is_settled(change))
        ):
            return Changed(False)
        dropped = 0 if change.drop_from is None else self._drop(row.id, change.drop_from)
        if change.remove:
            schedules.remove(row.id)
        else:
            schedules.put(replace(row, runs=row.runs - dropped))
        for task in change.tasks:
            self._table.add_occurrence(task, now)
        self._table.occurrences.release(row.id, now)
        schedules.await_end(row.id)
        schedules.append(change.ledger)
        if change.audit is not None:
            schedules.audit.append(change.audit)
        return Changed(True, dropped)

    def _is_settled(self, change: ScheduleChange) -> bool:
        """Return whether something that is to be taken back waits no more."""
        since = change.drop_from
        tasks = self._table.occurrences.by_schedule.get(change.row.id, {})
        return since is not None and any(
            at >= since and one.state != TaskState.INITIALIZED for at, one in tasks.items()
        )

    def _drop(self, schedule_id: str, since: int) -> int:
        tasks = self._table.occurrences.by_schedule.get(schedule_id, {})
        waiting = [one for at, one in tasks.items() if at >= since and one.state == TaskState.INITIALIZED]
        for record in waiting:
            self._table.take_back(record)
        return len(waiting)

    def settle_overlaps(self, until_us: int, limit: int) -> Reply[int]:
        with self._lock:
            now = self._clock.wall_us()
            occurrences = self._table.occurrences
            overdue = list(occurrences.overdue(until_us))[:limit]
            changed = sum(occurrences.settle(one, now, self._ask_to_stop) for one in overdue)
            self._pass_gates(now)
        for due_us in (0, STOP_ASKED) if changed else ():
            self._hint([due_us])
        return Reply.of(changed)

    def _ask_to_stop(self, record: Record, now: int) -> bool:
        if record.cancel_requested:
            return False
        record.cancel_requested, record.reason = True, REPLACED
        self._table.touch(record, now)
        return True

    def schedules(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        with self._lock:
            names = sorted(self._schedules.ids)
            rows = [self._schedules.rows[self._schedules.ids[name]] for name in names]
        return Reply.of([row for row in rows if _fits(row, query)][: max(0, min(query.limit, PAGE_MAX))])

    def due_schedules(self, until_us: int, limit: int) -> Reply[list[ScheduleRow]]:
        with self._lock:
            return Reply.of(self._schedules.due(until_us, limit))

    def ledger(self, query: LedgerQuery) -> Reply[Ledger]:
        most = max(0, min(query.limit, LEDGER_MAX))
        first, last, schedule_id = query.first, query.last, query.schedule_id
        with self._lock:
            rows = [one for one in self._schedules.ledger.get(schedule_id, ()) if one.last >= first]
            tasks = self._table.occurrences.by_schedule.get(schedule_id, {})
            ends = [one for one in self._table.occurrences.ends.get(schedule_id, ()) if first <= one.nominal <= last]
            found = Ledger(
                rows=_latest([one for one in rows if one.first <= last], most),
                tasks=[_occurrence(tasks[at]) for at in sorted(tasks) if first <= at <= last][-most:],
                ends=sorted(ends, key=lambda end: end.nominal)[-most:],
            )
        return Reply.of(found)

    def schedule_audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        with self._lock:
            rows = [row for row in reversed(self._schedules.audit) if row.name == name]
        return Reply.of(rows[: max(0, min(limit, PAGE_MAX))])

    def forget_occurrences(self, before_us: int, limit: int) -> Reply[int]:
        left = limit
        with self._lock:
            for kept in self._schedules.ledger.values():
                old = [row for row in kept if row.last < before_us][:left]
                if old:
                    kept[:] = [row for row in kept if all(row is not one for one in old)]
                left -= len(old)
            for ends in self._table.occurrences.ends.values():
                gone = [end for end in ends if end.nominal < before_us][:left]
                if gone:
                    ends[:] = [end for end in ends if all(end is not one for one in gone)]
                left -= len(gone)
        return Reply.of(limit - left)


def _fits(row: ScheduleRow, query: ScheduleQuery) -> bool:
    return (
        (query.ids is None or row.id in query.ids)
        and (query.names is None or row.name in query.names)
        and (query.owner is None or row.owner == query.owner)
        and (query.paused is None or (row.paused_at is not None) == query.paused)
        and (query.after is None or row.name > query.after)
    )


def _latest(rows: list[LedgerRow], most: int) -> list[LedgerRow]:
    """Return the latest rows, in the order in which they came."""
    chosen = sorted(range(len(rows)), key=lambda place: rows[place].last)[-most:] if most else []
    return [rows[place] for place in sorted(chosen)]


def _occurrence(record: Record) -> OccurrenceTask:
    asked = record.asked
    assert isinstance(asked, ScheduledTask)
    return OccurrenceTask(
        id=record.id,
        nominal=asked.nominal,
        state=TaskState(record.state),
        due_at=record.due_at,
        hold=record.hold,
        reason=record.reason,
        attempt=record.attempt,
        started_at=record.started_at,
        finished_at=record.finished_at,
    )
