"""Virtual time for tests that are plain functions: `advance` lets it pass, and what is due meanwhile is run.

A test puts the schedulers of the application on a `Stage`; the fixtures of `kokugen.pytest_plugin` make one. Their
tasks are in memory until it is closed, and the real engine runs them, on a loop that stands still between two calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from datetime import datetime, timedelta
from threading import Thread, get_ident
from types import TracebackType
from typing import Any, Self, TypeVar

from kokugen.async_scheduler import AsyncScheduler
from kokugen.clock import from_us
from kokugen.dispatcher.call import call_work
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import SchedulerStateError
from kokugen.front import Front
from kokugen.ids import IdSource, system_random
from kokugen.repository.memory import MemoryRepository
from kokugen.run import Run
from kokugen.scheduler import Scheduler
from kokugen.settings import Settings
from kokugen.task import TaskInfo, replace
from kokugen.testing.recorder import Recorder
from kokugen.testing.staged import StagedAsyncScheduler, StagedScheduler
from kokugen.testing.virtual_scheduler import CALM, PromptHooks, VirtualScheduler, settle
from kokugen.testing.virtual_time import START, VirtualClock, VirtualTimeLoop, sleep_past

T = TypeVar("T")
S = TypeVar("S", Scheduler, AsyncScheduler)

KEEP = timedelta(days=365 * 100)
CALM_FIELDS = ("ttl_s", "beat_s", "margin_s", "watch_s", "poll_s", "surplus_s", "prune_s")


class StageClock:
    """The clock of a stage. It stands still but in `advance`, `advance_to` and where a test waits for a task."""

    def __init__(self, stage: Stage, clock: VirtualClock) -> None:
        self._stage = stage
        self._clock = clock
        self.wall_us = clock.wall_us
        self.boot_s = clock.boot_s
        self.step_wall = clock.step_wall

    @property
    def now(self) -> datetime:
        """Return the wall clock as a datetime."""
        return from_us(self.wall_us())

    def advance(
        self,
        span: timedelta = timedelta(0),
        *,
        days: float = 0,
        hours: float = 0,
        minutes: float = 0,
        seconds: float = 0,
    ) -> None:
        """Let so much time pass, and run what is due until then, each at its very instant.

        Raises what work raised, in inline mode. Raises ValueError for a time that is past.
        """
        whole = span + timedelta(days=days, hours=hours, minutes=minutes, seconds=seconds)
        if whole < timedelta(0):
            raise ValueError(f"advance({whole}): time does not run backwards; step_wall() sets the wall clock back")
        self._stage.play(self._stage.pass_time(whole))

    def advance_to(self, when: datetime) -> None:
        """Let time pass until an aware instant. As `advance`."""
        if when.utcoffset() is None:
            raise ValueError(f"advance_to({when.isoformat()}): a naive datetime is no instant; give it a tzinfo")
        self.advance(when - self.now)


class Stage:
    """Virtual time, a store in memory, and the schedulers that a test put there: `with Stage() as stage`.

    In `inline` mode what is due is run as soon as it is scheduled, before the call returns, and the first error that
    work raises is raised there. With a `recorder` no work is called: it takes note, and answers in its place.
    """

    def __init__(self, start: datetime = START) -> None:
        self.inline = False
        self.recorder: Recorder | None = None
        self._runner = asyncio.Runner(loop_factory=VirtualTimeLoop)
        self.clock = StageClock(self, VirtualClock(self._runner.get_loop(), start))
        self._taken: list[_Taken] = []
        self._raised: list[BaseException] = []
        self._player: int | None = None

    def take(self, scheduler: S) -> S:
        """Put a scheduler on the stage, with its works, middleware and hooks, and return it.

        Its tasks are in memory and its time is virtual until the stage is closed; then it has its own store again.
        Whether the application starts it does not matter: what is due is run when time passes. Raises
        SchedulerStateError where it runs already.
        """
        if scheduler.running:
            raise SchedulerStateError("this scheduler runs already: put it on the stage before it is started")
        taken = _Taken(self, scheduler)
        self._taken.append(taken)
        self.play(taken.worker.start())
        return scheduler

    def wait(self, front: Front[Any], task_id: str, timeout: timedelta | None) -> TaskInfo:
        """Let time pass until a task is over, and return it. Raises NoEntryError, WaitTimeoutError."""
        (worker,) = [one.worker for one in self._taken if one.worker.front is front]
        return self.play(worker.wait(task_id, timeout))

    def scheduled(self) -> None:
        """Run, in inline mode, what is due now. Inside of a run it goes on by itself."""
        if self.inline and self._player != get_ident():
            self.play(self.pass_time(timedelta(0)))

    async def pass_time(self, span: timedelta) -> None:
        """Let time pass, and then all that happens at that instant, however much follows from it."""
        await sleep_past(span)
        before: object = None
        while (now := [await taken.worker.look() for taken in self._taken]) != before:
            before = now
            await settle()

    def play(self, scene: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine on the loop of the stage, and return what it returns; in inline mode raise what work raised.

        Raises SchedulerStateError where time passes already: from inside of work.
        """
        if self._player is not None:
            scene.close()
            raise SchedulerStateError("time passes already: work cannot let it pass, or wait for other work")
        self._raised.clear()
        played = self._play_beside(scene) if _loop_runs_here() else self._play(scene)
        if self.inline and self._raised:
            raise self._raised[0]
        return played

    def _play(self, scene: Coroutine[Any, Any, T]) -> T:
        self._player = get_ident()
        try:
            return self._runner.run(scene)
        finally:
            self._player = None

    def _play_beside(self, scene: Coroutine[Any, Any, T]) -> T:
        """Run it on a thread of its own, while this one waits: here runs another loop, that of an async test."""
        played: list[T] = []
        failed: list[BaseException] = []

        def play() -> None:
            try:
                played.append(self._play(scene))
            except BaseException as error:  # noqa: BLE001 - raised again in the thread that waits
                failed.append(error)

        thread = Thread(target=play, name="kokugen-stage")
        thread.start()
        thread.join()
        if failed:
            raise failed[0]
        return played[0]

    def call(self, run: Run) -> Any:
        """Call the work of a run, or ask the recorder in its place."""
        return call_work(run) if self.recorder is None else self.recorder(run)

    def over(self, outcome: Outcome) -> None:
        """Take note of how a run ended."""
        if outcome.ending is Ending.RAISED and outcome.error is not None:
            self._raised.append(outcome.error)

    def close(self) -> None:
        """Stop the engines, and give every scheduler back what it had."""
        self.inline = False
        for taken in reversed(self._taken):
            self.play(taken.worker.stop(timedelta(0)))
            taken.give_back()
        self._taken.clear()
        self._runner.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def _loop_runs_here() -> bool:
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        return False
    return True


