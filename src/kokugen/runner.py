"""The engine of one scheduler in this process: assembled at its start, run in a thread of its own, and stopped.

A forked child has copies of its parent's runs, which are not its own: it forgets them.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Sequence
from contextlib import suppress
from threading import Event, Thread
from typing import Any

from kokugen.acceptance import check_label, check_places, check_queues, check_workers
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.call import call_work
from kokugen.dispatcher.place import Place
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.engine.engine import Engine
from kokugen.engine.service import Service
from kokugen.errors import SchedulerStateError
from kokugen.middleware.base import WorkNext, work_chain
from kokugen.parts import Parts
from kokugen.process import is_child, this_node
from kokugen.reply import Reply
from kokugen.repository.rows import Lease
from kokugen.task import TaskInfo
from kokugen.task_storage.leasing import LeasedTasks

VERSION = "0.1.0"
PARTING_S = 2.0
"""For how long watchers wait for what would not stop, once its process has said that it ends."""


def heed_signals(handler: Callable[..., None]) -> dict[signal.Signals, Any]:
    """Have SIGTERM and SIGINT call `handler`; return what they did. Raises SchedulerStateError off the main thread."""
    try:
        return {one: signal.signal(one, handler) for one in (signal.SIGTERM, signal.SIGINT)}
    except ValueError as error:
        raise SchedulerStateError(
            "run() waits for signals, which Python hears of on the main thread alone: use start(), and stop()"
        ) from error


def unheed_signals(previous: dict[signal.Signals, Any]) -> None:
    """Have the signals do again what they did."""
    for one, handler in previous.items():
        signal.signal(one, handler or signal.SIG_DFL)  # None: it was not set from Python


class Runner:
    """Runs what is due in this process, or nothing. Any thread may call it."""

    def __init__(
        self,
        parts: Parts,
        *,
        queues: Sequence[str],
        workers: int,
        async_workers: int,
        places: Sequence[Place],
        label: str | None,
        shared: bool,
        should_restore: Callable[[TaskInfo], bool] | None,
    ) -> None:
        self.queues = check_queues(queues)
        self.engine: Engine | None = None
        self.storage: LeasedTasks | None = None
        self.services: Callable[[], Sequence[Service]] = tuple
        """Make what an engine runs beside itself."""
        self._parts = parts
        self._workers = check_workers("workers", workers)
        self._async_workers = check_workers("async_workers", async_workers)
        self.places = check_places(places)
        self._label = None if label is None else check_label(label)
        self._shared = shared
        self._should_restore = should_restore
        self._dispatchers: list[Dispatcher] = []
        self._thread: Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._failure: BaseException | None = None
        self._pid = 0
        self._clean = True
        self._left: list[Lease] = []

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

    def leave_parent(self) -> None:
        """Forget the engine of a parent process: a forked child has copies of its runs, which are not its own."""
        if self._pid not in (0, os.getpid()):
            self.engine = self.storage = self._thread = self._loop = None
            self._dispatchers = []
            self._pid = 0

    def own_engine(self) -> Engine | None:
        """Return the engine that runs in this process, if one does."""
        self.leave_parent()
        return self.engine

    def make_engine(self, dispatchers: Sequence[Dispatcher], places: Sequence[Dispatcher]) -> Engine:
        """Assemble storage and engine over the dispatchers of each kind of work, and those of the places."""
        self.leave_parent()
        self._pid = os.getpid()
        self._parts.repository.open()
        self._dispatchers = [*dispatchers, *places]
        before, self.storage = self.storage, self._make_storage()
        if before is not None:
            self.storage.inherit(before)
        self.engine = Engine(
            self.storage,
            dispatchers,
            self._parts.works,
            queues=self.queues,
            places=places,
            clock=self._parts.clock,
            random=self._parts.random,
            settings=self._parts.settings,
            hooks=self._parts.hooks,
            payloads=self._parts.payloads,
            services=self.services(),
        )
        return self.engine

    def _make_storage(self) -> LeasedTasks:
        parts = self._parts
        node_id, now_us = parts.ids.node_id(), parts.clock.wall_us()
        return LeasedTasks(
            parts.repository,
            node=this_node(node_id, label=self._label, version=VERSION, now_us=now_us),
            clock=parts.clock,
            ids=parts.ids,
            settings=parts.settings,
            shared=self._shared,
            should_restore=self._should_restore,
        )

    def start(self, loop: asyncio.AbstractEventLoop | None = None) -> None:
        """Start the engine in a thread of its own; async work runs on `loop`, else on a background loop.

        Raises SchedulerStateError where it runs already, RepositoryError where the store cannot be opened.
        """
        if self.running:
            raise SchedulerStateError("this scheduler runs already: start() it once, or use another Scheduler")
        if is_child():
            raise SchedulerStateError(
                "this process was started to run work, and imports the program for that: start the scheduler under "
                "`if __name__ == '__main__':`"
            )
        self._parts.repository.open()  # its clock is the one that the dispatchers go by
        clock, middleware = self._parts.clock, self._parts.middleware
        engine = self.make_engine(
            [
                ThreadDispatcher(self._workers, clock=clock, chain=self._work_chain(is_async=False)),
                LoopDispatcher(self._async_workers, loop=loop, clock=clock, chain=self._work_chain(is_async=True)),
            ],
            [place.dispatcher(clock=clock, middleware=middleware) for place in self.places],
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
        return work_chain(self._parts.middleware, call_work, is_async=is_async)

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

    def ping(self, heard: Callable[[], object]) -> None:
        """Have the engine's loop call `heard()` in a moment; one that hangs or has ended does not."""
        loop = self._loop
        if loop is not None and self._pid == os.getpid():
            with suppress(RuntimeError):  # it was closed meanwhile
                loop.call_soon_threadsafe(heard)

    def retry_marking(self) -> bool:
        """Try to write the outcomes that could not be written, also after a stop; return whether all are."""
        self.leave_parent()
        storage, loop = self.storage, self._loop
        if storage is None or not storage.unwritten:
            return True
        if self.running and loop is not None:
            return asyncio.run_coroutine_threadsafe(storage.flush(), loop).result()
        return asyncio.run(storage.flush())

    def ask_to_stop(self, grace_s: float | None) -> None:
        """Begin to stop; `join` waits for the end."""
        if self.running and self.engine is not None:
            self.engine.request_stop(self._parts.settings.grace_s if grace_s is None else grace_s)

    def join(self) -> bool:
        """Wait for the engine's end and return whether nothing of it still runs."""
        if self._thread is not None and self._pid == os.getpid():
            self._thread.join()
            self._left = [] if self.engine is None else list(self.engine.runs)
        self.engine = None
        self._parts.hooks.close()
        return self._clean

    def abandon(self) -> Reply[int]:
        """Say that what would not stop ends with this process now; answer of how many runs watchers heard.

        Watchers still see them unchanged for a while, and then take them over: until then the process must be gone.
        """
        if not self._left or self._pid != os.getpid():
            return Reply.of(0)
        return self._parts.repository.beat(self._left, ttl_s=PARTING_S).then(len)

    def add_workers(self, count: int) -> int:
        """Add workers for sync work while running; return how many there are. Raises OptionError."""
        return self._resize(check_workers("workers", self._workers + check_workers("count", count)))

    def remove_workers(self, count: int) -> int:
        """Remove workers for sync work while running, all but one at most; return how many there are."""
        return self._resize(max(1, self._workers - check_workers("count", count)))

    def _resize(self, workers: int) -> int:
        self.leave_parent()
        self._workers = workers
        for dispatcher in self._dispatchers:
            if dispatcher.name == ThreadDispatcher.name:
                dispatcher.resize(self._workers)
        if self.engine is not None:
            self.engine.hint(0)
        return self._workers

    @property
    def active(self) -> int:
        """Return how many runs are under way in this process."""
        self.leave_parent()
        return sum(dispatcher.active for dispatcher in self._dispatchers)

    # -- As the policy of a task storage

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
