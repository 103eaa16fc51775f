"""The holes of the original, each reproduced and found closed, over a repository with the seed's methods alone."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.errors import ExternalStateChangeError, SchedulerStateError
from kokugen.run import Cancel
from kokugen.task import TaskState
from tests.task_storage.conftest import NewNode
from tests.task_storage.seed_repository import START, Gate, Outage, SeedRepository, SharedSeedRepository

LATER = START + timedelta(hours=1)
WORKS = pytest.mark.parametrize("work_id", ["remind", "aremind"])


@WORKS
async def test_h1_a_task_that_could_not_be_made_working_runs_again_here(
    shared: SharedSeedRepository, new_node: NewNode, work_id: str
) -> None:
    node = new_node(shared)
    task_id = node.scheduler.schedule(work_id, "Ann", at=START).id
    shared.faults.append("update_state")
    outcome = await asyncio.to_thread(node.scheduler.run, task_id)
    assert (outcome.ending, outcome.delay_us, node.ran) == (Ending.SNOOZED, 1_000_000, [])
    assert await node.sync() == ({}, {})
    assert (await asyncio.to_thread(node.scheduler.run, task_id)).ending is Ending.RETURNED
    assert (node.ran, shared.state(task_id)) == (["Ann"], TaskState.DONE)


def test_h2_a_task_that_the_scheduler_refused_is_not_left_in_the_repository(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    node.scheduler.refusal = SchedulerStateError("the queue is full")
    with pytest.raises(SchedulerStateError, match="full"):
        node.scheduler.schedule("remind", "Ann", at=START)
    assert [info.state for info in repository.rows.values()] == [TaskState.CANCELLED]


async def test_h2_where_even_that_fails_it_is_written_by_retry_marking_and_never_restored(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    node.scheduler.refusal = SchedulerStateError("the queue is full")
    repository.faults.append("mark_as_cancelled")
    with pytest.raises(SchedulerStateError, match="full"):
        node.scheduler.schedule("remind", "Ann", at=START)
    node.scheduler.refusal = None
    assert await node.sync() == ({}, {})
    assert await node.storage.retry_marking()
    assert repository.state("t1") is TaskState.CANCELLED


async def test_h3_a_task_that_is_over_before_its_scheduling_returns_leaves_nothing_behind(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    ran = asyncio.get_running_loop().create_future()
    loop = asyncio.get_running_loop()

    def run_at_once(task_id: str) -> None:
        running = loop.run_in_executor(None, node.scheduler.run, task_id)
        running.add_done_callback(lambda done: ran.set_result(done.result()))

    node.scheduler.on_accept = lambda task_id: loop.call_soon_threadsafe(run_at_once, task_id)
    await asyncio.to_thread(node.scheduler.schedule, "remind", "Ann", at=START)
    assert (await ran).ending is Ending.RETURNED
    repository.change("t1", state=TaskState.INITIALIZED)
    rescheduled, errors = await node.sync()
    assert (list(rescheduled), errors) == (["t1"], {}), "a leaked entry would keep it from ever running again"


async def test_h4_a_sync_amid_a_scheduling_schedules_nothing_twice(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    gate = repository.after["insert"] = Gate()
    scheduling = node.scheduler.begin("remind", "Ann", at=START)
    await asyncio.to_thread(gate.reached.wait, 20)
    assert list(repository.rows) == ["t1"], "the row is there, and its id not known here yet"
    read = repository.after["get_updated_since"] = Gate()
    read.open()
    syncing = asyncio.create_task(node.sync())
    await asyncio.to_thread(read.reached.wait, 20)
    for _ in range(3):  # the answer of the read, if it came by itself, would come before these
        await node.mirror.load("t1")
    gate.open()
    assert await syncing == ({}, {})
    assert (await scheduling).id == "t1"
    assert len(node.scheduler.handles) == 1


async def test_h4_a_task_that_ends_amid_a_sync_is_not_brought_back(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = (await node.scheduler.begin("remind", "Ann", at=START)).id
    gate = repository.after["get_updated_since"] = Gate()
    syncing = asyncio.create_task(node.sync())
    await asyncio.to_thread(gate.reached.wait, 20)
    await asyncio.to_thread(node.scheduler.run, task_id)
    gate.open()
    assert await syncing == ({}, {})
    assert node.scheduler.handles == {}


async def test_h5_a_task_that_was_moved_in_the_repository_is_rescheduled(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    handle = await node.scheduler.begin("remind", "Ann", at=START)
    await node.sync()
    repository.change(handle.id, scheduled_time=LATER)
    assert await node.sync() == ({handle.id: handle}, {})
    assert handle.scheduled_time == LATER


async def test_h6_a_second_change_within_one_tick_of_the_stores_clock_is_seen(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = repository.put()
    handle = (await node.sync())[0][task_id]
    repository.change(task_id, same_tick=True, state=TaskState.CANCELLED)
    await node.sync()
    assert handle.cancel_reason == str(ExternalStateChangeError(task_id, TaskState.CANCELLED))


async def test_h7_an_instant_that_fills_a_part_does_not_stop_what_comes_after(new_node: NewNode) -> None:
    repository = SeedRepository(part_max=3)
    for _ in range(3):
        repository.put(last_modified=START)
    late = repository.put()
    node = new_node(repository)
    rescheduled, errors = await node.sync()
    assert (sorted(rescheduled), errors) == (["t1", "t2", "t3", late], {})


@WORKS
@pytest.mark.parametrize("state", [TaskState.CANCELLED, TaskState.FAILED])
async def test_h8_an_end_that_the_repository_refuses_is_told(
    repository: SeedRepository, new_node: NewNode, work_id: str, state: TaskState
) -> None:
    node = new_node(repository)
    task_id = (await node.scheduler.begin(work_id, "Ann", at=START)).id
    node.work = lambda _: repository.change(task_id, state=state)
    outcome = await asyncio.to_thread(node.scheduler.run, task_id)
    assert (outcome.ending, outcome.text) == (Ending.CANCELLED, str(ExternalStateChangeError(task_id, state)))
    assert isinstance(outcome.error, Cancel)
    assert repository.state(task_id) is state
    assert await node.storage.retry_marking()


async def test_h8_a_mark_that_had_happened_unanswered_counts_as_written(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = (await node.scheduler.begin("remind", "Ann", at=START)).id
    repository.lost_answers.append("mark_as_done")
    assert (await asyncio.to_thread(node.scheduler.run, task_id)).ending is Ending.RETURNED
    assert await node.storage.retry_marking()
    assert repository.calls.count(("mark_as_done", task_id)) == 1


async def test_h9_an_old_mark_does_not_end_a_later_life_of_the_task(
    shared: SharedSeedRepository, new_node: NewNode
) -> None:
    node = new_node(shared)
    task_id = (await node.scheduler.begin("remind", "Ann", at=START)).id
    shared.faults.append("mark_as_done")
    await asyncio.to_thread(node.scheduler.run, task_id)
    assert not (await node.sync())[0], "it is over: only its mark is missing"
    shared.change(task_id, state=TaskState.INITIALIZED)
    assert await node.storage.retry_marking()
    assert shared.state(task_id) is TaskState.INITIALIZED
    assert list((await node.sync())[0]) == [task_id]


async def test_h9_an_old_mark_does_not_end_a_task_that_was_moved(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    task_id = (await node.scheduler.begin("remind", "Ann", at=START)).id
    repository.faults.append("mark_as_done")
    await asyncio.to_thread(node.scheduler.run, task_id)
    repository.change(task_id, scheduled_time=LATER)
    assert list((await node.sync())[0]) == [task_id]
    assert await node.storage.retry_marking()
    assert repository.state(task_id) is TaskState.INITIALIZED


@WORKS
@pytest.mark.parametrize("error", [RuntimeError("boom"), SystemExit(3), KeyboardInterrupt()])
async def test_h10_however_the_work_ends_it_is_marked(
    shared: SharedSeedRepository, new_node: NewNode, work_id: str, error: BaseException
) -> None:
    node = new_node(shared)
    task_id = (await node.scheduler.begin(work_id, "Ann", at=START)).id

    def crash(_: str) -> None:
        raise error

    node.work = crash
    outcome = await asyncio.to_thread(node.scheduler.run, task_id)
    assert (outcome.ending, outcome.error) == (Ending.RAISED, error)
    assert shared.state(task_id) is TaskState.FAILED


def test_the_faults_of_the_repository_are_real(repository: SeedRepository) -> None:
    repository.faults.append("insert")
    with pytest.raises(Outage):
        asyncio.run(repository.insert(None))  # type: ignore[arg-type]
