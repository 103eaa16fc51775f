"""A repository of one's own: six small methods are enough to keep a scheduler's tasks, here in a JSON file.

The scheduler runs in memory; `SingleNodeTaskStorage` stores what it schedules, marks what has ended, and brings the
rest back after a restart. This is the form of the seed, gokugen's task_storage.
"""

import asyncio
import uuid
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
from msgspec.structs import replace

from kokugen import FunctionRegistry, Params, Scheduler, TaskInfo, TaskState
from kokugen.errors import NoEntryError
from kokugen.task_storage.single_node import SingleNodeTaskStorage

works = FunctionRegistry()


@works.work
def remind(who: str, text: str) -> None:
    print(f"{who}: {text}")


class JsonRepository:
    """All tasks in one file, written anew at each change."""

    def __init__(self, path: Path) -> None:
        self._path = path
        stored = msgspec.json.decode(path.read_bytes(), type=list[TaskInfo]) if path.exists() else []
        self._tasks = {info.id: replace(info, param=msgspec.convert(info.param, Params)) for info in stored}

    async def insert(self, info: TaskInfo) -> str:
        task_id = str(uuid.uuid4())
        self._keep(replace(info, id=task_id))
        return task_id

    async def get_updated_since(self, since: datetime) -> Sequence[TaskInfo]:
        found = [info for info in self._tasks.values() if info.last_modified and info.last_modified >= since]
        return sorted(found, key=lambda info: (info.last_modified, info.id))

    async def get_by_id(self, task_id: str) -> TaskInfo:
        if task_id not in self._tasks:
            raise NoEntryError(task_id)
        return self._tasks[task_id]

    async def mark_as_done(self, task_id: str) -> bool:
        return await self._mark(task_id, TaskState.DONE)

    async def mark_as_cancelled(self, task_id: str) -> bool:
        return await self._mark(task_id, TaskState.CANCELLED)

    async def mark_as_failed(self, task_id: str) -> bool:
        return await self._mark(task_id, TaskState.FAILED)

    async def _mark(self, task_id: str, state: TaskState) -> bool:
        info = await self.get_by_id(task_id)
        if info.state.terminal:
            return False
        self._keep(replace(info, state=state))
        return True

    def _keep(self, info: TaskInfo) -> None:
        self._tasks[info.id] = replace(info, last_modified=datetime.now(UTC))
        self._path.write_bytes(msgspec.json.encode(list(self._tasks.values())))

    def count(self, state: TaskState) -> int:
        return sum(info.state is state for info in self._tasks.values())


def schedule_and_go(path: Path) -> None:
    """A first process: it schedules, and ends before anything is due."""
    storage = SingleNodeTaskStorage(JsonRepository(path), work_registry=works)
    scheduler = Scheduler(task_storage=storage)
    for who in ("Ann", "Bob"):
        scheduler.after(timedelta(seconds=1), remind, who, text="Tea!")
    scheduler.close()
    storage.close()


def restore_and_run(path: Path) -> None:
    """A second process: it finds the tasks in the file, and runs them."""
    repository = JsonRepository(path)
    storage = SingleNodeTaskStorage(repository, work_registry=works)
    with Scheduler(task_storage=storage) as scheduler:
        restored, errors = asyncio.run(storage.sync(scheduler.schedule_request))
        assert not errors, errors
        for handle in restored.values():
            handle.wait(timedelta(seconds=30))
    storage.close()
    print(f"Done: {repository.count(TaskState.DONE)}")


if __name__ == "__main__":
    file = Path("tasks.json")
    schedule_and_go(file)
    restore_and_run(file)
