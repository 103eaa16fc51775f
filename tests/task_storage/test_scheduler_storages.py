"""The seed's task storages under the real scheduler, over a store that leases and over the seed's methods alone."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from kokugen import AsyncScheduler, FunctionRegistry, Scheduler, TaskInfo, TaskParam, TaskState
from kokugen.clock import SystemClock, from_us
from kokugen.errors import OptionError, SchedulerStateError
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import ClaimRequest
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.task_storage.multi_node import MultiNodeTaskStorage
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from tests.task_storage.seed_repository import Gate, SeedRepository, SharedSeedRepository

WITHIN = timedelta(seconds=20)
LATER = datetime(2100, 1, 1, tzinfo=UTC)
Kind = type[SingleNodeTaskStorage]


@pytest.fixture
def works() -> FunctionRegistry:
    works = FunctionRegistry()
    works.work(id="remind")(lambda who="Ann": f"told {who}")
    return works


@pytest.fixture(params=["memory", "sqlite"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> DurableRepository:
    return MemoryRepository() if request.param == "memory" else SQLiteRepository(tmp_path / "tasks.db")


def overdue(store: DurableRepository, who: str) -> str:
    """Store a task that was due a minute ago."""
    due = from_us(SystemClock().wall_us()) - timedelta(minutes=1)
    return Scheduler(repository=store).schedule(TaskParam(work_id="remind", scheduled_time=due, param=[who])).id


@pytest.mark.parametrize("kind", [SingleNodeTaskStorage, MultiNodeTaskStorage])
def test_over_a_store_that_leases_the_scheduler_runs_what_is_to_be_restored(
    kind: Kind, store: DurableRepository, works: FunctionRegistry
) -> None:
    wanted, unwanted = overdue(store, "Ann"), overdue(store, "Bob")
    storage = kind(store, work_registry=works, should_restore=lambda info: info.param.args == ("Ann",))
    with Scheduler(task_storage=storage) as scheduler:
        assert scheduler.result(wanted, WITHIN) == "told Ann"
        assert scheduler.get(unwanted).hold == "not restored"


@pytest.mark.parametrize("kind", [SingleNodeTaskStorage, MultiNodeTaskStorage])
async def test_over_a_store_that_leases_sync_tells_what_it_restored_and_what_it_could_not_decide(
    kind: Kind, store: DurableRepository, works: FunctionRegistry
) -> None:
    asked = Event()

    def should_restore(info: TaskInfo) -> bool:
        if info.param.args == ("Eve",):
            raise ValueError("cannot tell")
        return asked.is_set()

    storage = kind(store, work_registry=FunctionRegistry(), should_restore=should_restore)
    with pytest.raises(SchedulerStateError, match="start"):
        await storage.sync(lambda request: None)
    async with AsyncScheduler(task_storage=storage) as scheduler:
        restored, undecided = overdue(store, "Ann"), overdue(store, "Eve")
        asked.set()
        found, errors = await storage.sync(scheduler.schedule_request)
        assert (list(found), list(errors)) == ([restored], [undecided])
        assert str(errors[undecided]) == "cannot tell"
        assert await storage.retry_marking()


def test_a_storage_that_has_its_store_for_itself_recovers_at_once_and_one_that_shares_it_waits(
    works: FunctionRegistry,
) -> None:
    for kind, state in ((SingleNodeTaskStorage, TaskState.DONE), (MultiNodeTaskStorage, TaskState.WORKING)):
        store = MemoryRepository()
        task_id = overdue(store, "Ann")
        store.claim(ClaimRequest(node_id="another", nonce="its claim", slots=1)).result()
        with Scheduler(task_storage=kind(store, work_registry=works)) as scheduler:
            after = scheduler.after(timedelta(0), works.load("remind"))  # type: ignore[arg-type]
            after.wait(WITHIN)
            if state is TaskState.DONE:
                scheduler.wait(task_id, WITHIN)
            assert scheduler.get(task_id).state is state


def test_a_task_storage_and_another_place_for_tasks_exclude_each_other(works: FunctionRegistry) -> None:
    storage = SingleNodeTaskStorage(MemoryRepository(), work_registry=works)
    with pytest.raises(OptionError, match="no url and no repository"):
        Scheduler("memory://", task_storage=storage)
    with pytest.raises(OptionError, match="no url and no repository"):
        Scheduler(repository=MemoryRepository(), task_storage=storage)


# -- Over a repository with the seed's methods alone


def test_what_is_scheduled_is_stored_and_marked_when_it_is_over(works: FunctionRegistry) -> None:
    repository = SeedRepository()
    storage = SingleNodeTaskStorage(repository, work_registry=works)
    with Scheduler(task_storage=storage) as scheduler:
        task = scheduler.schedule(TaskParam(work_id="remind", scheduled_time=from_us(SystemClock().wall_us())))
        assert task.result(WITHIN) == "told Ann"
    assert repository.state(task.id) is TaskState.DONE
    storage.close()


@pytest.mark.parametrize("all_at_once", [True, False])
def test_a_task_that_is_cancelled_does_not_come_back_after_a_restart(
    works: FunctionRegistry, all_at_once: bool
) -> None:
    repository = SeedRepository()
    storage = SingleNodeTaskStorage(repository, work_registry=works)
    scheduler = Scheduler(task_storage=storage)
    tasks = [scheduler.schedule(TaskParam(work_id="remind", scheduled_time=LATER)) for _ in range(3)]
    if all_at_once:
        assert scheduler.cancel_all(work="remind") == 3
    else:
        for task in tasks:
            task.cancel("not needed")
    assert [repository.state(task.id) for task in tasks] == [TaskState.CANCELLED] * 3
    assert storage._mirror is not None
    assert len(storage._mirror.tasks) == 0
    storage.close()


async def test_a_cancelled_task_is_marked_by_the_async_face_too(works: FunctionRegistry) -> None:
    repository = SeedRepository()
    storage = SingleNodeTaskStorage(repository, work_registry=works)
    scheduler = AsyncScheduler(task_storage=storage)
    task = await scheduler.schedule(TaskParam(work_id="remind", scheduled_time=LATER))
    await task.cancel()
    assert repository.state(task.id) is TaskState.CANCELLED
    storage.close()


async def test_a_task_that_another_node_took_and_gave_back_runs_here_after_the_next_sync(
    works: FunctionRegistry,
) -> None:
    repository = SharedSeedRepository()
    storage = MultiNodeTaskStorage(repository, work_registry=works)
    async with AsyncScheduler(task_storage=storage) as scheduler:
        task_id = repository.put(state=TaskState.INITIALIZED)
        gate = repository.before["update_state"] = Gate()
        restored, _ = await storage.sync(scheduler.schedule_request)
        await asyncio.to_thread(gate.reached.wait, WITHIN.total_seconds())
        repository.change(task_id, state=TaskState.WORKING)
        gate.open()
        assert (await restored[task_id].wait(WITHIN)).state is TaskState.CANCELLED
        repository.change(task_id, state=TaskState.INITIALIZED)
        restored, _ = await storage.sync(scheduler.schedule_request)
        assert (await restored[task_id].wait(WITHIN)).state is TaskState.DONE
    assert repository.state(task_id) is TaskState.DONE
    storage.close()
