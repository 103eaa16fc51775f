from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.errors import CodecError, ExternalStateChangeError, NonexistentWorkIdError, SchedulerStateError
from kokugen.middleware.base import ScheduleRequest
from kokugen.task import Params, TaskState, replace
from tests.task_storage.conftest import NewNode
from tests.task_storage.seed_repository import START, Gate, Outage, SeedRepository, SharedSeedRepository

LATER = START + timedelta(hours=1)


async def test_what_waits_is_restored_and_runs_with_its_id_time_and_arguments(
    repository: SeedRepository, new_node: NewNode
) -> None:
    task_id = repository.put(param={"who": "Bob"})
    over = [repository.put(state=state) for state in TaskState if state is not TaskState.INITIALIZED]
    node = new_node(repository)
    rescheduled, errors = await node.sync()
    assert (list(rescheduled), errors, len(over)) == ([task_id], {}, 4)
    assert rescheduled[task_id].scheduled_time == START
    await asyncio.to_thread(node.scheduler.run, task_id)
    assert (node.ran, repository.state(task_id)) == (["Bob"], TaskState.DONE)
    assert await node.sync() == ({}, {})


@pytest.mark.parametrize(
    "param", ['{"args":["Bob"]}', b'{"kwargs":{"who":"Bob"}}', ["Bob"], {"who": "Bob"}, Params(("Bob",))]
)
async def test_arguments_may_come_back_as_values_or_as_text(
    repository: SeedRepository, new_node: NewNode, param: Any
) -> None:
    node = new_node(repository)
    task_id = repository.put(param=param)
    await node.sync()
    await asyncio.to_thread(node.scheduler.run, task_id)
    assert node.ran == ["Bob"]


@pytest.mark.parametrize("param", ["nonsense", b"\xff", 7])
async def test_arguments_that_cannot_be_read_are_reported_and_stop_no_other_task(
    repository: SeedRepository, new_node: NewNode, param: Any
) -> None:
    node = new_node(repository)
    bad, good = repository.put(param=param), repository.put()
    rescheduled, errors = await node.sync()
    assert list(rescheduled) == [good]
    assert isinstance(errors[bad], CodecError)
    assert repository.state(bad) is TaskState.INITIALIZED


async def test_unknown_work_is_reported_and_restored_once_it_is_declared(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = repository.put("later")
    for _ in range(2):
        rescheduled, errors = await node.sync()
        assert (rescheduled, list(errors)) == ({}, [task_id])
        assert isinstance(errors[task_id], NonexistentWorkIdError)
    node.works.work(id="later")(lambda: None)
    assert list((await node.sync())[0]) == [task_id]


async def test_a_task_that_the_scheduler_refuses_is_tried_again_by_the_next_sync(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = repository.put()
    node.scheduler.refusal = SchedulerStateError("the queue is full")
    assert isinstance((await node.sync())[1][task_id], SchedulerStateError)
    assert repository.state(task_id) is TaskState.INITIALIZED
    node.scheduler.refusal = None
    assert list((await node.sync())[0]) == [task_id]


async def test_a_repository_that_cannot_be_read_raises_and_the_next_sync_misses_nothing(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = repository.put()
    repository.faults.append("get_updated_since")
    with pytest.raises(Outage):
        await node.sync()
    assert list((await node.sync())[0]) == [task_id]


async def test_should_restore_decides_what_comes_back(repository: SeedRepository, new_node: NewNode) -> None:
    old, new = repository.put(), repository.put(scheduled_time=LATER)
    node = new_node(repository, should_restore=lambda info: info.scheduled_time > START)
    assert list((await node.sync())[0]) == [new]
    assert repository.state(old) is TaskState.INITIALIZED


async def test_the_context_wrapper_changes_the_restored_requests(repository: SeedRepository, new_node: NewNode) -> None:
    def urgent(request: ScheduleRequest) -> ScheduleRequest:
        changed: ScheduleRequest = replace(request, options=request.options.merged(priority=3))
        return changed

    node = new_node(repository, sync_context_wrapper=urgent)
    task_id = repository.put()
    handle = (await node.sync())[0][task_id]
    assert handle.request.options.priority == 3


@pytest.mark.parametrize("state", [TaskState.WORKING, TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED])
async def test_a_waiting_task_that_was_ended_elsewhere_is_cancelled_and_never_runs(
    repository: SeedRepository, new_node: NewNode, state: TaskState
) -> None:
    node = new_node(repository)
    handle = await node.scheduler.begin("remind", "Ann", at=LATER)
    repository.change(handle.id, state=state)
    assert await node.sync() == ({}, {})
    assert handle.cancel_reason == str(ExternalStateChangeError(handle.id, state))
    outcome = await asyncio.to_thread(node.scheduler.run, handle.id)
    assert (outcome.ending, node.ran, repository.state(handle.id)) == (Ending.CANCELLED, [], state)


async def test_a_running_task_is_left_alone_until_it_was_ended_elsewhere(
    shared: SharedSeedRepository, new_node: NewNode
) -> None:
    node = new_node(shared)
    handle = await node.scheduler.begin("remind", "Ann", at=START)
    task_id, gate = handle.id, Gate()
    node.work = lambda _: asyncio.run(gate.pass_through())
    running = asyncio.create_task(asyncio.to_thread(node.scheduler.run, task_id))
    await asyncio.to_thread(gate.reached.wait, 20)
    assert await node.sync() == ({}, {})
    assert handle.cancel_reason is None
    shared.change(task_id, state=TaskState.CANCELLED)
    await node.sync()
    assert handle.cancel_reason == str(ExternalStateChangeError(task_id, TaskState.CANCELLED))
    gate.open()
    assert (await running).ending is Ending.CANCELLED


async def test_a_running_task_that_was_ended_and_revived_elsewhere_is_not_started_beside_itself(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id, gate = (await node.scheduler.begin("remind", "Ann", at=START)).id, Gate()
    node.work = lambda _: asyncio.run(gate.pass_through())
    running = asyncio.create_task(asyncio.to_thread(node.scheduler.run, task_id))
    await asyncio.to_thread(gate.reached.wait, 20)
    for state in (TaskState.CANCELLED, TaskState.INITIALIZED):
        repository.change(task_id, state=state)
        assert await node.sync() == ({}, {})
    gate.open()
    await running
    assert node.ran == ["Ann"]


async def test_a_task_that_was_revived_in_the_repository_is_scheduled_again(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    task_id = (await node.scheduler.begin("remind", "Ann", at=START)).id
    await asyncio.to_thread(node.scheduler.run, task_id)
    await node.sync()
    repository.change(task_id, state=TaskState.INITIALIZED)
    assert list((await node.sync())[0]) == [task_id]


async def test_syncs_at_the_same_time_restore_each_task_once(repository: SeedRepository, new_node: NewNode) -> None:
    ids = [repository.put() for _ in range(20)]
    node = new_node(repository)
    answers = await asyncio.gather(*(node.sync() for _ in range(4)))
    assert sorted(key for rescheduled, _ in answers for key in rescheduled) == sorted(ids)


async def test_what_sync_schedules_through_may_be_async(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    task_id = repository.put()

    async def schedule(request: ScheduleRequest) -> Any:
        return await node.scheduler.schedule_request(request)

    assert list((await node.storage.sync(schedule))[0]) == [task_id]
