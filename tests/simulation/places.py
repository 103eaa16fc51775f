"""Where the tasks of a history are: the memory repository, or files of SQLite and a process's way into them.

Either tells of every change that was committed, row by row, whoever made it: that is what the judge looks at.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Protocol

from msgspec import Struct

from kokugen.repository.memory import MemoryRepository
from kokugen.repository.memory.record import Record
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.schedule_rows import ScheduledTask
from kokugen.task import TaskState
from tests.simulation.world import StoreClock

if TYPE_CHECKING:
    from tests.simulation.machine import Machine


class Row(Struct, frozen=True, gc=False):
    """A task as it is stored, as far as the promises are about it."""

    id: str
    state: int
    fence: int
    claim: str | None
    final_claim: str | None
    owner: str | None
    hold: str | None
    reason: str | None
    attempt: int
    max_attempts: int
    lost: int
    max_lost: int
    rank: int
    mode: int
    cancel_requested: bool
    due_at: int
    start_deadline: int | None
    finished_at: int | None
    unique_key: str | None
    schedule_id: str | None
    nominal: int | None
    overlap: str | None
    rev: int

    def __str__(self) -> str:
        told = [TaskState(self.state).label, f"fence {self.fence}", f"attempt {self.attempt}"]
        told += [f"lost {self.lost}"] if self.lost else []
        told += [f"claim {self.claim[:6]} of {self.owner}"] if self.claim else []
        told += [f"held: {self.hold}"] if self.hold else []
        told += ["to be cancelled"] if self.cancel_requested else []
        return ", ".join(told)


Change = tuple[Row | None, Row | None]
"""A row before and after; None where there was none, or is none any more."""


class Transaction(Protocol):
    """A transaction of work's own, on a connection that ends with its process."""

    connection: Any

    async def begin(self) -> None: ...

    def write(self, task_id: str) -> None: ...

    def end(self, *, commit: bool) -> None: ...

    def abandon(self) -> None: ...


class Place(Protocol):
    """A store, and how a process gets into it."""

    def enter(self, name: str) -> DurableRepository:
        """Return the repository that this process uses."""
        ...

    def leave(self, name: str) -> None:
        """The process is gone, with everything of it that was not committed."""
        ...

    def transaction(self, machine: Machine) -> Transaction:
        """Return a transaction of work's own on the database, not begun yet."""
        ...

    def changes(self) -> Iterator[Change]:
        """Yield what was committed since the last look, in order."""
        ...

    def close(self) -> None: ...


class MemoryPlace:
    """One memory repository for all: a server that never fails by itself."""

    def __init__(self, clock: StoreClock) -> None:
        self._store = MemoryRepository(clock=clock)
        self._known: dict[str, Row] = {}

    def enter(self, name: str) -> DurableRepository:
        return self._store

    def leave(self, name: str) -> None:
        """Do nothing: a server does not notice."""

    def transaction(self, machine: Machine) -> Transaction:
        raise NotImplementedError("there are no transactions on memory")

    def close(self) -> None:
        """Do nothing."""

    def changes(self) -> Iterator[Change]:
        records, known = self._store._table.records, self._known
        if len(records) < len(known):
            for task_id in [task_id for task_id in known if task_id not in records]:
                yield known.pop(task_id), None
        for task_id, record in records.items():
            before = known.get(task_id)
            if before is None or before.rev != record.rev:
                known[task_id] = after = row_of(record)
                yield before, after


def row_of(record: Record) -> Row:
    asked = record.asked
    return Row(
        id=record.id,
        state=int(record.state),
        fence=record.fence,
        claim=record.claim,
        final_claim=record.final_claim,
        owner=record.owner,
        hold=record.hold,
        reason=record.reason,
        attempt=record.attempt,
        max_attempts=asked.max_attempts,
        lost=record.lost,
        max_lost=asked.max_lost,
        rank=asked.rank,
        mode=asked.mode,
        cancel_requested=record.cancel_requested,
        due_at=record.due_at,
        start_deadline=record.start_deadline,
        finished_at=record.finished_at,
        unique_key=asked.unique_key,
        schedule_id=asked.schedule_id if isinstance(asked, ScheduledTask) else None,
        nominal=asked.nominal if isinstance(asked, ScheduledTask) else None,
        overlap=asked.overlap if isinstance(asked, ScheduledTask) else None,
        rev=record.rev,
    )
