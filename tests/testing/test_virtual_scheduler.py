"""The scheduler for tests of applications: the real engine in virtual time, exact and without threads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from threading import Thread, get_ident
from typing import Any, TypeVar

import pytest

from kokugen import FunctionRegistry, Middleware, Retry, Snooze, TaskState, current_run
from kokugen.engine.hooks import RunEvent
from kokugen.errors import SchedulerStateError, WaitTimeoutError
from kokugen.middleware.base import WorkNext
from kokugen.run import Run
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

T = TypeVar("T")

SOON = timedelta(0)
HOUR = timedelta(hours=1)
DAY = timedelta(days=1)


def virtually(main: Callable[[VirtualScheduler, VirtualClock], Coroutine[Any, Any, T]], **about: Any) -> T:
    async def whole(clock: VirtualClock) -> T:
        async with VirtualScheduler(clock, **about) as scheduler:
            return await main(scheduler, clock)

    return run_virtual(whole)


def test_work_of_next_month_runs_exactly_at_its_time() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        @scheduler.work
        def sync_now() -> datetime:
            return clock.now

        @scheduler.work
        async def async_now() -> datetime:
            return clock.now

        for work in (sync_now, async_now):
            task = await scheduler.after(30 * DAY, work)
            assert await task.result() == task.scheduled_time

    virtually(main)


def test_no_thread_is_started_and_all_happens_on_one(started_threads: list[Thread]) -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        scheduler.on_dead(lambda event: threads.add(get_ident()))

        @scheduler.work
        def fail() -> None:
            threads.add(get_ident())
            raise ValueError("no")

        await (await scheduler.after(SOON, fail)).wait()

    threads: set[int] = set()
    virtually(main)
    assert started_threads == []
    assert threads == {get_ident()}


def test_retries_and_snoozes_wait_in_virtual_time() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> list[timedelta]:
        begun, seen = clock.now, []

        @scheduler.work(retry=Retry(2, initial=HOUR, jitter=False))
        def restless() -> None:
            seen.append(clock.now - begun)
            if current_run().fence == 1:
                raise Snooze(DAY)
            if current_run().attempt == 1:
                raise ConnectionError

        assert (await (await scheduler.after(SOON, restless)).wait()).state is TaskState.DONE
        return [*seen, clock.now - begun]

    assert virtually(main) == [SOON, DAY, DAY + HOUR, DAY + HOUR]


def test_middleware_wraps_both_kinds_of_work() -> None:
    class Note(Middleware):
        def work(self, run: Run, call_next: WorkNext) -> Any:
            noted.append(run.is_async)
            return call_next(run)

    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        @scheduler.work
        def one() -> None: ...

        @scheduler.work
        async def other() -> None: ...

        for work in (one, other):
            await (await scheduler.after(SOON, work)).wait()

    noted: list[bool] = []
    virtually(main, middleware=[Note()])
    assert noted == [False, True]


def test_a_wait_ends_at_the_very_instant_of_the_end() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        @scheduler.work
        async def sleep(seconds: float) -> None:
            await asyncio.sleep(seconds)

        for seconds in (0, 0.25, 12.5, 86_400):
            task = await scheduler.after(HOUR, sleep, seconds)
            await task.wait()
            assert clock.now - task.scheduled_time == timedelta(seconds=seconds)

    virtually(main)


def test_a_wait_sees_a_cancellation_too() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        @scheduler.work
        def nothing() -> None: ...

        begun, task = clock.now, await scheduler.after(DAY, nothing)
        waiting = asyncio.create_task(task.wait())
        await asyncio.sleep(3600)
        await task.cancel()
        assert (await waiting).state is TaskState.CANCELLED
        assert clock.now - begun == HOUR

    virtually(main)


def test_a_wait_gives_up_in_virtual_time() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> None:
        @scheduler.work
        async def hang() -> None:
            await asyncio.Event().wait()

        begun = clock.now
        task = await scheduler.after(SOON, hang)
        with pytest.raises(WaitTimeoutError):
            await task.wait(HOUR)
        assert clock.now - begun == HOUR

    virtually(main)


def test_a_hook_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> TaskState:
        @scheduler.on_failed
        def hook(event: RunEvent) -> None:
            raise LookupError("the hook's own fault")

        @scheduler.work
        def fail() -> None:
            raise ValueError("no")

        return (await (await scheduler.after(SOON, fail)).wait()).state

    assert virtually(main) is TaskState.FAILED
    assert "a hook raised" in caplog.text


def test_works_that_are_declared_without_a_scheduler_run_too() -> None:
    async def main(scheduler: VirtualScheduler, clock: VirtualClock) -> int:
        result: int = await (await scheduler.after(SOON, double, 21)).result()
        return result

    works = FunctionRegistry()

    @works.work
    def double(number: int) -> int:
        return 2 * number

    assert virtually(main, works=works) == 42


def test_it_starts_once_and_again_after_a_stop() -> None:
    async def main(clock: VirtualClock) -> None:
        scheduler = VirtualScheduler(clock)
        assert not scheduler.running
        await scheduler.start()
        with pytest.raises(SchedulerStateError):
            await scheduler.start()
        assert await scheduler.stop()
        await scheduler.start()
        assert scheduler.running
        await scheduler.close()
        assert not scheduler.running

    run_virtual(main)
