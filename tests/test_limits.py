"""Limits as a user declares them, in virtual time: over memory, with the real engine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from kokugen import FunctionRegistry, Limit, Retry, RetryAfter, Scheduler, Then
from kokugen.dispatcher.processes import Processes
from kokugen.errors import OptionError
from kokugen.testing import VirtualClock, VirtualScheduler, run_virtual

SECOND = timedelta(seconds=1)


class Bakery:
    """Work that takes a second, and counts how much of it goes on at once; `at` is when each began."""

    def __init__(self) -> None:
        self.now = self.most = 0
        self.at: list[float] = []

    async def bake(self) -> None:
        self.at.append(asyncio.get_running_loop().time())
        self.now += 1
        self.most = max(self.most, self.now)
        await asyncio.sleep(1)
        self.now -= 1

    def spaces(self) -> list[float]:
        """Return the seconds from one beginning to the next."""
        return [round(later - earlier, 3) for earlier, later in zip(self.at, self.at[1:], strict=False)]


def tried(test: Callable[[VirtualClock, Bakery, FunctionRegistry], Coroutine[Any, Any, None]]) -> Bakery:
    bakery = Bakery()

    async def main(clock: VirtualClock) -> None:
        await test(clock, bakery, FunctionRegistry())

    run_virtual(main)
    return bakery


def test_a_limit_of_work_is_kept_and_its_places_are_used() -> None:
    async def test(clock: VirtualClock, bakery: Bakery, works: FunctionRegistry) -> None:
        bake = works.work(id="bake", limit=Limit(3))(bakery.bake)
        async with VirtualScheduler(clock, works=works) as scheduler:
            tasks = [await scheduler.after(SECOND, bake) for _ in range(9)]
            for task in tasks:
                await task.wait()

    bakery = tried(test)
    assert bakery.most == 3
    assert bakery.at[-1] - bakery.at[0] < 2.1


def test_tasks_with_a_key_run_one_at_a_time_each_in_time() -> None:
    async def test(clock: VirtualClock, bakery: Bakery, works: FunctionRegistry) -> None:
        bake = works.work(id="bake")(bakery.bake).options(limit_key="oven")
        async with VirtualScheduler(clock, works=works) as scheduler:
            for delay_s in (100, 100.5, 300):
                await scheduler.after(delay_s * SECOND, bake)
            await (await scheduler.after(400 * SECOND, bake)).wait()

    bakery = tried(test)
    assert bakery.most == 1
    assert bakery.spaces() == pytest.approx([1, 199, 100], abs=0.1)


def test_a_queue_has_its_limit_across_works() -> None:
    async def test(clock: VirtualClock, bakery: Bakery, works: FunctionRegistry) -> None:
        bake, roast = (works.work(id=name, queue="oven")(bakery.bake) for name in ("bake", "roast"))
        scheduler = VirtualScheduler(clock, works=works, queues=["oven"], queue_limits={"oven": Limit(2)})
        async with scheduler:
            tasks = [await scheduler.after(SECOND, work) for work in (bake, roast) * 3]
            for task in tasks:
                await task.wait()

    assert tried(test).most == 2


def test_a_rate_spreads_starts_evenly() -> None:
    async def test(clock: VirtualClock, bakery: Bakery, works: FunctionRegistry) -> None:
        bake = works.work(id="bake", limit=Limit(rate=4, per=timedelta(minutes=1)))(bakery.bake)
        async with VirtualScheduler(clock, works=works) as scheduler:
            tasks = [await scheduler.after(SECOND, bake) for _ in range(5)]
            for task in tasks:
                await task.wait()

    assert tried(test).spaces() == [15, 15, 15, 15]


def test_a_task_that_is_tried_again_leaves_its_place_meanwhile() -> None:
    order: list[str] = []

    async def main(clock: VirtualClock) -> None:
        works = FunctionRegistry()

        @works.work(limit=Limit(1))
        async def once_more(name: str) -> None:
            order.append(name)
            if order == ["first"]:
                raise RetryAfter(timedelta(minutes=5))

        async with VirtualScheduler(clock, works=works) as scheduler:
            first = await scheduler.after(SECOND, once_more.options(retry=Retry(2)), "first")
            await (await scheduler.after(2 * SECOND, once_more, "second")).wait()
            await first.wait()

    run_virtual(main)
    assert order == ["first", "second", "first"]


@pytest.mark.parametrize(
    ("declare", "said"),
    [
        (Limit, "limits nothing"),
        (lambda: Limit(0), "at_once=0"),
        (lambda: Limit(True), "at_once=True"),
        (lambda: Limit(rate=5, per=timedelta(0)), "per="),
        (lambda: Limit(rate=1_000_000, per=timedelta(milliseconds=1)), "at most one start a microsecond"),
        (lambda: Limit(rate=1, burst=0), "burst=0"),
        (lambda: FunctionRegistry().work(limit=5)(print), "limit=5"),  # type: ignore[call-overload]
        (lambda: Scheduler(queue_limits={"a b": Limit(1)}), "'a b'"),
        (lambda: Scheduler(queue_limits={"mail": 3}), "3 for 'mail'"),  # type: ignore[dict-item]
        (lambda: FunctionRegistry().work(id="w")(print).options(limit_key=""), "limit_key=''"),
        (lambda: FunctionRegistry().work(id="w")(print).options(limit=Limit(1)), "limit is of the work"),  # type: ignore[call-arg]
    ],
)
def test_a_limit_that_cannot_be_is_refused_in_words(declare: Callable[[], object], said: str) -> None:
    with pytest.raises(OptionError, match=said):
        declare()


def test_what_follows_takes_its_turn_at_its_limit() -> None:
    async def test(clock: VirtualClock, bakery: Bakery, works: FunctionRegistry) -> None:
        bake = works.work(id="bake", limit=Limit(1))(bakery.bake)
        knead = works.work(id="knead", then=(Then(bake), Then(bake)))(_nothing)
        async with VirtualScheduler(clock, works=works) as scheduler:
            for _ in range(2):
                await scheduler.after(SECOND, knead)
            for task in [one async for one in scheduler.tasks(work="bake")]:
                await scheduler.wait(task.id)

    bakery = tried(test)
    assert bakery.most == 1
    assert bakery.spaces() == pytest.approx([1, 1, 1], abs=0.1)


def test_a_limit_holds_wherever_work_runs(tmp_path: Path) -> None:
    works = FunctionRegistry()
    alone = works.work(id="alone", on="processes", limit=Limit(1))(be_alone)
    with Scheduler(f"sqlite:///{tmp_path}/t.db", works=works, places=[Processes(workers=2)]) as scheduler:
        tasks = [scheduler.after(timedelta(0), alone, str(tmp_path / "here")) for _ in range(6)]
        assert [task.result(timedelta(seconds=60)) for task in tasks] == ["alone"] * 6


async def _nothing() -> None:
    """Have others follow."""


def be_alone(path: str) -> str:
    """Return whether no other process is here: while it is, there is a file that only one can make."""
    Path(path).touch(exist_ok=False)
    Path(path).unlink()
    return "alone"
