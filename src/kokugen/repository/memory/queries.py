"""Reading the tasks in memory. The lock is held while it reads, so that an answer is of one moment."""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from heapq import nsmallest

from kokugen.reply import Reply
from kokugen.repository.memory.record import Record, fits, info_of
from kokugen.repository.memory.store import URL, MemoryStore
from kokugen.repository.rows import StoreHealth
from kokugen.task import Attempt, TaskInfo, TaskQuery, TaskState

PAGE_MAX = 1000


class MemoryQueries(MemoryStore):
    """The `QueryRepository` in memory."""

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        with self._lock:
            found = (record for task_id in task_ids if (record := self._table.records.get(task_id)))
            return Reply.of(self._infos(found))

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        with self._lock:
            records = self._table.records
            return Reply.of([one for one in task_ids if one not in records or records[one].state >= TaskState.DONE])

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        limit = max(0, min(query.limit, PAGE_MAX))
        with self._lock:
            fitting = self._fitting(query)
            if query.after is not None:
                fitting = (record for record in fitting if _by_due(record) > query.after)
            return Reply.of(self._infos(nsmallest(limit, fitting, key=_by_due)))

    def count(self, query: TaskQuery) -> Reply[int]:
        with self._lock:
            return Reply.of(sum(1 for _ in self._fitting(query)))

    def _fitting(self, query: TaskQuery) -> Iterator[Record]:
        return (record for record in self._table.of_states(query.states) if fits(record, query))

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        with self._lock:
            return Reply.of(self._table.attempts(task_id))

    def health(self) -> Reply[StoreHealth]:
        with self._lock:
            counts = {state.label: len(self._table.by_state[state]) for state in TaskState}
            waiting = list(self._table.by_state[TaskState.INITIALIZED].values())
            due = [record.due_at for record in waiting if record.hold is None]
            now = self._clock.wall_us()
        return Reply.of(
            StoreHealth(
                url=URL,
                backend="memory",
                version=f"Python {platform.python_version()}",
                schema_version=3,
                durable=False,
                counts=counts,
                held=len(waiting) - len(due),
                overdue=sum(1 for at in due if at < now),
                oldest_due_us=min(due, default=None),
            )
        )

    def _modified_since(self, since_us: int, limit: int) -> Reply[list[TaskInfo]]:
        with self._lock:
            records = [one for one in self._table.records.values() if one.modified_at >= since_us]
            part = nsmallest(limit, records, key=_by_modified)
            if len(part) == limit and part[-1].modified_at == since_us:
                part = sorted((one for one in records if one.modified_at == since_us), key=_by_modified)
                later = (one for one in records if one.modified_at > since_us)
                part += nsmallest(limit, later, key=_by_modified)
            return Reply.of(self._infos(part))

    def _infos(self, records: Iterable[Record]) -> list[TaskInfo]:
        return [info_of(record, self._namespace, self._schedules.rows) for record in records]


def _by_due(record: Record) -> tuple[int, str]:
    return record.due_at, record.id


def _by_modified(record: Record) -> tuple[int, str]:
    return record.modified_at, record.id
