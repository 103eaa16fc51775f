"""What the parts of the memory repository share: the lock, the tasks, the nodes, and whom to wake."""

from __future__ import annotations

from collections.abc import Callable, Collection
from threading import Lock

from kokugen.clock import Clock, SystemClock
from kokugen.ids import IdSource, system_random
from kokugen.repository.limit_rows import AHEAD_US
from kokugen.repository.memory.schedule_table import ScheduleTable
from kokugen.repository.memory.table import TaskTable
from kokugen.repository.protocol import ENDED
from kokugen.task import NAMESPACE_DEFAULT, NodeInfo, TaskState

URL = "memory://"
EXPIRE_MAX = 100
"""How many tasks past their start deadline one look ends."""


class MemoryStore:
    """A `StoreRepository` without a store: opening and closing change nothing, and its tasks die with it."""

    def __init__(
        self, *, namespace: str = NAMESPACE_DEFAULT, clock: Clock | None = None, ids: IdSource | None = None
    ) -> None:
        self._namespace = namespace
        self._clock = clock or SystemClock()
        self._ids = ids or IdSource(self._clock, system_random())
        self._lock = Lock()
        self._table = TaskTable()
        self._schedules = ScheduleTable(self._table.occurrences)
        self._nodes: dict[str, NodeInfo] = {}
        self._hints: list[Callable[[int], object]] = []

    @property
    def url(self) -> str:
        return URL

    @property
    def namespace(self) -> str:
        return self._namespace

    def open(self) -> None:
        """Do nothing: it is open from the start."""

    def close(self) -> None:
        """Do nothing: other schedulers of this process may go on with it."""

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        # A new list each time, so that a call under way goes through one that does not change.
        self._hints = [*self._hints, hint]

        def leave() -> None:
            self._hints = [other for other in self._hints if other is not hint]

        return leave

    def ask_for_ends(self) -> None:
        """Do nothing: who waits is in this process, and is told of every end."""

    def _tell_end(self) -> None:
        """Tell the listeners that tasks may have ended. As `_hint`."""
        for hint in self._hints:
            hint(ENDED)

    def _expire(self, now: int) -> None:
        for record in self._table.too_late(now, EXPIRE_MAX):
            record.reason = "expired"
            self._table.end(record, TaskState.CANCELLED, now)

    def _pass_gates(self, now: int) -> list[int]:
        """Let tasks pass their limits where anything changed; return when those are due, for a hint. With the lock."""
        return [now] if self._table.gates.settle(now + AHEAD_US, now) else []

    def _hint(self, due: Collection[int]) -> None:
        """Tell the listeners of tasks that wait now. Call it without the lock: a listener may call back."""
        if due and self._hints:
            earliest = min(due)
            for hint in self._hints:
                hint(earliest)
