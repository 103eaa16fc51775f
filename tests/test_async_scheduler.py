"""`AsyncScheduler` never lets its caller's loop wait for the store."""

from __future__ import annotations

from datetime import timedelta
from threading import get_ident
from typing import TypeVar

import pytest

from kokugen import AsyncScheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import StoreHealth
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery

T = TypeVar("T")


class Watched(MemoryRepository):
    """Remembers on which threads it was opened and read."""

    def __init__(self) -> None:
        super().__init__()
        self.opened_on: list[int] = []
        self.read_on: list[int] = []

    def open(self) -> None:
        self.opened_on.append(get_ident())

    def get(self, task_ids: object) -> Reply[list[TaskInfo]]:
        return self._read(super().get(task_ids))  # type: ignore[arg-type]

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        return self._read(super().page(query))

    def count(self, query: TaskQuery) -> Reply[int]:
        return self._read(super().count(query))

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        return self._read(super().attempts(task_id))

    def health(self) -> Reply[StoreHealth]:
        return self._read(super().health())

    def nodes(self) -> Reply[list[NodeInfo]]:
        return self._read(super().nodes())

    def _read(self, reply: Reply[T]) -> Reply[T]:
        self.read_on.append(get_ident())
        return reply


@pytest.fixture
def store() -> Watched:
    return Watched()


async def test_a_store_is_opened_once_and_not_on_the_callers_loop(store: Watched) -> None:
    scheduler = AsyncScheduler(repository=store)
    param = TaskParam(work_id="remind", scheduled_time=from_us(SystemClock().wall_us()) + timedelta(hours=1))
    await scheduler.open()
    task = await scheduler.schedule(param)
    await scheduler.schedule_many([param])
    await task.cancel()
    assert len(store.opened_on) == 1
    assert get_ident() not in store.opened_on
    await scheduler.close()


async def test_a_store_is_not_read_on_the_callers_loop(store: Watched) -> None:
    scheduler = AsyncScheduler(repository=store)
    task = await scheduler.schedule(TaskParam(work_id="remind", scheduled_time=from_us(SystemClock().wall_us())))
    await task.info()
    assert [info.id async for info in scheduler.tasks()] == [task.id]
    assert await scheduler.count() == 1
    await scheduler.attempts(task.id)
    await scheduler.health()
    await scheduler.nodes()
    assert len(store.read_on) == 6
    assert get_ident() not in store.read_on
    await scheduler.close()


async def test_workers_are_added_and_removed_and_marks_retried_as_by_the_other_face(store: Watched) -> None:
    async with AsyncScheduler(repository=store, workers=2) as scheduler:
        assert (scheduler.add_workers(3), scheduler.remove_workers()) == (5, 4)
        assert await scheduler.retry_marking()
