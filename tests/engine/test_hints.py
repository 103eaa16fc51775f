"""How the engine's loop hears of hints from any thread."""

from __future__ import annotations

import asyncio

from kokugen.clock import SystemClock
from kokugen.engine.hints import Hints
from kokugen.settings import Settings


async def test_a_hint_that_comes_while_others_are_being_heard_is_heard_once_and_leaves_an_idle_wake() -> None:
    heard, failed = list[int](), list[object]()
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: failed.append(context))
    hints = Hints(heard.append, dict, clock=SystemClock(), settings=Settings())
    hints.open(loop)
    hints.hint(7)
    hints._told = False  # as when the loop has begun to hear, in its own thread
    hints.hint(5)
    await asyncio.sleep(0)
    await asyncio.sleep(0)
    assert (heard, failed) == ([5], [])
