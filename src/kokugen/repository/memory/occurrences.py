"""The occurrences of schedules among the tasks in memory: which one may run, which wait for it, and how they ended.

`TaskTable` tells it of every task that comes, starts to wait, ends or goes; the lock is held.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator

from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.repository.memory.record import Record
from kokugen.repository.schedule_rows import OVERLAP_HOLD, REPLACED, OccurrenceEnd, Overlap, ScheduledTask
from kokugen.task import TaskState, replace

_TOLD = (TaskState.INITIALIZED, TaskState.CANCELLED, TaskState.FAILED)
ERROR_MAX = 1000


class Occurrences:
    """Of one namespace. `release(record, now)` and `end(record, state, now)` change a task."""

    __slots__ = ("_active", "_end", "_held", "_release", "by_schedule", "ends", "report")

    def __init__(self, release: Callable[[Record, int], object], end: Callable[[Record, int, int], object]) -> None:
        self.by_schedule: dict[str, dict[int, Record]] = {}
        self.ends: dict[str, list[OccurrenceEnd]] = {}
        self._held: dict[str, dict[str, Record]] = {}
        self._active: dict[str, str] = {}
        self._release = release
        self._end = end
        self.report: Callable[[Record, int], object] = lambda _record, _now: None
        """Called with the end of a task that its schedule is to hear of."""

    def came(self, record: Record) -> None:
        """Take note of a new task; it is on hold where it may not run beside others."""
        task = _task(record)
        self.by_schedule.setdefault(task.schedule_id, {})[task.nominal] = record
        if task.overlap is not None:
            self._held.setdefault(task.schedule_id, {})[record.id] = record

    def went(self, record: Record) -> None:
        """Take note of a task that is deleted, and write down how it ended."""
        task = _task(record)
        del self.by_schedule[task.schedule_id][task.nominal]
        self._let_go(record)
        if record.state in _TOLD:
            waited = record.state == TaskState.INITIALIZED
            self.ends.setdefault(task.schedule_id, []).append(
                OccurrenceEnd(
                    nominal=task.nominal,
                    task_id=record.id,
                    state=TaskState(record.state),
                    reason=REPLACED if waited else record.reason,
                    error=None if record.error is None else record.error[:ERROR_MAX],
                    finished_at=record.finished_at,
                )
            )

    def waits(self, record: Record) -> None:
        """Take note that a task waits, on hold or not."""
        task = _task(record)
        if task.overlap is None:
            return
        held = self._held.setdefault(task.schedule_id, {})
        if record.hold == OVERLAP_HOLD:
            held[record.id] = record
            return
        held.pop(record.id, None)
        if record.hold in {None, LIMIT_HOLD}:
            assert self._active.setdefault(task.schedule_id, record.id) == record.id, "one of a schedule is active"
        elif self._active.get(task.schedule_id) == record.id:
            del self._active[task.schedule_id]

    def must_wait(self, record: Record) -> bool:
        """Return whether a task may not be claimed, because another of its schedule is active."""
        task = _task(record)
        return task.overlap is not None and self._active.get(task.schedule_id, record.id) != record.id

    def ended(self, record: Record, now: int) -> None:
        """Take note that a task is over, and let the next one go."""
        task = _task(record)
        if self._let_go(record):
            self._judge(task.schedule_id, now)
            self.release(task.schedule_id, now)
        if task.reports:
            self.report(record, now)

    def ask_to_report(self, schedule_id: str) -> None:
        """Have those of a schedule that may not overlap and wait or run report their end."""
        for record in self.by_schedule.get(schedule_id, {}).values():
            task = _task(record)
            if record.state <= TaskState.WORKING and task.overlap is not None and not task.reports:
                record.asked = replace(task, reports=True)

    def open(self, schedule_id: str) -> bool:
        """Return whether one of a schedule that may not overlap waits or runs."""
        tasks = self.by_schedule.get(schedule_id, {}).values()
        return any(one.state <= TaskState.WORKING and _task(one).overlap is not None for one in tasks)

    def release(self, schedule_id: str, now: int) -> bool:
        """Let the earliest one on hold go where none is active; return whether there was one."""
        if schedule_id in self._active or not (held := self._in_order(schedule_id)):
            return False
        self._release(held[0], now)
        return True

    def overdue(self, until: int) -> Iterator[str]:
        """Yield the schedules that have tasks on hold that are due by then."""
        for schedule_id, held in list(self._held.items()):
            if any(record.due_at <= until for record in held.values()):
                yield schedule_id

    def settle(self, schedule_id: str, now: int, working: Callable[[Record, int], bool]) -> int:
        """Deal with those on hold; `working` asks a run to stop. Return how many tasks changed."""
        changed = int(self.release(schedule_id, now)) + self._judge(schedule_id, now)
        overdue = (record for record in self._in_order(schedule_id) if record.due_at < now)
        if any(_task(record).overlap == Overlap.REPLACE for record in overdue):
            changed += self._replace(schedule_id, now, working)
        return changed

    def _replace(self, schedule_id: str, now: int, working: Callable[[Record, int], bool]) -> int:
        active = self._active.get(schedule_id)
        record = next((one for one in self.by_schedule[schedule_id].values() if one.id == active), None)
        if record is None:
            return 0
        if record.state == TaskState.WORKING:
            return int(working(record, now))
        record.reason = OVERLAP_HOLD
        self._end(record, TaskState.CANCELLED, now)
        return 1

    def _judge(self, schedule_id: str, now: int) -> int:
        """Cancel those on hold that are overdue and that their overlap does not keep."""
        held = self._in_order(schedule_id)
        overdue = [record for record in held if record.due_at < now]
        kept = {
            Overlap.QUEUE_ONE.value: held[:1],
            Overlap.REPLACE.value: overdue[-1:],
            Overlap.QUEUE_ALL.value: overdue,
        }
        dropped = [
            record
            for record in overdue
            if all(record is not other for other in kept.get(_task(record).overlap or "", ()))
        ]
        for record in dropped:
            record.reason = OVERLAP_HOLD
            self._end(record, TaskState.CANCELLED, now)
        return len(dropped)

    def _in_order(self, schedule_id: str) -> list[Record]:
        return sorted(self._held.get(schedule_id, {}).values(), key=lambda record: (record.due_at, record.id))

    def _let_go(self, record: Record) -> bool:
        """Forget a task that waited or ran; return whether it was the active one."""
        schedule_id = _task(record).schedule_id
        if (held := self._held.get(schedule_id)) is not None:
            held.pop(record.id, None)
            if not held:
                del self._held[schedule_id]
        if self._active.get(schedule_id) == record.id:
            del self._active[schedule_id]
            return True
        return False


def _task(record: Record) -> ScheduledTask:
    assert isinstance(record.asked, ScheduledTask)
    return record.asked
