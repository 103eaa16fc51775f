"""A scheduler for tests of work and of code that schedules: in virtual time, over a store in memory.

Made and entered inside `run_virtual`. It has the real engine, and runs it and all work on that loop, without threads.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from datetime import timedelta
from typing import Any, TypeVar

from kokugen.async_scheduler import AsyncScheduler
from kokugen.clock import SECOND_US, to_us
from kokugen.dispatcher.call import call_work
from kokugen.dispatcher.place import Place
from kokugen.dispatcher.protocol import Deliver, Outcome
from kokugen.engine.engine import Engine
from kokugen.engine.hooks import Hooks, RunEvent, logger
from kokugen.errors import SchedulerStateError, WaitTimeoutError
from kokugen.front import Front
from kokugen.handle import AsyncTaskHandle
from kokugen.limit import Limit
from kokugen.middleware.base import Middleware, work_chain
from kokugen.registry.protocol import WorkRegistry
from kokugen.reply import Reply
from kokugen.repository.rows import CancelAnswer
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task import QUEUE_DEFAULT, TaskInfo
from kokugen.testing.inline_dispatcher import InlineDispatcher
from kokugen.testing.virtual_time import VirtualClock

T = TypeVar("T")

LOOK_S, LOOK_MAX_S = 0.001, 3600.0
"""When to look for an end that neither a run nor a cancellation here brings: soon, then less and less often."""
SETTLE_MAX = 100
"""In how many rounds of the loop, at one instant, the end of a run is surely written."""
DAY_S = 86_400.0
CALM = Settings(
    ttl_s=10 * DAY_S, beat_s=DAY_S, margin_s=DAY_S, watch_s=DAY_S, poll_s=3600.0, surplus_s=3600.0, prune_s=DAY_S
)
"""Nobody else is there to take a task over, so there is little to look after while a month passes."""


class VirtualScheduler(AsyncScheduler):
    """An `AsyncScheduler` over memory whose time is virtual: `await task.wait()` on next month's task takes a moment.

    Sync work runs on the loop too, one call after the other, that of `places` as well, and hooks are called at once.
    """

    def __init__(
        self,
        clock: VirtualClock,
        *,
        works: WorkRegistry | None = None,
        middleware: Sequence[Middleware] = (),
        queues: Sequence[str] = (QUEUE_DEFAULT,),
        queue_limits: Mapping[str, Limit | None] | None = None,
        workers: int = 100,
        places: Sequence[Place] = (),
        settings: Settings | None = None,
    ) -> None:
        super().__init__(
            "memory://",
            clock=clock,
            works=works,
            middleware=middleware,
            queues=queues,
            queue_limits=queue_limits,
            places=places,
            settings=settings or CALM,
        )
        self._front.parts.hooks = PromptHooks()
        self._workers = workers
        self._ended: asyncio.Task[bool] | None = None
        self._news = asyncio.Event()

    async def start(self) -> None:
        """Run what is due from now on, on this loop. Raises SchedulerStateError where it does already."""
        if self.running:
            raise SchedulerStateError("this scheduler runs already: start() it once, or use another one")
        engine, running = self._make_engine(), asyncio.Event()
        self._ended = asyncio.create_task(engine.run(running.set), name="engine")
        runs = asyncio.create_task(running.wait())
        await asyncio.wait([runs, self._ended], return_when=asyncio.FIRST_COMPLETED)
        if self._ended.done():
            self._ended.result()

    def _make_engine(self) -> Engine:
        runner = self._front.runner
        return runner.make_engine([self._dispatcher()], [self._dispatcher(place.name) for place in runner.places])

    def _dispatcher(self, name: str = InlineDispatcher.name) -> TellingDispatcher:
        middleware = self._front.parts.middleware
        dispatcher = TellingDispatcher(
            self._over,
            self._workers,
            clock=self._front.parts.clock,
            chain=work_chain(middleware, self._call, is_async=True),
            sync_chain=work_chain(middleware, self._call, is_async=False),
        )
        dispatcher.name = name
        return dispatcher

    def _call(self, run: Run) -> Any:
        """Call the work: the innermost step of the chain."""
        return call_work(run)

    def _over(self, _outcome: Outcome) -> None:
        """Hear of a run that is over."""
        self._tell()

    def _tell(self) -> None:
        news, self._news = self._news, asyncio.Event()
        news.set()

    async def stop(self, grace: timedelta | None = None) -> bool:
        engine, ended = self._front.runner.engine, self._ended
        if engine is None or ended is None:
            return True
        engine.request_stop(self._front.parts.settings.grace_s if grace is None else grace.total_seconds())
        self._front.runner.engine = None
        return await ended

    async def close(self) -> None:
        await self.stop()
        self._front.parts.close()

    @property
    def running(self) -> bool:
        return self._ended is not None and not self._ended.done()

    async def wait(self, task_id: str, timeout: timedelta | None = None) -> TaskInfo:
        """Let time pass until a task is over, to that very instant, and return it.

        Raises NoEntryError, WaitTimeoutError.
        """
        clock = self._front.parts.clock
        end_s = None if timeout is None else clock.boot_s() + timeout.total_seconds()
        look_s = LOOK_S
        while not (info := await self.get(task_id)).state.terminal:
            left_s = None if end_s is None else end_s - clock.boot_s()
            if left_s is not None and left_s <= 0:
                raise WaitTimeoutError(f"task {task_id} is {info.state.label} still, after {timeout}")
            until_due_s = (to_us(info.due_at or info.scheduled_time) - clock.wall_us()) / SECOND_US
            wait_s = max(look_s, until_due_s)
            await self._hear(wait_s if left_s is None else min(wait_s, left_s))
            look_s = LOOK_S if until_due_s > 0 else min(LOOK_MAX_S, 2 * look_s)
        return info

    async def _hear(self, wait_s: float) -> None:
        """Wait for news, or so long; then, without any time passing, until what happens at this instant is written."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._news.wait(), wait_s)
        await settle()

    async def cancel(
        self, *task_ids: str, reason: str | None = None, force: bool = False, by: str | None = None
    ) -> list[CancelAnswer]:
        answers = await super().cancel(*task_ids, reason=reason, force=force, by=by)
        self._tell()
        return answers

    async def _opened(self) -> Front[AsyncTaskHandle]:
        self._front.parts.repository.open()
        return self._front

    @staticmethod
    async def _read(ask: Callable[[], Reply[T]]) -> T:
        return await ask()


async def settle() -> None:
    """Let happen whatever happens at this instant."""
    for _ in range(SETTLE_MAX):
        await asyncio.sleep(0)


class TellingDispatcher(InlineDispatcher):
    """Tells of each run that is over."""

    def __init__(self, told: Callable[[Outcome], object], workers: int, **about: Any) -> None:
        super().__init__(workers, **about)
        self._told = told

    def start(self, deliver: Deliver) -> None:
        def deliver_and_tell(outcome: Outcome) -> None:
            deliver(outcome)
            self._told(outcome)

        super().start(deliver_and_tell)


class PromptHooks(Hooks):
    """Hooks that are called where they are told, before anything else happens. One that raises is logged, as ever."""

    def tell(self, name: str, event: RunEvent) -> None:
        for hook in self._hooks.get(name, ()):
            try:
                hook(event)
            except Exception:  # noqa: BLE001 - the hook's own fault
                logger.exception("a hook raised for task %s", event.run.task_id)
