"""A repository as a user would write one: the seed's methods alone, async, with faults to order.

Each method can be told to fail, to wait at a gate, or to lose its answer after it has happened.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from threading import Event, Lock

from kokugen.errors import NoEntryError
from kokugen.task import TaskInfo, TaskState, replace

START = datetime(2024, 5, 1, tzinfo=UTC)
TICK = timedelta(seconds=1)


class Outage(Exception):
    """What the store raises while it is out."""


class Gate:
    """Holds a call until it is opened; `reached` tells that the call has come."""

    def __init__(self) -> None:
        self.reached = Event()
        self._open = Event()

    def open(self) -> None:
        self._open.set()

    async def pass_through(self) -> None:
        self.reached.set()
        if not self._open.is_set():
            await asyncio.to_thread(self._open.wait, 20)


class SeedRepository:
    def __init__(self, *, part_max: int = 1000) -> None:
        self.rows: dict[str, TaskInfo] = {}
        self.faults: list[str] = []
        self.lost_answers: list[str] = []
        self.before: dict[str, Gate] = {}
        self.after: dict[str, Gate] = {}
        self.calls: list[tuple[str, ...]] = []
        self.now = START
        self._part_max = part_max
        self._lock = Lock()

    # -- What a test does from outside

    def put(self, work_id: str = "remind", **fields: object) -> str:
        """Store a row as another process would."""
        task_id = str(fields.pop("id", f"t{len(self.rows) + 1}"))
        info = TaskInfo(id=task_id, work_id=work_id, scheduled_time=START, last_modified=self._tick())
        self.rows[task_id] = replace(info, **fields)
        return task_id

    def change(self, task_id: str, *, same_tick: bool = False, **fields: object) -> None:
        """Change a row as another process would; within the same tick of the store's clock, if asked."""
        when = self.now if same_tick else self._tick()
        self.rows[task_id] = replace(self.rows[task_id], last_modified=when, **fields)

    def state(self, task_id: str) -> TaskState:
        return self.rows[task_id].state

    # -- The seed's methods

    async def insert(self, info: TaskInfo) -> str:
        async with self._call("insert"):
            task_id = f"t{len(self.rows) + 1}"
            self.rows[task_id] = replace(info, id=task_id, last_modified=self._tick())
        return task_id

    async def get_updated_since(self, since: datetime) -> Sequence[TaskInfo]:
        async with self._call("get_updated_since"):
            found = [info for info in self.rows.values() if info.last_modified and info.last_modified >= since]
        return sorted(found, key=lambda info: (str(info.last_modified), info.id))[: self._part_max]

    async def get_by_id(self, task_id: str) -> TaskInfo:
        async with self._call("get_by_id", task_id):
            if task_id not in self.rows:
                raise NoEntryError(task_id)
            return self.rows[task_id]

    async def mark_as_done(self, task_id: str) -> bool:
        return await self._mark("mark_as_done", task_id, TaskState.DONE)

    async def mark_as_cancelled(self, task_id: str) -> bool:
        return await self._mark("mark_as_cancelled", task_id, TaskState.CANCELLED)

    async def mark_as_failed(self, task_id: str) -> bool:
        return await self._mark("mark_as_failed", task_id, TaskState.FAILED)

    async def _mark(self, name: str, task_id: str, state: TaskState) -> bool:
        async with self._call(name, task_id):
            if task_id not in self.rows:
                raise NoEntryError(task_id)
            marked = not self.rows[task_id].state.terminal
            if marked:
                self.change(task_id, state=state)
        return marked

    def _tick(self) -> datetime:
        with self._lock:
            self.now += TICK
            return self.now

    def _call(self, *call: str) -> _Call:
        return _Call(self, call)


class SharedSeedRepository(SeedRepository):
    """With compare and swap, for several nodes."""

    async def update_state(self, task_id: str, old: TaskState, new: TaskState) -> bool:
        async with self._call("update_state", task_id):
            if task_id not in self.rows:
                raise NoEntryError(task_id)
            swapped = self.rows[task_id].state is old
            if swapped:
                self.change(task_id, state=new)
        return swapped


class _Call:
    """One call of the store, with the faults that were ordered for it."""

    def __init__(self, repository: SeedRepository, call: tuple[str, ...]) -> None:
        self._repository = repository
        self._call = call

    async def __aenter__(self) -> None:
        repository, name = self._repository, self._call[0]
        repository.calls.append(self._call)
        if (gate := repository.before.get(name)) is not None:
            await gate.pass_through()
        if name in repository.faults:
            repository.faults.remove(name)
            raise Outage(f"{name}: the store is out")

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        repository, name = self._repository, self._call[0]
        if kind is None and (gate := repository.after.get(name)) is not None:
            await gate.pass_through()
        if kind is None and name in repository.lost_answers:
            repository.lost_answers.remove(name)
            raise Outage(f"{name}: the answer was lost")
