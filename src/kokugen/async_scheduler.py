"""`AsyncScheduler`: the face for coroutines. The same parts, methods and promises as `Scheduler`, with `await`."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from functools import partial
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from kokugen.acceptance import check_delay, check_time, check_wait, check_work
from kokugen.clock import Clock, to_us
from kokugen.dispatcher.place import Place
from kokugen.engine.hooks import Hook
from kokugen.errors import KokugenError, NoEntryError, OptionError, UnknownOutcomeError, WaitTimeoutError
from kokugen.filters import PAGE, task_query
from kokugen.front import ASYNC_WORKERS, WORKERS, Front
from kokugen.handle import AsyncTaskHandle
from kokugen.limit import Limit
from kokugen.middleware.base import Middleware, ScheduleRequest
from kokugen.options import check_id
from kokugen.registry.functions import FunctionRegistry, WorkDecorator
from kokugen.registry.protocol import WorkRegistry
from kokugen.registry.work import Work
from kokugen.reply import Reply
from kokugen.repository.limit_rows import GateStatus
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import CancelAnswer, Retention, StoreHealth
from kokugen.runner import heed_signals, unheed_signals
from kokugen.scheduler import ANSWER_S
from kokugen.schedules.async_recurring import AsyncRecurring
from kokugen.settings import Settings
from kokugen.task import QUEUE_DEFAULT, Attempt, NodeInfo, Params, TaskInfo, TaskParam, replace
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from kokugen.within import AsyncTransaction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound=Hook)


class AsyncScheduler(AsyncRecurring):
    """As `Scheduler`. Async work runs on the loop that entered `async with` (or called `start`)."""

    def __init__(
        self,
        url: str | None = None,
        *,
        works: WorkRegistry | None = None,
        repository: DurableRepository | None = None,
        middleware: Sequence[Middleware] = (),
        queues: Sequence[str] = (QUEUE_DEFAULT,),
        queue_limits: Mapping[str, Limit | None] | None = None,
        namespace: str = "default",
        workers: int = WORKERS,
        async_workers: int = ASYNC_WORKERS,
        places: Sequence[Place] = (),
        settings: Settings | None = None,
        clock: Clock | None = None,
        label: str | None = None,
        shared: bool = True,
        should_restore: Callable[[TaskInfo], bool] | None = None,
        owner: str | None = None,
        task_storage: SingleNodeTaskStorage | None = None,
    ) -> None:
        self._front: Front[AsyncTaskHandle] = Front(
            lambda *told: AsyncTaskHandle(self, *told),
            url,
            works=works,
            repository=repository,
            middleware=middleware,
            queues=queues,
            queue_limits=queue_limits,
            namespace=namespace,
            workers=workers,
            async_workers=async_workers,
            places=places,
            settings=settings,
            clock=clock,
            label=label,
            shared=shared,
            should_restore=should_restore,
            owner=owner,
            task_storage=task_storage,
        )
        self._open = False

    @property
    def works(self) -> WorkRegistry:
        """Return the registry of the work that is declared here."""
        return self._front.parts.works

    @property
    def work(self) -> WorkDecorator:
        """Declare a function as work: `@scheduler.work`, or `@scheduler.work(id=…, retry=…)`."""
        if not isinstance(self.works, FunctionRegistry):
            raise OptionError("this scheduler was given a registry of its own: declare the work there")
        return self.works.work

    async def at(self, when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle:
        """Schedule a call of `work` at an aware instant; durable once awaited. As `Scheduler.at`."""
        us, zone, local = check_time(when)
        return await self._submit(us, work, args, kwargs, zone, local)

    async def after(self, delay: timedelta, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle:
        """Schedule a call of `work` after a delay from now. As `at`."""
        us = self._front.parts.clock.wall_us() + check_delay(delay)
        return await self._submit(us, work, args, kwargs, None, None)

    async def _submit(
        self, us: int, work: Work[P, R], args: Any, kwargs: Any, zone: str | None, local: str | None
    ) -> AsyncTaskHandle:
        known = check_work(work)
        request = ScheduleRequest(
            work_id=known.id,
            params=Params(args, kwargs),
            scheduled_time_us=us,
            options=known.declared,
            zone=zone,
            local_time=local,
        )
        front = await self._opened()
        return await _answer(front.submit(known, request), "scheduling")

    async def schedule(self, param: TaskParam) -> AsyncTaskHandle:
        """Schedule from plain data; the work need not be declared here. As `at`."""
        front = await self._opened()
        return await _answer(front.accept_param(param), "scheduling")

    async def schedule_many(self, params: Iterable[TaskParam]) -> list[AsyncTaskHandle]:
        """Schedule many in batches. All are checked first; a taken unique key raises after the rest was added."""
        front = await self._opened()
        handles: list[AsyncTaskHandle] = []
        failed: KokugenError | None = None
        for reply in front.accept_many(params):
            try:
                batch = await _answer(reply, "scheduling")
                handles += batch
            except KokugenError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return handles

    def within(self, connection: object) -> AsyncTransaction:
        """Schedule inside a transaction of yours, as `Scheduler.within`; an async connection is taken, too.

        PostgreSQL: also of asyncpg, psycopg's AsyncConnection, SQLAlchemy's AsyncSession and AsyncConnection.
        """
        return AsyncTransaction(self._front, self._opened, connection)

    def schedule_request(self, request: ScheduleRequest) -> Reply[AsyncTaskHandle]:
        """Schedule what a task storage restores: the form that its `sync` takes."""
        return self._front.accept(request)

    @property
    def repository(self) -> DurableRepository:
        """Return the store's repository."""
        return self._front.parts.repository

    @property
    def url(self) -> str:
        """Return the store's address, without secrets."""
        return self.repository.url

    async def get(self, task_id: str) -> TaskInfo:
        """Return a task as it is now. Raises NoEntryError."""
        found = await self._read(lambda: self.repository.get([check_id(task_id)]))
        if not found:
            raise NoEntryError(task_id)
        return found[0]

    async def handle(self, task_id: str) -> AsyncTaskHandle:
        """Return a handle of a stored task. Raises NoEntryError."""
        info = await self.get(task_id)
        return AsyncTaskHandle(self, info.id, info.work_id, to_us(info.scheduled_time), info.state)

    async def tasks(self, *, limit: int | None = None, **filters: Any) -> AsyncIterator[TaskInfo]:
        """Yield tasks in order of due time, page by page; filters as `Scheduler.tasks`."""
        query = task_query(limit=limit, **filters)
        left = limit
        while left is None or left > 0:
            page = await self._read(partial(self.repository.page, query))
            for info in page if left is None else page[:left]:
                yield info
            if len(page) < query.limit:
                return
            left = None if left is None else left - len(page)
            query = replace(query, after=(to_us(page[-1].due_at or page[-1].scheduled_time), page[-1].id))

    async def count(self, **filters: Any) -> int:
        """Return how many tasks fit the filters of `tasks`."""
        query = task_query(**filters)
        return await self._read(lambda: self.repository.count(query))

    async def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task that did not simply succeed."""
        return await self._read(lambda: self.repository.attempts(check_id(task_id)))

    async def health(self) -> StoreHealth:
        """Return what the store says of itself."""
        return await self._read(self.repository.health)

    async def nodes(self) -> list[NodeInfo]:
        """Return the nodes that work, or worked, on the store, newest first."""
        return await self._read(self.repository.nodes)

    async def limits(self) -> list[GateStatus]:
        """Return the limits that are declared or at work in the store: who has their places, and how many wait."""
        return await self._read(self._front.limits)

    async def wait(self, task_id: str, timeout: timedelta | None = None) -> TaskInfo:
        """Wait until a task is over and return it. Raises NoEntryError, WaitTimeoutError."""
        wait_s = check_wait("timeout", timeout)
        info = await self.get(task_id)
        if info.state.terminal:
            return info
        ended = self._front.waits.wait(task_id)
        try:
            async with asyncio.timeout(wait_s):
                return await ended
        except TimeoutError as error:
            if ended.done():  # it came at the last moment
                return ended.peek()
            label = (await self.get(task_id)).state.label
            raise WaitTimeoutError(f"task {task_id} is {label} still, after {timeout}") from error
        finally:
            self._front.waits.forget(task_id, ended)

    async def result(self, task_id: str, timeout: timedelta | None = None) -> Any:
        """Wait until a task is over and return what its work returned. Raises TaskFailedError, WaitTimeoutError."""
        return self._front.result_of(await self.wait(task_id, timeout))

    async def cancel(
        self, *task_ids: str, reason: str | None = None, force: bool = False, by: str | None = None
    ) -> list[CancelAnswer]:
        """Cancel tasks; one answer an id. A running one is asked to stop, or with `force` fenced at once."""
        front = await self._opened()
        return await _answer(front.cancel(task_ids, reason=reason, force=force, by=by), "cancelling")

    async def cancel_all(self, *, reason: str | None = None, **filters: Any) -> int:
        """Cancel every waiting task that fits the filters of `tasks`; return how many."""
        ids = [info.id async for info in self.tasks(**{"state": "Initialized", **filters})]
        answers = [await self.cancel(*ids[start : start + PAGE], reason=reason) for start in range(0, len(ids), PAGE)]
        return sum(one.result.value == "cancelled" for batch in answers for one in batch)

    async def reschedule(self, task_id: str, when: datetime, by: str | None = None) -> int:
        """Move a waiting task; return its new time in microseconds. Raises NotUpdatableStateError."""
        front = await self._opened()
        return await _answer(front.reschedule(task_id, when, by), "rescheduling")

    async def revive(self, *task_ids: str, when: datetime | None = None, by: str | None = None) -> list[str]:
        """Make ended tasks wait again; return the ids of those that do."""
        front = await self._opened()
        return await _answer(front.revive(task_ids, when, by), "reviving")

    async def revive_all(self, *, when: datetime | None = None, by: str | None = None, **filters: Any) -> int:
        """Make every task wait again that fits the filters of `tasks`, Failed ones if not said; return how many."""
        ids = [info.id async for info in self.tasks(**{"state": "Failed", **filters})]
        batches = [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]
        return sum([len(await self.revive(*batch, when=when, by=by)) for batch in batches])

    async def release(self, task_id: str, by: str | None = None) -> int:
        """Take a task out of its hold; return its new revision."""
        front = await self._opened()
        return await _answer(front.release(task_id, by), "releasing")

    async def prune(self, retention: Retention) -> int:
        """Delete one batch of ended tasks; return how many."""
        front = await self._opened()
        return await _answer(front.parts.repository.prune(retention), "pruning")

    def on_failed(self, hook: H) -> H:
        """Call `hook(RunEvent)` for every attempt that failed, on a thread of its own."""
        self._front.parts.hooks.add("failed", hook)
        return hook

    def on_dead(self, hook: H) -> H:
        """Call `hook(RunEvent)` for every task that is Failed for good."""
        self._front.parts.hooks.add("dead", hook)
        return hook

    def on_late(self, hook: H) -> H:
        """Call `hook(RunEvent)` for every run that started more than `settings.late_s` after it was due."""
        self._front.parts.hooks.add("late", hook)
        return hook

    def on_quarantined(self, hook: H) -> H:
        """Call `hook(RunEvent)` for every task that is held back, because its stored arguments cannot be read."""
        self._front.parts.hooks.add("quarantined", hook)
        return hook

    def on_superseded(self, hook: H) -> H:
        """Call `hook(RunEvent)` for every run whose outcome the store refused: its task is another run's by now."""
        self._front.parts.hooks.add("superseded", hook)
        return hook

    def configure(self, *, workers: int | None = None, queues: Sequence[str] | None = None) -> None:
        """Change how many workers it starts with, and which queues it serves: `kokugen worker` does.

        Raises OptionError, and SchedulerStateError while it runs.
        """
        self._front.runner.configure(workers, queues)

    async def open(self) -> None:
        """Open the store now rather than at first use. Raises RepositoryError."""
        await self._opened()

    async def start(self) -> None:
        """Run what is due from now on; async work on this loop."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._front.runner.start, loop)

    async def stop(self, grace: timedelta | None = None) -> bool:
        """Stop as `Scheduler.stop`; this loop goes on meanwhile, so that async work can end."""
        self._front.runner.ask_to_stop(check_wait("grace", grace))
        return await asyncio.to_thread(self._front.runner.join)

    async def abandon(self) -> int:
        """Say that the runs which would not stop end with this process, as `Scheduler.abandon` does."""
        return await _answer(self._front.runner.abandon(), "abandoning runs")

    async def close(self) -> None:
        """Stop, and release the store."""
        if self.running:
            await self.stop()
        self._open = False
        await asyncio.to_thread(self._front.parts.close)

    @property
    def running(self) -> bool:
        """Return whether it runs work in this process."""
        return self._front.runner.running

    @property
    def active(self) -> int:
        """Return how many runs are under way in this process."""
        return self._front.runner.active

    def ping(self, heard: Callable[[], object]) -> None:
        """Have `heard()` called by the engine in a moment, on its own thread: for a watchdog. One that hangs does not.

        Where no work runs in this process nothing is called.
        """
        self._front.runner.ping(heard)

    def add_workers(self, count: int = 1) -> int:
        """Add workers for sync work while running; return how many there are."""
        return self._front.runner.add_workers(count)

    def remove_workers(self, count: int = 1) -> int:
        """Remove workers as they come free, at most all but one; return how many there are."""
        return self._front.runner.remove_workers(count)

    async def retry_marking(self) -> bool:
        """Try to write the outcomes that could not be written; return whether all are (the seed's RetryMarking)."""
        return await asyncio.to_thread(self._front.runner.retry_marking)

    async def run(self) -> None:
        """Start if needed, wait for SIGTERM or SIGINT, stop. Only a loop in the main thread can.

        Returns early where it is stopped meanwhile, and raises SchedulerStateError where it stopped by an error.
        """
        loop, asked = asyncio.get_running_loop(), asyncio.Event()

        def ask(*_: object) -> None:
            loop.call_soon_threadsafe(asked.set)

        previous = heed_signals(ask)
        try:
            if not self.running:
                await self.start()
            while not await _is_set(asked, within_s=0.5):
                if not self.running:
                    self._front.runner.check_alive()
                    return
        finally:
            unheed_signals(previous)
            await self.close()

    async def _ask(self, ask: Callable[[], Reply[T]]) -> T:
        await self._opened()
        return await self._read(ask)

    async def _opened(self) -> Front[AsyncTaskHandle]:
        """Return the parts with their store open. Opening may wait for a file's lock, so it is not for this loop."""
        if not self._open:
            await asyncio.to_thread(self.repository.open)
            self._open = True
        return self._front

    @staticmethod
    async def _read(ask: Callable[[], Reply[T]]) -> T:
        """Return the answer to a question. A store may read while it is asked, so it is not asked on this loop."""
        return await (await asyncio.to_thread(ask))

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()


async def _is_set(event: asyncio.Event, within_s: float) -> bool:
    try:
        async with asyncio.timeout(within_s):
            return await event.wait()
    except TimeoutError:
        return event.is_set()


async def _answer(reply: Reply[T], what: str) -> T:
    try:
        async with asyncio.timeout(ANSWER_S):
            return await reply
    except TimeoutError as error:
        if reply.done():  # it came at the last moment, or is such an error itself
            return reply.peek()
        raise UnknownOutcomeError(what, reply.about) from error
