"""What both faces share: the parts, assembled; the acceptance of tasks; the engine's thread.

Every method that asks the store returns a `Reply`: `Scheduler` blocks on it, `AsyncScheduler` awaits it. Nobody
writes rows behind its back: the faces, the CLI and the task storages all schedule through `accept`.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import datetime
from threading import Event, Thread
from typing import Any, Generic, TypeVar, cast

from kokugen.acceptance import check_queues, check_time, check_workers, request_of, row_of
from kokugen.agenda import Agenda
from kokugen.clock import Clock, SystemClock
from kokugen.codec import cut_error, decode_value
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.call import call_work
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.engine.engine import Engine
from kokugen.engine.hooks import Hooks
from kokugen.errors import (
    DuplicateTaskError,
    NotUpdatableStateError,
    OptionError,
    SchedulerStateError,
    TaskFailedError,
)
from kokugen.ids import IdSource, system_random
from kokugen.middleware.base import CancelWatcher, Middleware, ScheduleRequest, WorkNext, schedule_chain, work_chain
from kokugen.options import check_name
from kokugen.process import this_node
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.reply import Reply, ahead, gather
from kokugen.repository.locate import clock_of, open_repository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import (
    Added,
    AddResult,
    CancelAnswer,
    CancelRequest,
    CancelResult,
    NewTask,
    Revision,
)
from kokugen.settings import Settings
from kokugen.task import TaskInfo, TaskParam, TaskState
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.task_storage.single_node import SingleNodeTaskStorage

VERSION = "0.1.0"
WORKERS = 10
ASYNC_WORKERS = 100
BATCH = 1000
BATCHES_AHEAD = 10

H = TypeVar("H")
T = TypeVar("T")


class Front(Generic[H]):
    """The parts of one scheduler. `handle` makes what `accept` answers with."""

    def __init__(
        self,
        handle: Callable[[str, str, int], H],
        url: str | None,
        *,
        works: WorkRegistry | None,
        repository: DurableRepository | None,
        middleware: Sequence[Middleware],
        queues: Sequence[str],
        namespace: str,
        workers: int,
        async_workers: int,
        settings: Settings | None,
        clock: Clock | None,
        label: str | None,
        shared: bool,
        should_restore: Callable[[TaskInfo], bool] | None,
        task_storage: SingleNodeTaskStorage | None = None,
    ) -> None:
        if task_storage is not None:
            works = works or task_storage.work_registry
            middleware = (*task_storage.middleware(), *middleware)
            shared, should_restore = task_storage.shared, task_storage.should_restore
            url, repository = self._store_of(task_storage, url, repository)
        self.works: WorkRegistry = FunctionRegistry() if works is None else works
        self.settings = settings or Settings()
        self.clock = clock_of(repository, clock or SystemClock())
        self.random = system_random()
        self.ids = IdSource(self.clock, system_random())
        self.hooks = Hooks()
        self.middleware = tuple(middleware)
        self.queues = check_queues(queues)
        self.engine: Engine | None = None
        self.storage: LeasedTasks | None = None
        self._repository = repository
        self._url = url
        self._namespace = check_name("namespace", namespace)
        self._workers = check_workers("workers", workers)
        self._async_workers = check_workers("async_workers", async_workers)
        self._label = label
        self._shared = shared
        self._should_restore = should_restore
        self.handle_of = handle
        self.agenda = Agenda(self)
        self._dispatchers: list[Dispatcher] = []
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._pid = 0
        self._clean = True
        self._chain = schedule_chain(self.middleware, self._add_one) if self.middleware else None
        self._cancel_watchers = [one for one in self.middleware if isinstance(one, CancelWatcher)]

    # -- The store

    def _store_of(
        self, task_storage: SingleNodeTaskStorage, url: str | None, repository: DurableRepository | None
    ) -> tuple[str | None, DurableRepository | None]:
        """Return where tasks are: in the storage's repository, or in memory where the storage mirrors them there."""
        if url is not None or repository is not None:
            raise OptionError("the task storage says where tasks are: give no url and no repository beside it")
        if task_storage.mirrors:
            return "memory://", None
        task_storage.durable = self
        return None, cast("DurableRepository", task_storage.repository)

    async def sync(self) -> tuple[dict[str, TaskInfo], dict[str, Exception]]:
        """Do what a task storage's `sync` does over a repository that is leased from."""
        if self.storage is None or self.engine is None:
            raise SchedulerStateError("only a scheduler that runs restores tasks: start it first")
        found = await self.storage.sync()
        self.engine.hint(0)
        return found

    async def flush(self) -> bool:
        """Do what a task storage's `retry_marking` does over a repository that is leased from."""
        return await asyncio.to_thread(self.retry_marking)

    @property
    def repository(self) -> DurableRepository:
        """Return the store's repository, made at first use. Raises OptionError for a bad URL."""
        if self._repository is None:
            url = self._url or os.environ.get("KOKUGEN_URL")
            if not url:
                raise OptionError("no store: give Scheduler('sqlite:///file.db') a URL, or set KOKUGEN_URL")
            self._repository = open_repository(url, namespace=self._namespace, clock=self.clock)
            self.clock = clock_of(self._repository, self.clock)
        return self._repository

    # -- Accepting tasks

    def work_of(self, work_id: str) -> Work | None:
        """Return the work declared here, or None."""
        found = self.works.load(work_id)
        return None if found is None else as_work(work_id, found)

    def submit(self, work: Work, request: ScheduleRequest) -> Reply[H]:
        """Accept a task of declared work."""
        if self._chain is not None:
            return self._chain(request)
        return self._add(row_of(request, self.ids.task_id(), work))

    def accept(self, request: ScheduleRequest) -> Reply[H]:
        """Accept a task, through the middleware. The caller's arguments are checked before anything is stored."""
        return (self._chain or self._add_one)(request)

    def accept_param(self, param: TaskParam) -> Reply[H]:
        """Accept a task given in plain data."""
        return self.accept(self.request(param))

    def accept_many(self, params: Iterable[TaskParam]) -> Iterator[Reply[list[H]]]:
        """Accept many tasks in batches; each batch is one statement. All are checked before the first is stored.

        Wait for each reply before you take the next: a few batches are always on their way, but never all, so that
        other calls, claims among them, need not wait for the last. Middleware sees tasks one by one; one that it
        refuses keeps back no other.
        """
        if self._chain is not None:
            return ahead(map(self._in_turn, [self.request(param) for param in params]), BATCH)
        rows = [self._row_of(param) for param in params]
        batches = (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))
        return ahead(map(self._add_batch, batches), BATCHES_AHEAD)

    def _in_turn(self, request: ScheduleRequest) -> Reply[list[H]]:
        try:
            return self.accept(request).then(lambda one: [one])
        except Exception as error:  # noqa: BLE001 - it is the answer for this one
            return Reply.failed(error)

    def request(self, param: TaskParam) -> ScheduleRequest:
        """Return the request for plain data."""
        work = self.work_of(param.work_id)
        return request_of(param, work.declared if work is not None else None)

    def row(self, request: ScheduleRequest) -> NewTask:
        """Return the row to add."""
        return row_of(request, self.ids.task_id(), self.work_of(request.work_id))

    def _row_of(self, param: TaskParam) -> NewTask:
        work = self.work_of(param.work_id)
        return row_of(request_of(param, work.declared if work is not None else None), self.ids.task_id(), work)

    def _add_one(self, request: ScheduleRequest) -> Reply[H]:
        row = self.row(request)
        return self._add(row) if not request.restored else self._restore(row)

    def _restore(self, row: NewTask) -> Reply[H]:
        """Add a task that waits elsewhere; where it is over here, from an earlier life of it, it waits again."""

        def wait_again(answers: list[Added]) -> Reply[H]:
            handle = self.to_handle(row, answers[0])
            if answers[0].result is not AddResult.EXISTED:
                return Reply.of(handle)
            return self.repository.revive([row.id], due_at=row.due_at).then(lambda _: handle)

        return self.repository.add([row]).on((row.id,)).and_then(wait_again)

    def _add(self, row: NewTask) -> Reply[H]:
        added = self.repository.add([row]).on((row.id,))
        return added.then(lambda answers: self.to_handle(row, answers[0]))

    def _add_batch(self, rows: list[NewTask]) -> Reply[list[H]]:
        added = self.repository.add(rows).on(tuple(row.id for row in rows))
        return added.then(lambda answers: [self.to_handle(*pair) for pair in zip(rows, answers, strict=True)])

    def to_handle(self, row: NewTask, answer: Added) -> H:
        """Return the handle of an added task. Raises DuplicateTaskError."""
        if answer.result is AddResult.DUPLICATE:
            raise DuplicateTaskError(row.unique_key or "", answer.id)
        return self.handle_of(row.id, row.work_id, row.scheduled_time)

    # -- Changing tasks

    def cancel(
        self, ids: Sequence[str], *, reason: str | None, force: bool, by: str | None
    ) -> Reply[list[CancelAnswer]]:
        """Cancel; a run of this process that has not started never will, and one that has is told at once."""
        why = None if reason is None else cut_error(reason)
        request = CancelRequest(ids=tuple(ids), reason=why, force=force, by=by)
        answer = self.repository.cancel(request).on(request.ids)
        stopped = answer.then(lambda answers: [self._stop_here(one, why) for one in answers])
        return self._watched(stopped) if self._cancel_watchers else stopped

    def _watched(self, stopped: Reply[list[CancelAnswer]]) -> Reply[list[CancelAnswer]]:
        """Return the same answers once all who watch have taken note of what was cancelled."""

        def tell(answers: list[CancelAnswer]) -> Reply[list[CancelAnswer]]:
            ids = [one.id for one in answers if one.result is CancelResult.CANCELLED]
            noted = [watcher.task_cancelled(task_id) for watcher in self._cancel_watchers for task_id in ids]
            return gather(noted).then(lambda _: answers)

        return stopped.and_then(tell)

    def _stop_here(self, answer: CancelAnswer, reason: str | None) -> CancelAnswer:
        self._leave_parent()
        engine = self.engine
        if answer.claim is None or engine is None or not engine.drop(answer.id, answer.claim, reason):
            return answer
        return CancelAnswer(answer.id, CancelResult.CANCELLED, TaskState.CANCELLED)

    def reschedule(self, task_id: str, when: datetime, by: str | None) -> Reply[int]:
        """Move a waiting task; answers with its new time in microseconds."""
        us, zone, local = check_time(when)
        revision = Revision(due_at=us, scheduled_time=us, zone=zone, local_time=local, by=by)
        revised = self.repository.revise(task_id, revision).on((task_id,))
        return revised.or_else(lambda error: self._recall(task_id, us, revision, error)).then(lambda _: us)

    def _recall(self, task_id: str, due_us: int, revision: Revision, error: BaseException) -> Reply[int]:
        """Move a task that was claimed here and has not started: it is taken back first."""
        self._leave_parent()
        claimed = isinstance(error, NotUpdatableStateError) and error.state is TaskState.WORKING
        recalled = self.engine.recall(task_id, due_us) if claimed and self.engine is not None else None
        if recalled is None:
            return Reply.failed(error)
        return recalled.and_then(lambda _: self.repository.revise(task_id, revision))

    def result_of(self, info: TaskInfo) -> Any:
        """Return what the work of an ended task returned. Raises TaskFailedError where it has no result."""
        if info.state is not TaskState.DONE:
            raise TaskFailedError(info.id, info.state, info.reason, info.error)
        work = self.work_of(info.work_id)
        if work is None:
            return None if info.result is None else decode_value(info.result)
        return work.decode_result(info.result)

    # -- Running

    def configure(self, workers: int | None, queues: Sequence[str] | None) -> None:
        """Change what the next start takes; None leaves it. Raises OptionError, SchedulerStateError while running."""
        if self.running:
            raise SchedulerStateError("this scheduler runs already: configure it before its start")
        if queues is not None:
            self.queues = check_queues(queues)
        if workers is not None:
            self._workers = check_workers("workers", workers)

    @property
    def running(self) -> bool:
        """Return whether the engine runs in this process."""
        return self._thread is not None and self._thread.is_alive() and self._pid == os.getpid()

    def _leave_parent(self) -> None:
        """Forget the engine of a parent process: a forked child has copies of its runs, which are not its own."""
        if self._pid not in (0, os.getpid()):
            self.engine = self.storage = self._thread = self._loop = None
            self._dispatchers = []
            self._pid = 0

    def make_engine(self, dispatchers: Sequence[Dispatcher]) -> Engine:
        """Assemble storage and engine over the given dispatchers."""
        self._leave_parent()
        self._pid = os.getpid()
        self.repository.open()
        self._dispatchers = list(dispatchers)
        node = this_node(self.ids.node_id(), label=self._label, version=VERSION, now_us=self.clock.wall_us())
        before, self.storage = (
            self.storage,
            LeasedTasks(
                self.repository,
                node=node,
                clock=self.clock,
                ids=self.ids,
                settings=self.settings,
                shared=self._shared,
                should_restore=self._should_restore,
            ),
        )
        if before is not None:
            self.storage.inherit(before)
        self.engine = Engine(
            self.storage,
            dispatchers,
            self.works,
            queues=self.queues,
            clock=self.clock,
            random=self.random,
            settings=self.settings,
            hooks=self.hooks,
            services=self.agenda.services(),
        )
        return self.engine

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Start the engine in a thread of its own; async work runs on `loop`, else on a background loop.

        Raises SchedulerStateError where it runs already, RepositoryError where the store cannot be opened.
        """
        if self.running:
            raise SchedulerStateError("this scheduler runs already: start() it once, or use another Scheduler")
        self.repository.open()  # its clock is the one that the dispatchers go by
        engine = self.make_engine(
            [
                ThreadDispatcher(self._workers, clock=self.clock, chain=self._work_chain(is_async=False)),
                LoopDispatcher(self._async_workers, loop=loop, clock=self.clock, chain=self._work_chain(is_async=True)),
            ]
        )
        ready, refusal, self._failure = Event(), list[BaseException](), None
        self._thread = Thread(target=self._run, args=(engine, ready, refusal), name="kokugen-engine", daemon=True)
        self._thread.start()
        ready.wait()
        if refusal:
            self._thread.join()
            self.engine = None
            raise refusal[0]

    def _work_chain(self, *, is_async: bool) -> WorkNext:
        return work_chain(self.middleware, call_work, is_async=is_async)

    def _run(self, engine: Engine, ready: Event, refusal: list[BaseException]) -> None:
        try:
            self._clean = asyncio.run(self._serve(engine, ready))
        except BaseException as error:
            if ready.is_set():
                self._failure = error
                raise
            refusal.append(error)
        finally:
            self._loop = None
            ready.set()

    async def _serve(self, engine: Engine, ready: Event) -> bool:
        self._loop = asyncio.get_running_loop()
        return await engine.run(ready.set)

    def check_alive(self) -> None:
        """Raise SchedulerStateError where the engine ended by an error of its own."""
        if self._failure is not None:
            raise SchedulerStateError("the scheduler stopped by itself: start it again") from self._failure

    def retry_marking(self) -> bool:
        """Try to write the outcomes that could not be written, also after a stop; return whether all are."""
        self._leave_parent()
        storage, loop = self.storage, self._loop
        if storage is None or not storage.unwritten:
            return True
        if self.running and loop is not None:
            return asyncio.run_coroutine_threadsafe(storage.flush(), loop).result()
        return asyncio.run(storage.flush())

    def ask_to_stop(self, grace_s: float | None) -> None:
        """Begin to stop; `join` waits for the end."""
        if self.running and self.engine is not None:
            self.engine.request_stop(self.settings.grace_s if grace_s is None else grace_s)

    def join(self) -> bool:
        """Wait for the engine's end and return whether nothing of it still runs."""
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join()
        self.engine = None
        self.hooks.close()
        return self._clean

    def close(self) -> None:
        """Release the store."""
        if self._repository is not None:
            self._repository.close()

    def resize(self, change: int) -> int:
        """Add workers for sync work, or remove them while running; return how many there are."""
        self._leave_parent()
        self._workers = max(1, self._workers + change)
        for dispatcher in self._dispatchers:
            if dispatcher.accepts(is_async=False):
                dispatcher.resize(self._workers)
        if self.engine is not None:
            self.engine.hint(0)
        return self._workers

    @property
    def active(self) -> int:
        """Return how many runs are under way in this process."""
        self._leave_parent()
        return sum(dispatcher.active for dispatcher in self._dispatchers)
