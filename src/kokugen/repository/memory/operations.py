"""What people and housekeeping do to the tasks in memory. Who did it is not written down here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import chain, islice, starmap

from kokugen.reply import Reply
from kokugen.repository.memory.record import Record
from kokugen.repository.memory.store import MemoryStore
from kokugen.repository.rows import Retention
from kokugen.task import NodeInfo, TaskState, replace


class MemoryOperations(MemoryStore):
    """The `OperatorRepository` in memory."""

    def revive(
        self,
        task_ids: Sequence[str],
        *,
        due_at: int | None = None,
        by: str | None = None,  # noqa: ARG002 - the contract's, for stores that keep an audit
    ) -> Reply[list[str]]:
        with self._lock:
            now = self._clock.wall_us()
            due = now if due_at is None else due_at
            revived = [task_id for task_id in task_ids if self._revive(task_id, due, now)]
            self._pass_gates(now)
        self._hint([due] if revived else [])
        return Reply.of(revived)

    def _revive(self, task_id: str, due_at: int, now: int) -> bool:
        record = self._table.records.get(task_id)
        if record is None or not TaskState(record.state).terminal or not self._table.may_wait(record):
            return False
        record.attempt = record.lost = 0
        record.reason = record.error = record.result = record.hold = None
        record.claimed_at = record.started_at = None
        record.cancel_requested = False
        self._table.revive(record, due_at, now)
        return True

    def prune(self, retention: Retention) -> Reply[int]:
        before = {
            TaskState.DONE: retention.done_before,
            TaskState.CANCELLED: retention.cancelled_before,
            TaskState.FAILED: retention.failed_before,
        }
        with self._lock:
            old = chain.from_iterable(starmap(self._ended, before.items()))
            pruned = list(islice(old, retention.limit))
            for record in pruned:
                self._table.remove(record)
            self._forget_nodes(retention.failed_before)
        return Reply.of(len(pruned))

    def _forget_nodes(self, before_us: int) -> None:
        owners = {record.owner for record in self._table.by_state[TaskState.WORKING].values()}
        gone = [one for one, node in self._nodes.items() if node.seen_at < before_us and one not in owners]
        for node_id in gone:
            del self._nodes[node_id]

    def _ended(self, state: TaskState, before_us: int) -> Iterator[Record]:
        """Yield the tasks that ended in this state before then: the first ones, in order of their end."""
        for record in self._table.by_state[state].values():
            if record.finished_at is None or record.finished_at >= before_us:
                return
            yield record

    def register(self, node: NodeInfo) -> Reply[None]:
        with self._lock:
            now = self._clock.wall_us()
            known = self._nodes.get(node.node_id)
            started_at = known.started_at if known else node.started_at or now
            self._nodes[node.node_id] = replace(node, started_at=started_at, seen_at=now)
        return Reply.of(None)

    def retire(self, node_id: str) -> Reply[None]:
        with self._lock:
            now = self._clock.wall_us()
            if node_id in self._nodes:
                self._nodes[node_id] = replace(self._nodes[node_id], stopped_at=now)
            working = list(self._table.by_state[TaskState.WORKING].values())
            left = [record for record in working if record.owner == node_id]
            for record in left:
                self._table.lose(record, now)
            self._pass_gates(now)
        self._hint([record.due_at for record in left])
        return Reply.of(None)

    def nodes(self) -> Reply[list[NodeInfo]]:
        with self._lock:
            return Reply.of(sorted(self._nodes.values(), key=lambda node: (-node.started_at, node.node_id)))
