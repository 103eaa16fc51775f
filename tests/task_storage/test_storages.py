from __future__ import annotations

import asyncio
from contextvars import ContextVar
from datetime import timedelta
from typing import Any

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.errors import (
    MiddlewareOrderError,
    NonexistentWorkIdError,
    OptionError,
    OtherNodeWorkingError,
    SchedulerStateError,
    WorkArgumentsError,
)
from kokugen.middleware.base import Middleware, ScheduleNext, ScheduleRequest
from kokugen.registry.functions import FunctionRegistry
from kokugen.reply import Reply
from kokugen.retry import Retry
from kokugen.run import Cancel, Interrupt, RetryAfter, Snooze
from kokugen.task import Params, TaskInfo, TaskState
from kokugen.task_storage.multi_node import MultiNodeTaskStorage
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from tests.task_storage.conftest import NewNode
from tests.task_storage.memory_scheduler import MemoryScheduler
from tests.task_storage.seed_repository import START, Outage, SeedRepository, SharedSeedRepository

WORKS = pytest.mark.parametrize("work_id", ["remind", "aremind"])


def raising(error: BaseException) -> Any:
    def work(_: str) -> None:
        raise error

    return work


@WORKS
@pytest.mark.parametrize("free_param", [False, True])
@pytest.mark.parametrize("kind", [SeedRepository, SharedSeedRepository])
def test_a_task_is_stored_run_and_marked(
    kind: type[SeedRepository], new_node: NewNode, work_id: str, free_param: bool
) -> None:
    node = new_node(kind(), free_param=free_param)
    handle = node.scheduler.schedule(work_id, "Ann", at=START)
    stored = node.repository.rows[handle.id]
    assert (stored.work_id, stored.param, stored.scheduled_time) == (work_id, Params(("Ann",)), START)
    assert node.scheduler.run(handle.id).ending is Ending.RETURNED
    assert (node.ran, node.repository.state(handle.id)) == (["Ann"], TaskState.DONE)


def test_on_several_nodes_one_runs_a_task_and_the_others_mark_nothing(
    shared: SharedSeedRepository, new_node: NewNode
) -> None:
    nodes = [new_node(shared) for _ in range(3)]
    task_id = nodes[0].scheduler.schedule("remind", "Ann", at=START).id
    for node in nodes[1:]:
        asyncio.run(node.sync())
    outcomes = [node.scheduler.run(task_id) for node in nodes]
    assert [len(node.ran) for node in nodes] == [1, 0, 0]
    assert [one.ending for one in outcomes[1:]] == [Ending.CANCELLED] * 2
    assert isinstance(outcomes[1].error, Cancel)
    assert isinstance(outcomes[1].error.__cause__, OtherNodeWorkingError)
    assert [call[0] for call in shared.calls if call[0].startswith("mark")] == ["mark_as_done"]


@pytest.mark.parametrize("free_param", [False, True])
def test_arguments_are_freed_until_the_work_is_called(
    repository: SeedRepository, new_node: NewNode, free_param: bool
) -> None:
    node = new_node(repository, free_param=free_param)
    request = node.scheduler.schedule("remind", "Ann", at=START).request
    assert (request.params, request.freed) == ((Params(), True) if free_param else (Params(("Ann",)), False))


@WORKS
def test_arguments_that_cannot_be_loaded_now_are_loaded_later(
    shared: SharedSeedRepository, new_node: NewNode, work_id: str
) -> None:
    node = new_node(shared, free_param=True)
    task_id = node.scheduler.schedule(work_id, "Ann", at=START).id
    shared.faults.append("get_by_id")
    assert node.scheduler.run(task_id).ending is Ending.SNOOZED
    assert shared.state(task_id) is TaskState.INITIALIZED
    assert node.scheduler.run(task_id).ending is Ending.RETURNED


def test_a_task_that_was_deleted_from_the_repository_does_not_run(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository, free_param=True)
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id
    del repository.rows[task_id]
    assert (node.scheduler.run(task_id).ending, node.ran) == (Ending.CANCELLED, [])
    assert asyncio.run(node.storage.retry_marking())


