"""Async work on an event loop: one that was given, such as the one that entered `async with`, else one of its own.

The engine dispatches runs; the loop is woken once a batch and starts an asyncio task a run, up to the capacity.
"""

from __future__ import annotations

import asyncio
import sys
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextvars import Context
from functools import partial
from typing import Any

from kokugen.clock import SECOND_US, Clock
from kokugen.dispatcher.call import call_async, call_work, cut_off, loop_is_ending, not_started
from kokugen.dispatcher.loop_thread import LoopThread
from kokugen.dispatcher.paced import STOPPED, PacedDispatcher, checked_workers, logger
from kokugen.dispatcher.pacer import Pacer, Pacing
from kokugen.middleware.base import WorkNext
from kokugen.run import Interrupt, Run

LOOP_ENDS = "its event loop is ending"
LOOP_CLOSED = "its event loop was closed"
LOOP_STOPPED = "its event loop does not run"
CANCELLED_EARLY = "its asyncio task was cancelled before it started"
EAGER: dict[str, Any] = {"eager_start": True} if sys.version_info >= (3, 12) else {}


class LoopDispatcher(PacedDispatcher):
    """Runs up to `workers` coroutines at once. A run that is asked to stop has its asyncio task cancelled.

    `chain` is `work_chain(middleware, call_work, is_async=True)`, or without middleware `call_work` alone.
    A given loop may end under it: what waits is then reported as not started, what runs as interrupted.
    """

    name = "asyncio"

    def __init__(
        self,
        workers: int = 100,
        *,
        clock: Clock,
        loop: asyncio.AbstractEventLoop | None = None,
        chain: WorkNext = call_work,
        pacer: Pacing | None = None,
    ) -> None:
        super().__init__(workers, clock=clock, pacer=pacer or Pacer(clock, "kokugen-asyncio-pacer"))
        self._chain = chain
        self._loop = loop
        self._own = LoopThread("kokugen-async") if loop is None else None
        self._waiting: deque[Run] = deque()
        self._tasks: dict[Run, asyncio.Task[None] | None] = {}
        self._pumping = False
        self._guarded = False

    @property
    def active(self) -> int:
        return len(self._tasks)

    def accepts(self, *, is_async: bool) -> bool:
        return is_async

    def resize(self, workers: int) -> None:
        self._capacity = checked_workers(workers)
        if self._waiting:
            self._call(self._pump)

    def stop(self) -> None:
        super().stop()
        self._refuse(self._taken(), STOPPED)
        if self._loop is not None:
            self._call(self._let_go)

    def _post(self, runs: Sequence[Run]) -> None:
        self._waiting.extend(runs)
        if self._stopped:
            self._refuse(self._taken(), STOPPED)
            return
        if self._loop is None and self._own is not None:
            self._loop = self._own.loop
        self._call(self._pump)
        self._guard()

    def _call(self, step: Callable[..., object], *args: object) -> None:
        """Have the loop take a step. A closed one takes no more, and whatever depends on it is over."""
        assert self._loop is not None, "runs were posted to it"
        try:
            self._loop.call_soon_threadsafe(step, *args)
        except RuntimeError:
            self._abandon()

    def _next(self) -> Run | None:
        try:
            return self._waiting.popleft()
        except IndexError:
            return None

    def _taken(self) -> Iterator[Run]:
        while (run := self._next()) is not None:
            yield run

    # -- On the loop

    def _pump(self) -> None:
        """Start what there is room for; in rounds, so that work that never waits does not keep the loop to itself."""
        if self._pumping:  # by way of a run that began and ended within this round
            return
        self._pumping = True
        for _ in range(self._capacity - len(self._tasks)):
            run = self._next()
            if run is None:
                break
            if run.begin():
                self._launch(run)
        self._pumping = False
        if self._waiting and len(self._tasks) < self._capacity:
            asyncio.get_running_loop().call_soon(self._pump)
        self._let_go()

    def _launch(self, run: Run) -> None:
        self._tasks[run] = None
        task = self._make_task(run)
        if run in self._tasks:
            self._tasks[run] = task
            task.add_done_callback(partial(self._forsaken, run))
            run.when_interrupted(self._interrupt)

    def _make_task(self, run: Run) -> asyncio.Task[None]:
        """Make its asyncio task, in a context of its own: what one run sets, no other sees."""
        loop = asyncio.get_running_loop()
        if loop.get_task_factory() is not None:
            return Context().run(loop.create_task, self._serve(run), name=run.work_id)
        return asyncio.Task(self._serve(run), loop=loop, name=run.work_id, context=Context(), **EAGER)

    async def _serve(self, run: Run) -> None:
        """Run it, within its time limit, which begins here and not while the task waits for its first step.

        The run that waits next is started in this very step: another turn of the loop costs more than the run.
        """
        limit = self._limit(run)
        outcome = await call_async(run, self._chain, self._clock)
        if limit is not None:
            limit.cancel()
        run.on_interrupt = None
        if run not in self._tasks:  # it was given up as lost
            return
        del self._tasks[run]
        self._report(outcome)
        if run.interrupt is Interrupt.STOP and loop_is_ending():
            self._give_up(LOOP_ENDS)
        self._pump()

    def _forsaken(self, run: Run, _task: asyncio.Task[None]) -> None:
        """Report a run whose asyncio task was cancelled before its first step."""
        if run in self._tasks:
            del self._tasks[run]
            self._report(not_started(run, CANCELLED_EARLY))
            if loop_is_ending():
                self._give_up(LOOP_ENDS)
            self._pump()

    def _interrupt(self, run: Run) -> None:
        """Cancel the run's task, from any thread. Once the run is over it has none, and nothing else is cancelled."""
        self._call(self._cancel, run)

    def _cancel(self, run: Run) -> None:
        task = self._tasks.get(run)
        if task is not None:
            task.cancel()

    def _let_go(self) -> None:
        if self._stopped and self._own is not None and not self._tasks:
            self._own.stop()

    # -- When a given loop ends under it

    def _guard(self) -> None:
        """Look in a second, and every second while something depends on a given loop, whether it still runs."""
        if self._own is None and not self._guarded:
            self._guarded = True
            self._pacer.after(SECOND_US, self._look)

    def _look(self) -> None:
        assert self._loop is not None, "it was given"
        self._guarded = False
        if self._loop.is_closed():
            self._abandon()
        elif not self._loop.is_running():
            self._refuse(self._taken(), LOOP_STOPPED)
        if self._tasks or self._waiting:
            self._guard()

    def _give_up(self, reason: str) -> None:
        """Start nothing more on this loop, and have nothing more claimed for it."""
        if not self._stopped and self._capacity:
            logger.warning("no more async work is started here: %s", reason)
        self._capacity = 0
        self._refuse(self._taken(), reason)

    def _abandon(self) -> None:
        self._give_up(LOOP_CLOSED)
        while self._tasks:
            run, _ = self._tasks.popitem()
            run.on_interrupt = None
            self._report(cut_off(run, LOOP_CLOSED))
