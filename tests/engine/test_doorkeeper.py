"""The doorkeeper of a node whose wall clock is not the store's: who passes a gate, and when, goes by the store's."""

from __future__ import annotations

import asyncio

import pytest

from kokugen import FunctionRegistry, Settings
from kokugen.clock import SECOND_US
from kokugen.engine.doorkeeper import Declared, Doorkeeper
from kokugen.repository.limit_rows import KEY
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import NewTask
from kokugen.testing import VirtualClock, run_virtual
from tests.engine.test_skew import HOUR_S, WrongClock


def doorkeeper(clock: VirtualClock, store: MemoryRepository, wrong_s: float) -> Doorkeeper:
    """Return the doorkeeper of a node whose clock is wrong by so much."""
    return Doorkeeper(
        store,
        Declared(FunctionRegistry(), {}),
        listen=store.listen,
        clock=WrongClock(clock, wrong_s),
        settings=Settings(),
    )


def gated(clock: VirtualClock, store: MemoryRepository, after_s: float) -> None:
    due_at = clock.wall_us() + round(after_s * SECOND_US)
    store.add([NewTask(id="t", work_id="w", due_at=due_at, scheduled_time=due_at, limit_key="ann")]).result()


def passed(store: MemoryRepository) -> bool:
    """Return whether the task has the slot of its key."""
    (gate,) = store.gates().result()
    assert gate.name == f"{KEY}ann"
    return gate.taken == 1


@pytest.mark.parametrize("wrong_s", [-HOUR_S, 0.0, HOUR_S])
def test_a_task_takes_its_slot_when_it_is_due_by_the_stores_clock(wrong_s: float) -> None:
    async def main(clock: VirtualClock) -> list[bool]:
        store = MemoryRepository(clock=clock)
        gated(clock, store, after_s=20)
        running = asyncio.create_task(doorkeeper(clock, store, wrong_s).run())
        await asyncio.sleep(19.8)
        early = passed(store)
        await asyncio.sleep(0.25)
        running.cancel()
        return [early, passed(store)]

    assert run_virtual(main) == [False, True]


@pytest.mark.parametrize("wrong_s", [-HOUR_S, 0.0, HOUR_S])
def test_a_task_that_comes_while_it_rests_is_let_through_in_time(wrong_s: float) -> None:
    async def main(clock: VirtualClock) -> bool:
        store = MemoryRepository(clock=clock)
        one = doorkeeper(clock, store, wrong_s)
        one.expect()
        running = asyncio.create_task(one.run())
        await asyncio.sleep(1)
        gated(clock, store, after_s=2)
        await asyncio.sleep(2.05)
        running.cancel()
        return passed(store)

    assert run_virtual(main)
