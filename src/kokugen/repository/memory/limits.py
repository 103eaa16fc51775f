"""Limits in memory: declared, looked at, and passed, under the one lock. What they are is in `gates`."""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.reply import Reply
from kokugen.repository.limit_rows import Admission, GateStatus, LimitRule
from kokugen.repository.memory.store import MemoryStore
from kokugen.task import TaskState


class MemoryLimits(MemoryStore):
    """The `LimitRepository` in memory."""

    def declare_limits(self, known: Sequence[str], rules: Sequence[LimitRule]) -> Reply[None]:
        with self._lock:
            now = self._clock.wall_us()
            new = frozenset(self._table.gates.declare(known, rules))
            for state in (TaskState.INITIALIZED, TaskState.WORKING) if new else ():
                for record in list(self._table.by_state[state].values()):
                    self._table.adopt_gates(record, new, now)
        return Reply.of(None)

    def admit(self, ahead_us: int, *, everywhere: bool = False) -> Reply[Admission]:
        with self._lock:
            now = self._clock.wall_us()
            self._expire(now)
            answer = self._table.gates.admit(now + ahead_us, now, everywhere=everywhere)
        self._hint([now] if answer.admitted else [])
        return Reply.of(answer)

    def gates(self) -> Reply[list[GateStatus]]:
        with self._lock:
            return Reply.of(self._table.gates.status())
