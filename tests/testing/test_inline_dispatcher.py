"""The dispatcher for tests in virtual time: exact, in the same order every time, without threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from threading import Thread
from typing import Any

from kokugen.clock import SECOND_US
from kokugen.dispatcher.protocol import Dispatcher, Ending, Outcome
from kokugen.run import Interrupt, current_run
from kokugen.testing import InlineDispatcher, VirtualClock, run_virtual
from kokugen.testing.dispatching.lab import run_of


class Stage:
    """A started dispatcher in virtual time, and what it delivered."""

    def __init__(self, clock: VirtualClock, workers: int = 100) -> None:
        self.clock = clock
        self.outcomes: list[Outcome] = []
        self.dispatcher = InlineDispatcher(workers, clock=clock)
        self.dispatcher.start(self.outcomes.append)

    def at(self, after_s: float, fn: Callable[..., Any], **about: Any) -> None:
        when_us = self.clock.wall_us() + int(after_s * SECOND_US)
        self.dispatcher.dispatch([run_of(fn, not_before_us=when_us, work_id=f"{after_s} s", **about)])


def virtually(main: Callable[[Stage], Coroutine[Any, Any, Any]]) -> list[Outcome]:
    """The outcomes after `main` and a virtual day more."""

    async def whole(clock: VirtualClock) -> list[Outcome]:
        stage = Stage(clock)
        await main(stage)
        await asyncio.sleep(86_400)
        stage.dispatcher.stop()
        return stage.outcomes

    return run_virtual(whole)


async def forever() -> None:
    await asyncio.Event().wait()


async def nothing() -> None:
    pass


def test_it_is_a_dispatcher_of_both_kinds_of_work() -> None:
    async def main(stage: Stage) -> None:
        dispatcher: Dispatcher = stage.dispatcher
        assert dispatcher.accepts(is_async=True)
        assert dispatcher.accepts(is_async=False)

    assert virtually(main) == []


def test_sync_and_async_work_start_exactly_at_their_time() -> None:
    async def main(stage: Stage) -> None:
        for after_s in (3600, 0, 0.000_001, 7):
            stage.at(after_s, nothing)
            stage.at(after_s, int)

    outcomes = virtually(main)
    assert [one.run.started_us - one.run.not_before_us for one in outcomes] == [0] * 8
    assert {one.ending for one in outcomes} == {Ending.RETURNED}


def test_the_same_batch_runs_in_the_same_order_every_time() -> None:
    async def main(stage: Stage) -> None:
        stage.dispatcher.dispatch([run_of(nothing if n % 3 else int, work_id=str(n)) for n in range(300)])

    orders = [[one.run.work_id for one in virtually(main)] for _ in range(3)]
    assert orders[0] == orders[1] == orders[2]


def test_it_starts_no_thread(started_threads: list[Thread]) -> None:
    async def main(stage: Stage) -> None:
        stage.at(5, nothing, timeout_us=1)
        await asyncio.sleep(6)

    assert len(virtually(main)) == 1
    assert started_threads == []


def test_a_step_of_the_wall_clock_moves_the_start_within_a_second() -> None:
    async def main(stage: Stage) -> None:
        stage.at(3600, int)
        await asyncio.sleep(10)
        stage.clock.step_wall(timedelta(hours=1))
        await asyncio.sleep(1)
        assert len(stage.outcomes) == 1

    virtually(main)


def test_async_work_that_takes_too_long_is_cancelled_on_time() -> None:
    ended: list[float] = []

    async def slow() -> None:
        try:
            await forever()
        finally:
            ended.append(asyncio.get_running_loop().time())

    async def main(stage: Stage) -> None:
        stage.at(0, slow, timeout_us=90 * SECOND_US)

    (outcome,) = virtually(main)
    assert (outcome.ending, outcome.run.interrupt, ended) == (Ending.INTERRUPTED, Interrupt.TIMEOUT, [90.0])


def test_sync_work_knows_its_run() -> None:
    async def main(stage: Stage) -> None:
        stage.at(1, lambda: current_run().work_id)

    assert [one.result for one in virtually(main)] == ['"1 s"']


def test_no_more_run_at_once_than_there_are_workers() -> None:
    async def whole(clock: VirtualClock) -> list[int]:
        stage = Stage(clock, workers=2)
        for _ in range(5):
            stage.at(0, sleep_a_minute)
        counts = []
        for _ in range(4):
            await asyncio.sleep(50)
            counts.append(stage.dispatcher.active)
        return counts

    assert run_virtual(whole) == [2, 2, 1, 0]


async def sleep_a_minute() -> None:
    await asyncio.sleep(60)


def test_what_waits_when_it_is_stopped_is_not_started() -> None:
    async def main(stage: Stage) -> None:
        stage.at(60, nothing)
        stage.at(120, int)
        stage.dispatcher.stop()

    assert [one.ending for one in virtually(main)] == [Ending.NOT_STARTED] * 2
