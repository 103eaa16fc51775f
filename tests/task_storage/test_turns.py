from __future__ import annotations

import asyncio
from threading import Thread

import pytest

from kokugen.task_storage.turns import Turns


async def take(turns: Turns, log: list[str], name: str) -> None:
    async with turns.turn():
        log.append(f"{name} in")
        await asyncio.sleep(0)
        log.append(f"{name} out")


async def test_turns_come_in_order_and_never_at_once() -> None:
    turns, log = Turns(), list[str]()
    await asyncio.gather(*(take(turns, log, name) for name in "abc"))
    assert log == ["a in", "a out", "b in", "b out", "c in", "c out"]


async def test_a_turn_is_waited_for_from_another_loop_too() -> None:
    turns, log = Turns(), list[str]()
    other = Thread(target=lambda: asyncio.run(take(turns, log, "b")))
    async with turns.turn():
        other.start()
        log.append("a")
    await asyncio.to_thread(other.join)
    assert log == ["a", "b in", "b out"]


async def test_one_that_gives_up_waiting_keeps_nobody_back() -> None:
    turns, log = Turns(), list[str]()
    async with turns.turn():
        waiting = asyncio.create_task(take(turns, log, "b"))
        after = asyncio.create_task(take(turns, log, "c"))
        await asyncio.sleep(0)
        waiting.cancel()
        await asyncio.sleep(0)
        assert log == []
    await after
    assert log == ["c in", "c out"]


async def test_one_that_fails_keeps_nobody_back() -> None:
    turns, log = Turns(), list[str]()
    with pytest.raises(ZeroDivisionError):
        async with turns.turn():
            raise ZeroDivisionError
    await take(turns, log, "b")
    assert log == ["b in", "b out"]
