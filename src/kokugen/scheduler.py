"""`Scheduler`: the face for threads. It assembles nothing and decides nothing: see `kokugen.front`."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

from kokugen.acceptance import check_delay, check_time, check_wait, check_work
from kokugen.clock import Clock, to_us
from kokugen.dispatcher.place import Place
from kokugen.engine.hooks import Hook
from kokugen.errors import KokugenError, NoEntryError, OptionError, UnknownOutcomeError, WaitTimeoutError
from kokugen.filters import PAGE, task_query
from kokugen.front import ASYNC_WORKERS, WORKERS, Front
from kokugen.handle import TaskHandle
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
from kokugen.schedules.recurring import Recurring
from kokugen.settings import Settings
from kokugen.task import QUEUE_DEFAULT, Attempt, NodeInfo, Params, TaskInfo, TaskParam, replace
from kokugen.task_storage.single_node import SingleNodeTaskStorage
from kokugen.within import Transaction

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")
H = TypeVar("H", bound=Hook)

ANSWER_S = 60.0


class Scheduler(Recurring):
    """Schedules work into a store and, once started, runs what is due.

    `url` is `sqlite:///file.db`, `memory://`, or, left out, the environment's KOKUGEN_URL. The store is opened at
    first use. Any number of schedulers, in any number of processes, may share one store: nothing runs twice.
    A `task_storage` (the seed's) says instead where tasks are, how they are shared, and which come back.
    """

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
        self._front: Front[TaskHandle] = Front(
            lambda *told: TaskHandle(self, *told),
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

    # -- Declaring

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

    # -- Scheduling

    def at(self, when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Schedule a call of `work` at an aware instant; durable once this returns.

        Raises ScheduledTimeError, WorkArgumentsError, CodecError, DuplicateTaskError, RepositoryError; then nothing
        was scheduled; UnknownOutcomeError where the store did not answer in time.
        """
        us, zone, local = check_time(when)
        return self._submit(us, work, args, kwargs, zone, local)

    def after(self, delay: timedelta, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Schedule a call of `work` after a delay from now. As `at`."""
        us = self._front.parts.clock.wall_us() + check_delay(delay)
        return self._submit(us, work, args, kwargs, None, None)

    def _submit(
        self, us: int, work: Work[P, R], args: Any, kwargs: Any, zone: str | None, local: str | None
    ) -> TaskHandle:
        known = check_work(work)
        request = ScheduleRequest(
            work_id=known.id,
            params=Params(args, kwargs),
            scheduled_time_us=us,
            options=known.declared,
            zone=zone,
            local_time=local,
        )
        return _answer(self._front.submit(known, request), "scheduling")

    def schedule(self, param: TaskParam) -> TaskHandle:
        """Schedule from plain data; the work need not be declared here. As `at`."""
        return _answer(self._front.accept_param(param), "scheduling")

    def schedule_many(self, params: Iterable[TaskParam]) -> list[TaskHandle]:
        """Schedule many in batches. All are checked first; a taken unique key raises after the rest was added."""
        handles: list[TaskHandle] = []
        failed: KokugenError | None = None
        for reply in self._front.accept_many(params):
            try:
                batch = _answer(reply, "scheduling")
                handles += batch
            except KokugenError as error:
                failed = failed or error
        if failed is not None:
            raise failed
        return handles

    def within(self, connection: object) -> Transaction:
        """Schedule inside a transaction of yours, on your connection to the store's own database.

        PostgreSQL: of psycopg, psycopg2, SQLAlchemy or Django. SQLite: of apsw for `sqlite://`, of `sqlite3` for
        `sqlite+sqlite3://`. Raises TransactionError for any other.
        """
        return Transaction(self._front, connection)

    def schedule_request(self, request: ScheduleRequest) -> Reply[TaskHandle]:
        """Schedule what a task storage restores: the form that its `sync` takes."""
        return self._front.accept(request)

    # -- Looking

    @property
    def repository(self) -> DurableRepository:
        """Return the store's repository."""
        return self._front.parts.repository

    @property
    def url(self) -> str:
        """Return the store's address, without secrets."""
        return self.repository.url

    def get(self, task_id: str) -> TaskInfo:
        """Return a task as it is now. Raises NoEntryError."""
        found = _answer(self.repository.get([check_id(task_id)]), "reading")
        if not found:
            raise NoEntryError(task_id)
        return found[0]

    def handle(self, task_id: str) -> TaskHandle:
        """Return a handle of a stored task. Raises NoEntryError."""
        info = self.get(task_id)
        return TaskHandle(self, info.id, info.work_id, to_us(info.scheduled_time), info.state)

    def tasks(self, *, limit: int | None = None, **filters: Any) -> Iterator[TaskInfo]:
        """Yield tasks in order of due time, page by page, as they are when their page is read.

        Filters: `state`, `work`, `queue`, `tag`, `unique`, `held`, `due_before`, `due_from`.
        """
        query = task_query(limit=limit, **filters)
        left = limit
        while left is None or left > 0:
            page = _answer(self.repository.page(query), "listing")
            yield from page if left is None else page[:left]
            if len(page) < query.limit:
                return
            left = None if left is None else left - len(page)
            query = replace(query, after=(to_us(page[-1].due_at or page[-1].scheduled_time), page[-1].id))

    def count(self, **filters: Any) -> int:
        """Return how many tasks fit the filters of `tasks`."""
        return _answer(self.repository.count(task_query(**filters)), "counting")

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return the attempts of a task that did not simply succeed."""
        return _answer(self.repository.attempts(check_id(task_id)), "reading")

    def health(self) -> StoreHealth:
        """Return what the store says of itself."""
        return _answer(self.repository.health(), "asking")

    def nodes(self) -> list[NodeInfo]:
        """Return the nodes that work, or worked, on the store, newest first."""
        return _answer(self.repository.nodes(), "listing")

    def limits(self) -> list[GateStatus]:
        """Return the limits that are declared or at work in the store: who has their places, and how many wait."""
        return _answer(self._front.limits(), "reading limits")

    def wait(self, task_id: str, timeout: timedelta | None = None) -> TaskInfo:
        """Block until a task is over and return it. Raises NoEntryError, WaitTimeoutError."""
        wait_s = check_wait("timeout", timeout)
        info = self.get(task_id)
        if info.state.terminal:
            return info
        ended = self._front.waits.wait(task_id)
        try:
            return ended.result(wait_s)
        except TimeoutError as error:
            if ended.done():  # it came at the last moment
                return ended.peek()
            label = self.get(task_id).state.label
            raise WaitTimeoutError(f"task {task_id} is {label} still, after {timeout}") from error
        finally:
            self._front.waits.forget(task_id, ended)

    def result(self, task_id: str, timeout: timedelta | None = None) -> Any:
        """Block until a task is over and return what its work returned. Raises TaskFailedError, WaitTimeoutError."""
        return self._front.result_of(self.wait(task_id, timeout))

    # -- Changing

    def cancel(
        self, *task_ids: str, reason: str | None = None, force: bool = False, by: str | None = None
    ) -> list[CancelAnswer]:
        """Cancel tasks; one answer an id. A running one is asked to stop, or with `force` fenced at once."""
        return _answer(self._front.cancel(task_ids, reason=reason, force=force, by=by), "cancelling")

    def cancel_all(self, *, reason: str | None = None, **filters: Any) -> int:
        """Cancel every waiting task that fits the filters of `tasks`; return how many."""
        ids = [info.id for info in self.tasks(**{"state": "Initialized", **filters})]
        answers = [self.cancel(*ids[start : start + PAGE], reason=reason) for start in range(0, len(ids), PAGE)]
        return sum(one.result.value == "cancelled" for batch in answers for one in batch)

    def reschedule(self, task_id: str, when: datetime, by: str | None = None) -> int:
        """Move a waiting task; return its new time in microseconds. Raises NotUpdatableStateError."""
        return _answer(self._front.reschedule(task_id, when, by), "rescheduling")

    def revive(self, *task_ids: str, when: datetime | None = None, by: str | None = None) -> list[str]:
        """Make ended tasks wait again; return the ids of those that do."""
        return _answer(self._front.revive(task_ids, when, by), "reviving")

    def revive_all(self, *, when: datetime | None = None, by: str | None = None, **filters: Any) -> int:
        """Make every task wait again that fits the filters of `tasks`, Failed ones if not said; return how many."""
        ids = [info.id for info in self.tasks(**{"state": "Failed", **filters})]
        batches = [ids[start : start + PAGE] for start in range(0, len(ids), PAGE)]
        return sum([len(self.revive(*batch, when=when, by=by)) for batch in batches])

    def release(self, task_id: str, by: str | None = None) -> int:
        """Take a task out of its hold; return its new revision."""
        return _answer(self._front.release(task_id, by), "releasing")

    def prune(self, retention: Retention) -> int:
        """Delete one batch of ended tasks; return how many."""
        return _answer(self.repository.prune(retention), "pruning")

    def _await(self, reply: Reply[T], what: str) -> T:
        return _answer(reply, what)

    # -- Hooks

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

    # -- Running

    def open(self) -> None:
        """Open the store now rather than at first use. Raises RepositoryError."""
        self.repository.open()

    def configure(self, *, workers: int | None = None, queues: Sequence[str] | None = None) -> None:
        """Change how many workers it starts with, and which queues it serves: `kokugen worker` does.

        Raises OptionError, and SchedulerStateError while it runs.
        """
        self._front.runner.configure(workers, queues)

    def start(self) -> None:
        """Run what is due from now on, in threads of this process. Raises SchedulerStateError where it does already."""
        self._front.runner.start()

    def stop(self, grace: timedelta | None = None) -> bool:
        """Stop: start nothing more, give runs the grace period, give back what never started.

        Returns whether nothing of it still runs. The store stays open for scheduling.
        """
        self._front.runner.ask_to_stop(check_wait("grace", grace))
        return self._front.runner.join()

    def abandon(self) -> int:
        """Say that the runs which would not stop end with this process, which must be gone within a second.

        After `stop` returned False, and right before `os._exit`: other nodes take these tasks over within a few
        seconds instead of the whole `ttl_s`. Returns how many there are. `kokugen worker` does this.
        """
        return _answer(self._front.runner.abandon(), "abandoning runs")

    def close(self) -> None:
        """Stop, and release the store."""
        if self.running:
            self.stop()
        self._front.parts.close()

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

    def retry_marking(self) -> bool:
        """Try to write the outcomes that could not be written; return whether all are (the seed's RetryMarking)."""
        return self._front.runner.retry_marking()

    def run(self) -> None:
        """Start if needed, wait for SIGTERM or SIGINT, stop. Only the main thread can.

        Returns early where another thread stops it, and raises SchedulerStateError where it stopped by an error.
        """
        asked = threading.Event()
        previous = heed_signals(lambda *_: asked.set())
        try:
            if not self.running:
                self.start()
            while not asked.wait(0.5):
                if not self.running:
                    self._front.runner.check_alive()
                    return
        finally:
            unheed_signals(previous)
            self.close()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _answer(reply: Reply[T], what: str) -> T:
    try:
        return reply.result(ANSWER_S)
    except TimeoutError as error:
        if reply.done():  # it came at the last moment, or is such an error itself
            return reply.peek()
        raise UnknownOutcomeError(what, reply.about) from error