class StageWorker(VirtualScheduler):
    """Runs what a scheduler on the stage has due: the engine of its own parts."""

    def __init__(self, stage: Stage, front: Front[Any]) -> None:
        self.front = self._front = front
        self._stage = stage
        self._workers = 100
        self._ended = None
        self._news = asyncio.Event()

    async def look(self) -> tuple[dict[str, int], int]:
        """Return how many tasks are in each state, and how many are overdue: what changes while something happens."""
        health = await self.health()
        return health.counts, health.overdue

    def _call(self, run: Run) -> Any:
        return self._stage.call(run)

    def _over(self, outcome: Outcome) -> None:
        self._stage.over(outcome)
        super()._over(outcome)


class _Taken:
    """A scheduler on the stage, and what it had before."""

    def __init__(self, stage: Stage, scheduler: Scheduler | AsyncScheduler) -> None:
        self._scheduler: Any = scheduler
        self._class = type(scheduler)
        self._parts = self._scheduler._front.parts
        self._runner = self._scheduler._front.runner
        self._had = [(part, dict(vars(part))) for part in (self._parts, self._runner)]
        mixin = StagedScheduler if isinstance(scheduler, Scheduler) else StagedAsyncScheduler
        self._scheduler.__class__ = type(self._class.__name__, (mixin, self._class), {"stage": stage})
        self._set(stage.clock)
        self.worker = StageWorker(stage, self._scheduler._front)

    def _set(self, clock: StageClock) -> None:
        hooks = PromptHooks()
        hooks.learn(self._parts.hooks)
        self._parts.__dict__ |= {
            "_repository": MemoryRepository(namespace=self._parts.namespace, clock=clock),
            "clock": clock,
            "hooks": hooks,
            "ids": IdSource(clock, system_random()),
            "settings": calm(self._parts.settings),
        }

    def give_back(self) -> None:
        self._scheduler.__class__ = self._class
        for part, had in self._had:
            part.__dict__ |= had


def calm(settings: Settings) -> Settings:
    """Return settings for one process alone that keeps every task for as long as a test may last."""
    values: dict[str, Any] = {name: getattr(CALM, name) for name in CALM_FIELDS}
    kept: Settings = replace(settings, **values, keep_done=KEEP, keep_cancelled=KEEP, keep_failed=KEEP)
    return kept
