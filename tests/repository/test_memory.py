"""The memory repository keeps the contract, and its heap of due tasks keeps small."""

from __future__ import annotations

from pathlib import Path
from random import Random

import pytest

from kokugen.clock import Clock
from kokugen.ids import IdSource
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.memory.heap import DEAD_MIN, LazyHeap, WaitingTasks
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import NO_AGEING_US
from kokugen.task import TaskInfo
from kokugen.testing import ManualClock, RepositorySuite


class TestMemoryRepository(RepositorySuite):
    keeps = False

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return MemoryRepository(namespace=namespace, clock=clock)


# -- The heap


def emptied(heap: LazyHeap) -> list[str]:
    ids = []
    while heap.top():
        ids.append(heap.pop()[2])
    return ids


def test_a_heap_gives_its_tasks_in_order_of_both_numbers_then_id() -> None:
    heap = LazyHeap()
    for first, second, task_id in [(2, 0, "a"), (1, 1, "b"), (1, 0, "d"), (1, 0, "c"), (0, 9, "e")]:
        heap.push(first, second, task_id)
    assert emptied(heap) == ["e", "c", "d", "b", "a"]


def test_a_dropped_task_is_never_seen_again() -> None:
    heap = LazyHeap()
    for task_id in "abc":
        heap.push(0, 0, task_id)
    assert (heap.drop("a"), heap.drop("a"), heap.drop("x")) == (True, False, False)
    assert len(heap) == 2
    assert emptied(heap) == ["b", "c"]


def test_a_task_dropped_and_taken_in_again_is_there_once_at_its_new_place() -> None:
    heap = LazyHeap()
    heap.push(1, 0, "a")
    heap.push(2, 0, "b")
    heap.drop("a")
    heap.push(3, 0, "a")
    assert emptied(heap) == ["b", "a"]


def test_a_task_is_not_taken_in_twice() -> None:
    heap = LazyHeap()
    heap.push(1, 0, "a")
    with pytest.raises(AssertionError):
        heap.push(2, 0, "a")


def test_what_remains_of_dropped_tasks_is_swept_out_before_it_outweighs_the_living() -> None:
    heap = LazyHeap()
    for number in range(10_000):
        heap.push(number, 0, str(number))
    for number in range(9_900):
        heap.drop(str(number))
        assert heap.size <= max(2 * len(heap), len(heap) + DEAD_MIN) + 1
    assert emptied(heap) == [str(number) for number in range(9_900, 10_000)]


def test_a_lane_that_has_no_tasks_any_more_is_given_up() -> None:
    waiting = WaitingTasks()
    for number in range(50):
        waiting.put(("q", f"work-{number}"), 0, 5, str(number), now=0)
        waiting.drop(("q", f"work-{number}"), str(number))
    waiting.put(("q", "left"), 0, 5, "a", now=0)
    assert list(waiting.take(waiting.lanes(("q",), None, frozenset(), 9), NO_AGEING_US)) == ["a"]
    assert waiting.lanes(("q",), None, frozenset(), 9) == []


# -- The repository


def test_the_same_clock_and_chance_make_the_same_tasks() -> None:
    def ids() -> list[str]:
        clock = ManualClock()
        repository = MemoryRepository(clock=clock, ids=IdSource(clock, Random(7)))
        info = TaskInfo(work_id="w", scheduled_time=clock.now)
        return [repository.insert(info).result() for _ in range(3)]

    assert ids() == ids()


def test_it_works_on_the_clock_of_the_machine_unless_told() -> None:
    repository: DurableRepository = MemoryRepository()
    assert repository.url == "memory://"
    assert repository.health().result().durable is False


def test_a_listener_may_call_the_repository() -> None:
    repository = MemoryRepository(clock=ManualClock())
    counts: list[int] = []
    repository.listen(lambda _: counts.append(repository.health().result().counts["Initialized"]))
    repository.insert(TaskInfo(work_id="w", scheduled_time=ManualClock().now)).result()
    assert counts == [1]
