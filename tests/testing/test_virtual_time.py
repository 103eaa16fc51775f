"""Virtual time passes at once, in order, and says so where it would stand still for ever."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from threading import Event, Thread

import pytest

from kokugen.clock import SystemClock
from kokugen.errors import DeadlockError
from kokugen.testing import VirtualClock, run_virtual

START = datetime(2026, 3, 1, tzinfo=UTC)


def test_a_month_passes_in_a_moment() -> None:
    async def main(clock: VirtualClock) -> datetime:
        for _ in range(31 * 24):
            await asyncio.sleep(3600)
        return clock.now

    real = SystemClock()
    since_s = real.boot_s()
    assert run_virtual(main, start=START) == datetime(2026, 4, 1, tzinfo=UTC)
    assert real.boot_s() - since_s < 5


def test_time_stands_still_while_there_is_something_to_do() -> None:
    async def main(clock: VirtualClock) -> int:
        before = clock.wall_us()
        for _ in range(1_000):
            await asyncio.sleep(0)
        return clock.wall_us() - before

    assert run_virtual(main) == 0


def test_timers_fire_in_the_order_of_their_times() -> None:
    async def main(clock: VirtualClock) -> list[int]:
        fired: list[int] = []

        async def fire(seconds: int) -> None:
            await asyncio.sleep(seconds)
            fired.append(seconds)

        await asyncio.gather(*(fire(seconds) for seconds in (3, 1, 100_000, 2)))
        return fired

    assert run_virtual(main) == [1, 2, 3, 100_000]


def test_both_clocks_pass_and_only_the_wall_clock_is_stepped() -> None:
    async def main(clock: VirtualClock) -> tuple[datetime, float]:
        await asyncio.sleep(10)
        clock.step_wall(timedelta(hours=1))
        await asyncio.sleep(10)
        return clock.now, clock.boot_s()

    now, boot_s = run_virtual(main, start=START)
    assert now == START + timedelta(hours=1, seconds=20)
    assert boot_s == pytest.approx(20)


def test_microseconds_are_kept_after_many_years() -> None:
    async def main(clock: VirtualClock) -> int:
        await asyncio.sleep(50 * 365 * 86_400)
        before = clock.wall_us()
        await asyncio.sleep(0.000_001)
        return clock.wall_us() - before

    assert run_virtual(main) == 1


def test_timeouts_are_virtual_too() -> None:
    async def main(clock: VirtualClock) -> float:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(3600):
                await asyncio.Event().wait()
        return clock.boot_s()

    assert run_virtual(main) == pytest.approx(3600)


def test_a_wait_that_nothing_can_end_is_an_error_that_names_who_waits() -> None:
    async def main(clock: VirtualClock) -> None:
        sleeper = asyncio.create_task(asyncio.sleep(5), name="sleeper")
        assert not sleeper.done()
        await asyncio.create_task(stuck(), name="the stuck one")

    async def stuck() -> None:
        await asyncio.Event().wait()

    with pytest.raises(DeadlockError, match=r"5\.0.* s: .*the stuck one in .*stuck"):
        run_virtual(main)


def test_another_thread_may_still_end_the_wait() -> None:
    async def main(clock: VirtualClock) -> bool:
        loop, done = asyncio.get_running_loop(), asyncio.Event()
        Thread(target=loop.call_soon_threadsafe, args=(done.set,)).start()
        return await done.wait()

    assert run_virtual(main)


def test_what_main_raises_is_raised() -> None:
    async def main(clock: VirtualClock) -> None:
        raise ValueError("mine")

    with pytest.raises(ValueError, match="mine"):
        run_virtual(main)


def test_what_is_left_running_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def sleep() -> None:
        try:
            await asyncio.sleep(10**9)
        except asyncio.CancelledError:
            cancelled.append(True)
            raise

    async def main(clock: VirtualClock) -> None:
        main_task = asyncio.create_task(sleep())
        await asyncio.sleep(1)
        assert not main_task.done()

    run_virtual(main)
    assert cancelled == [True]


@pytest.mark.filterwarnings("error")
def test_its_end_waits_for_threads_that_work_still() -> None:
    ended: list[bool] = []

    async def main(clock: VirtualClock) -> None:
        asyncio.get_running_loop().run_in_executor(None, lambda: ended.append(Event().wait(0.1)))

    run_virtual(main)
    assert ended == [False]