def test_the_loader_refuses_any_other_place(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    store, load = node.storage.middleware(free_param=True)
    for wrong in ([load], [load, store]):
        with pytest.raises(MiddlewareOrderError, match="order"):
            MemoryScheduler(node.works, wrong).schedule("remind", "Ann", at=START)
    assert repository.rows == {}
    scheduler = MemoryScheduler(node.works, [store])
    task_id = scheduler.schedule("remind", "Ann", at=START).id
    with pytest.raises(MiddlewareOrderError, match="order"):
        load.work(scheduler.make_run(task_id), lambda run: None)


@WORKS
@pytest.mark.parametrize(
    ("error", "ending", "state"),
    [
        (RuntimeError("boom"), Ending.RAISED, TaskState.FAILED),
        (Cancel("enough"), Ending.CANCELLED, TaskState.CANCELLED),
        (Snooze(timedelta(1)), Ending.SNOOZED, TaskState.INITIALIZED),
        (RetryAfter(timedelta(1)), Ending.RETRY_AFTER, TaskState.FAILED),
    ],
)
def test_the_mark_says_how_the_work_ended(
    shared: SharedSeedRepository, new_node: NewNode, work_id: str, error: Exception, ending: Ending, state: TaskState
) -> None:
    node = new_node(shared)
    task_id = node.scheduler.schedule(work_id, "Ann", at=START).id
    node.work = raising(error)
    assert node.scheduler.run(task_id).ending is ending
    assert shared.state(task_id) is state


def test_a_task_with_attempts_left_is_given_back_and_runs_again(
    shared: SharedSeedRepository, new_node: NewNode
) -> None:
    node = new_node(shared)
    works = FunctionRegistry()
    works.work(id="remind", retry=Retry(2))(node._remind)
    node.scheduler.works = works
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id
    node.work = raising(RuntimeError("boom"))
    handle = node.scheduler.handles[task_id]
    node.scheduler.run(task_id, max_attempts=2)
    assert shared.state(task_id) is TaskState.INITIALIZED
    node.scheduler.handles[task_id] = handle
    node.scheduler.run(task_id, max_attempts=2)
    assert (len(node.ran), shared.state(task_id)) == (2, TaskState.FAILED)


def test_a_task_that_cannot_be_given_back_stays_this_nodes_and_runs_again(
    shared: SharedSeedRepository, new_node: NewNode
) -> None:
    node = new_node(shared)
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id

    def snooze_in_an_outage(_: str) -> None:
        shared.faults.append("update_state")
        raise Snooze(timedelta(1))

    node.work = snooze_in_an_outage
    node.scheduler.run(task_id)
    assert shared.state(task_id) is TaskState.WORKING
    node.work = lambda _: None
    assert node.scheduler.run(task_id).ending is Ending.RETURNED
    assert shared.state(task_id) is TaskState.DONE


def test_a_run_that_was_stopped_is_given_back(shared: SharedSeedRepository, new_node: NewNode) -> None:
    node = new_node(shared)
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id
    run = node.scheduler.make_run(task_id)
    run.ask_to_stop(Interrupt.STOP)
    with pytest.raises(asyncio.CancelledError):
        node.storage.middleware()[0].work(run, raising(asyncio.CancelledError()))
    assert shared.state(task_id) is TaskState.INITIALIZED


def test_a_failed_mark_is_kept_until_retry_marking_has_written_it(
    repository: SeedRepository, new_node: NewNode
) -> None:
    node = new_node(repository)
    first, second = (node.scheduler.schedule("remind", "Ann", at=START).id for _ in range(2))
    repository.faults += ["mark_as_done"] * 2
    assert node.scheduler.run(first).ending is Ending.RETURNED
    assert node.scheduler.run(second).ending is Ending.RETURNED
    repository.faults.append("mark_as_done")
    assert not asyncio.run(node.storage.retry_marking())
    assert asyncio.run(node.storage.retry_marking())
    assert (repository.state(first), repository.state(second)) == (TaskState.DONE, TaskState.DONE)


def test_a_stale_run_marks_nothing(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id
    mirror = node.mirror
    stale, fresh = node.scheduler.make_run(task_id), node.scheduler.make_run(task_id)
    entry = mirror.begin(stale).result()
    mirror.begin(fresh).result()
    assert mirror.finish(entry, stale, TaskState.FAILED).result() is None
    assert repository.state(task_id) is TaskState.INITIALIZED


def test_a_cancelled_task_is_marked_and_never_runs(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    task_id = node.scheduler.schedule("remind", "Ann", at=START).id
    assert node.storage.mark_cancelled(task_id).result(20)
    assert not node.storage.mark_cancelled(task_id).result(20)
    assert repository.state(task_id) is TaskState.CANCELLED
    assert (node.scheduler.run(task_id).ending, node.ran) == (Ending.CANCELLED, [])


def test_a_task_that_cannot_be_stored_is_not_scheduled(repository: SeedRepository, new_node: NewNode) -> None:
    node = new_node(repository)
    repository.faults.append("insert")
    with pytest.raises(Outage):
        node.scheduler.schedule("remind", "Ann", at=START)
    with pytest.raises(NonexistentWorkIdError):
        node.scheduler.schedule("unknown", at=START)
    with pytest.raises(WorkArgumentsError):
        node.scheduler.schedule("remind", "Ann", "Bob", at=START)
    with pytest.raises(OptionError, match="makes the ids"):
        node.scheduler.schedule("remind", "Ann", at=START, id="mine")
    assert (node.scheduler.handles, repository.rows) == ({}, {})


def test_inner_middleware_sees_the_callers_context(repository: SeedRepository, new_node: NewNode) -> None:
    tenant: ContextVar[str] = ContextVar("tenant", default="none")
    seen: list[str] = []

    class Look(Middleware):
        def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
            seen.append(tenant.get())
            return call_next(request)

    node = new_node(repository)
    tenant.set("seven")
    MemoryScheduler(node.works, [*node.storage.middleware(), Look()]).schedule("remind", at=START)
    assert seen == ["seven"]


@pytest.mark.parametrize("kind", [SingleNodeTaskStorage, MultiNodeTaskStorage])
def test_what_lacks_a_method_of_the_seed_is_refused_and_told_which_there_are(kind: type[SingleNodeTaskStorage]) -> None:
    with pytest.raises(OptionError, match="object is no repository: it needs insert, get_updated_since"):
        kind(object(), work_registry=FunctionRegistry())  # type: ignore[arg-type]  # it is to be refused


def test_several_nodes_need_compare_and_swap(repository: SeedRepository) -> None:
    with pytest.raises(OptionError, match="update_state"):
        MultiNodeTaskStorage(repository, work_registry=FunctionRegistry())


class DurableSeedRepository(SharedSeedRepository):
    def claim(self, request: Any) -> Reply[Any]:
        raise NotImplementedError


class LeasedTwin:
    async def sync(self) -> tuple[dict[str, TaskInfo], dict[str, Exception]]:
        return {}, {"t1": ValueError("x")}

    async def flush(self) -> bool:
        return False


@pytest.mark.parametrize("kind", [SingleNodeTaskStorage, MultiNodeTaskStorage])
async def test_over_a_repository_that_leases_the_engines_policy_does_it(kind: type[SingleNodeTaskStorage]) -> None:
    storage = kind(DurableSeedRepository(), work_registry=FunctionRegistry())
    assert (storage.mirrors, storage.middleware(free_param=True)) == (False, [])
    with pytest.raises(SchedulerStateError, match="start"):
        await storage.sync(lambda request: None)
    storage.durable = LeasedTwin()
    assert list((await storage.sync(lambda request: None))[1]) == ["t1"]
    assert not await storage.retry_marking()
    assert not storage.mark_cancelled("t1").result()
    storage.close()


def test_only_several_nodes_share() -> None:
    assert (SingleNodeTaskStorage.shared, MultiNodeTaskStorage.shared) == (False, True)
