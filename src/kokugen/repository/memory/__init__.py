"""The repository in memory: the whole contract without a file, for tests and for tasks that may die with it.

A scheduler with the url `memory://` makes one. Several schedulers of one process may share one and its tasks.
`claims`, `queries` and `operations` answer its calls at once, under the one lock of `store`; `table` has the
tasks and their indexes, `heap` which of them is due.
"""

from __future__ import annotations

from kokugen.errors import NoEntryError, NotUpdatableStateError
from kokugen.reply import Reply
from kokugen.repository.limit_rows import BY_ID_TRIED
from kokugen.repository.memory.claims import MemoryClaims
from kokugen.repository.memory.limits import MemoryLimits
from kokugen.repository.memory.operations import MemoryOperations
from kokugen.repository.memory.queries import MemoryQueries
from kokugen.repository.memory.record import Record
from kokugen.repository.memory.schedules import MemorySchedules
from kokugen.repository.seed_methods import BY_ID_OWNER, SeedMethods
from kokugen.task import TaskState

_OUTCOMES = {TaskState.INITIALIZED: "released", TaskState.CANCELLED: "cancelled", TaskState.FAILED: "failed"}


class MemoryRepository(MemoryClaims, MemoryQueries, MemoryOperations, MemorySchedules, MemoryLimits, SeedMethods):
    """Tasks of one namespace in this process's memory. Any thread may call it, and no call waits for I/O."""

    def _transition(
        self, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None
    ) -> Reply[TaskState]:
        with self._lock:
            record = self._table.records.get(task_id)
            if record is None:
                return Reply.failed(NoEntryError(task_id))
            before = TaskState(record.state)
            passed: list[int] = []
            if before in old:
                if new == TaskState.WORKING and record.gate is not None:
                    return Reply.failed(NotUpdatableStateError(task_id, before, BY_ID_TRIED))
                self._change_state(record, TaskState(new), reason)
                passed = self._pass_gates(self._clock.wall_us())
        self._hint(passed + ([record.due_at] if before in old and new == TaskState.INITIALIZED else []))
        return Reply.of(before)

    def _change_state(self, record: Record, new: TaskState, reason: str | None) -> None:
        now = self._clock.wall_us()
        if new == TaskState.WORKING:
            self._table.withdraw(record)
            self._table.start(record, BY_ID_OWNER, self._ids.nonce(), now)
            return
        given_back = new == TaskState.INITIALIZED
        if given_back and record.cancel_requested:
            new, reason = TaskState.CANCELLED, record.reason
        if record.state == TaskState.WORKING and new in _OUTCOMES:
            self._table.remember(record, _OUTCOMES[new], now)
        record.reason = reason
        if new == TaskState.INITIALIZED:
            record.attempt -= 1
            self._table.wait(record, None, now)
        else:
            self._table.end(record, new, now)
