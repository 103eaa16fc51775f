"""Async work on a loop: many at once, cancelled when asked to stop, and nothing lost when the loop ends."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from contextvars import ContextVar
from typing import Any

import pytest

from kokugen.clock import SystemClock
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.run import Interrupt, Run, current_run
from kokugen.testing.dispatching.lab import PATIENCE_S, Outcomes, run_of


class Stage:
    """A dispatcher on the loop of the test."""

    def __init__(self, workers: int = 100) -> None:
        self.dispatcher = LoopDispatcher(workers, clock=SystemClock(), loop=asyncio.get_running_loop())
        self.arrivals: asyncio.Queue[Outcome] = asyncio.Queue()
        self.dispatcher.start(self.arrivals.put_nowait)

    async def take(self, count: int) -> list[Outcome]:
        async with asyncio.timeout(PATIENCE_S):
            return [await self.arrivals.get() for _ in range(count)]

    async def outcome_of(self, fn: Callable[..., Any], **about: Any) -> Outcome:
        self.dispatcher.dispatch([run_of(fn, **about)])
        return (await self.take(1))[0]

    async def under_way(self, number: int) -> None:
        """Wait until so many runs have started."""
        async with asyncio.timeout(PATIENCE_S):
            while sum(run.started_us > 0 for run in self.dispatcher._tasks) < number:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0)


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    async with staged() as stage:
        yield stage


@asynccontextmanager
async def staged(workers: int = 100) -> AsyncIterator[Stage]:
    stage = Stage(workers)
    yield stage
    stage.dispatcher.stop()


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


async def test_work_runs_on_the_given_loop(stage: Stage) -> None:
    async def work() -> bool:
        return asyncio.get_running_loop() is stage.dispatcher._loop

    assert (await stage.outcome_of(work)).result == "true"


async def test_a_thousand_runs_that_an_async_generator_makes_all_end(stage: Stage) -> None:
    async def runs() -> AsyncIterator[Run]:
        for _ in range(1_000):
            yield run_of(nothing)
            await asyncio.sleep(0)

    made = []
    async for run in runs():
        made.append(run)
        stage.dispatcher.dispatch([run])
    assert {outcome.run for outcome in await stage.take(1_000)} == set(made)


async def test_no_more_run_at_once_than_there_are_workers() -> None:
    async with staged(workers=3) as stage:
        stage.dispatcher.dispatch([run_of(forever) for _ in range(5)])
        await stage.under_way(3)
        await asyncio.sleep(0)
        assert stage.dispatcher.active == 3
        stage.dispatcher.resize(5)
        await stage.under_way(5)


async def test_fewer_workers_let_the_runs_under_way_end() -> None:
    async with staged(workers=2) as stage:
        runs = [run_of(forever) for _ in range(4)]
        stage.dispatcher.dispatch(runs)
        await stage.under_way(2)
        stage.dispatcher.resize(1)
        assert stage.dispatcher.active == 2
        runs[0].ask_to_stop(Interrupt.CANCEL)
        await stage.take(1)
        assert stage.dispatcher.active == 1


async def test_a_run_that_is_asked_to_stop_is_cancelled(stage: Stage) -> None:
    run = run_of(forever)
    stage.dispatcher.dispatch([run])
    await stage.under_way(1)
    await asyncio.to_thread(run.ask_to_stop, Interrupt.CANCEL, "not needed")
    (outcome,) = await stage.take(1)
    assert (outcome.ending, outcome.run.interrupt) == (Ending.INTERRUPTED, Interrupt.CANCEL)


async def test_a_run_that_is_asked_to_stop_before_its_first_step_calls_nothing(stage: Stage) -> None:
    run = run_of(forever)
    stage.dispatcher.dispatch([run])
    run.ask_to_stop(Interrupt.CANCEL)
    (outcome,) = await stage.take(1)
    assert (outcome.ending, run.started_us) == (Ending.NOT_STARTED, 0)


async def test_a_run_that_takes_too_long_is_cancelled(stage: Stage) -> None:
    outcome = await stage.outcome_of(forever, timeout_us=1)
    assert (outcome.ending, outcome.run.interrupt) == (Ending.INTERRUPTED, Interrupt.TIMEOUT)


async def test_a_run_may_clean_up_after_it_was_asked_to_stop(stage: Stage) -> None:
    cleaned = asyncio.Event()

    async def work() -> None:
        try:
            await forever()
        finally:
            await asyncio.sleep(0)
            cleaned.set()

    await stage.outcome_of(work, timeout_us=1)
    assert cleaned.is_set()


async def test_an_interrupt_that_comes_as_the_run_ends_cancels_nothing_else(stage: Stage) -> None:
    for _ in range(200):
        short, other = run_of(nothing), run_of(briefly)
        stage.dispatcher.dispatch([short, other])
        await asyncio.sleep(0)
        short.ask_to_stop(Interrupt.CANCEL)
        outcomes = {outcome.run: outcome for outcome in await stage.take(2)}
        assert outcomes[other].ending is Ending.RETURNED
    assert stage.arrivals.empty()


async def briefly() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_work_that_never_waits_leaves_the_loop_to_others(stage: Stage) -> None:
    stage.dispatcher.resize(10)
    stage.dispatcher.dispatch([run_of(nothing) for _ in range(1_000)])
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert stage.arrivals.qsize() < 1_000
    await stage.take(1_000)


async def test_a_run_can_cancel_its_own_children_without_harm(stage: Stage) -> None:
    async def work() -> str:
        child = asyncio.create_task(forever())
        await asyncio.sleep(0)
        child.cancel()
        await asyncio.wait([child])
        return "fine"

    assert (await stage.outcome_of(work)).result == '"fine"'


async def test_a_loop_with_a_task_factory_of_its_own_keeps_it(stage: Stage) -> None:
    made: list[str] = []

    def factory(loop: asyncio.AbstractEventLoop, coro: Any, **about: Any) -> asyncio.Task[Any]:
        made.append(getattr(coro, "__name__", "?"))
        return asyncio.Task(coro, loop=loop, **about)

    asyncio.get_running_loop().set_task_factory(factory)
    await stage.outcome_of(nothing)
    asyncio.get_running_loop().set_task_factory(None)
    assert "_serve" in made


async def test_what_one_run_sets_in_its_context_no_other_sees() -> None:
    colour: ContextVar[str] = ContextVar("colour")
    seen: list[str] = []

    async def paint() -> None:
        seen.append(colour.get("none"))
        colour.set("red")

    async with staged(workers=1) as stage:
        stage.dispatcher.dispatch([run_of(paint) for _ in range(5)])
        await stage.take(5)
    assert seen == ["none"] * 5


def test_without_a_loop_work_runs_on_one_of_its_own_which_ends_after_the_last_run() -> None:
    outcomes = Outcomes()
    dispatcher = LoopDispatcher(clock=SystemClock())
    dispatcher.start(outcomes)
    loops: list[asyncio.AbstractEventLoop] = []

    async def work() -> None:
        loops.append(asyncio.get_running_loop())
        dispatcher.stop()
        await asyncio.sleep(0)

    dispatcher.dispatch([run_of(work)])
    assert outcomes.one().ending is Ending.RETURNED
    assert dispatcher._own is not None
    assert loops[0] is not dispatcher._own.loop
    dispatcher._own.stop()


def test_work_that_raises_what_ends_a_loop_does_not_end_it() -> None:
    outcomes = Outcomes()
    dispatcher = LoopDispatcher(1, clock=SystemClock())
    dispatcher.start(outcomes)

    async def leave() -> None:
        await asyncio.sleep(0)
        raise SystemExit(1)

    dispatcher.dispatch([run_of(leave), run_of(nothing)])
    assert [one.ending for one in outcomes.take(2)] == [Ending.RAISED, Ending.RETURNED]
    dispatcher.stop()


# -- When a given loop ends under it


def on_a_loop_that_ends(*fns: Callable[..., Any], workers: int = 1) -> tuple[LoopDispatcher, Outcomes]:
    """A dispatcher on a loop that took a few steps with these runs and was closed, with all that was on it."""
    outcomes, loop = Outcomes(), asyncio.new_event_loop()
    dispatcher = LoopDispatcher(workers, clock=SystemClock(), loop=loop)
    dispatcher.start(outcomes)

    async def main() -> None:
        dispatcher.dispatch([run_of(fn) for fn in fns])
        for _ in range(5):
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=lambda: loop) as runner:
        runner.run(main())
    return dispatcher, outcomes


def test_what_ran_on_a_loop_that_ends_is_interrupted_and_what_waited_not_started() -> None:
    dispatcher, outcomes = on_a_loop_that_ends(forever, forever, forever)
    assert sorted(one.ending.value for one in outcomes.take(3)) == ["interrupted", "not started", "not started"]
    assert dispatcher.capacity == 0
    dispatcher.stop()
    assert outcomes.none_left()


def test_what_is_dispatched_to_a_closed_loop_is_not_started() -> None:
    dispatcher, outcomes = on_a_loop_that_ends()
    dispatcher.dispatch([run_of(nothing)])
    assert outcomes.one().ending is Ending.NOT_STARTED


def test_what_waits_for_a_loop_that_does_not_run_any_more_is_given_back() -> None:
    outcomes, loop = Outcomes(), asyncio.new_event_loop()
    dispatcher = LoopDispatcher(clock=SystemClock(), loop=loop)
    dispatcher.start(outcomes)
    dispatcher.dispatch([run_of(nothing)])
    outcome = outcomes.one()
    assert (outcome.ending, outcome.text) == (Ending.NOT_STARTED, "its event loop does not run")
    loop.close()


def test_a_run_on_a_loop_that_was_closed_in_mid_run_is_reported_unasked() -> None:
    outcomes, loop = Outcomes(), asyncio.new_event_loop()
    dispatcher = LoopDispatcher(clock=SystemClock(), loop=loop)
    dispatcher.start(outcomes)
    run = run_of(forever)
    dispatcher.dispatch([run])
    loop.run_until_complete(briefly())
    task = dispatcher._tasks[run]
    assert task is not None
    loop.close()
    outcome = outcomes.one()
    assert (outcome.ending, outcome.run.interrupt) == (Ending.INTERRUPTED, Interrupt.STOP)
    task.get_coro().close()
    task._log_destroy_pending = False  # type: ignore[attr-defined]


def test_the_current_run_is_known_across_awaits() -> None:
    async def work() -> str:
        await asyncio.sleep(0)
        return current_run().work_id

    outcomes = Outcomes()
    dispatcher = LoopDispatcher(clock=SystemClock())
    dispatcher.start(outcomes)
    dispatcher.dispatch([run_of(work, work_id="a"), run_of(work, work_id="b")])
    assert sorted(one.result or "" for one in outcomes.take(2)) == ['"a"', '"b"']
    dispatcher.stop()
