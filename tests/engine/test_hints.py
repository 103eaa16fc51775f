"""Who asks for a claim: the engine's loop, or the thread that hints while that rests."""

from __future__ import annotations

import asyncio
import os

import pytest

from kokugen.engine.hints import Hints
from kokugen.engine.lane import Lane, Load, Party
from kokugen.engine.timer import Timer
from kokugen.reply import Reply
from kokugen.settings import Settings
from kokugen.task_storage.leasing import Asked
from kokugen.testing import ManualClock

SETTINGS = Settings()


class Ear:
    """Hints with somebody to ask, and what came of them."""

    def __init__(self) -> None:
        self.clock = ManualClock()
        self.heard: list[int] = []
        self.asked: list[Asked] = []
        self.party: Party = (
            Lane((), Timer(ahead_us=20_000), queues=("default",), load=Load(), buffer_s=0.05, buffer_max=16),
        )
        self.hints = Hints(self.heard.append, self._ask, clock=self.clock, settings=SETTINGS)
        self.hints.open(asyncio.get_running_loop())
        self.end = asyncio.get_running_loop().create_future()

    def _ask(self) -> dict[Party, Asked]:
        asked = Asked("nonce", 1, 0.0, Reply())
        self.asked.append(asked)
        return {self.party: asked} if self.party else {}

    async def hint(self, in_s: float) -> None:
        self.hints.hint(self.clock.wall_us() + round(in_s * 1e6))
        await asyncio.sleep(0)

    async def rest(self) -> None:
        self.hints.rest(self.end)


async def test_while_the_engine_rests_a_hint_of_what_is_due_asks_at_once_and_only_once() -> None:
    ear = Ear()
    await ear.rest()
    await ear.hint(0)
    await ear.hint(0)
    assert (len(ear.asked), len(ear.heard)) == (1, 1)
    assert not ear.end.done()
    ear.asked[0].reply.fail(OSError())
    await ear.end
    assert ear.hints.resume() == {ear.party: ear.asked[0]}
    assert ear.hints.resume() == {}


async def test_an_engine_that_does_not_rest_is_told_instead() -> None:
    ear = Ear()
    await ear.hint(0)
    await ear.rest()
    ear.hints.resume()
    await ear.hint(0.01)
    assert (len(ear.asked), len(ear.heard)) == (0, 2)


@pytest.mark.parametrize("in_s", [0.5, -1_767_225_600], ids=["soon", "of an unknown time"])
async def test_what_is_not_due_or_of_an_unknown_time_is_for_the_loop(in_s: float) -> None:
    ear = Ear()
    await ear.rest()
    await ear.hint(in_s)
    assert (len(ear.asked), len(ear.heard)) == (0, 1)


async def test_what_is_due_after_the_next_poll_is_left_to_it() -> None:
    ear = Ear()
    await ear.rest()
    await ear.hint(SETTINGS.poll_s + SETTINGS.ahead_s)
    assert (ear.asked, ear.heard) == ([], [])


async def test_where_there_is_no_room_the_loop_is_told_for_which_time() -> None:
    ear = Ear()
    ear.party = ()
    await ear.rest()
    await ear.hint(0)
    assert ear.heard == [ear.clock.wall_us()]


async def test_hints_that_come_together_wake_the_loop_once_for_the_first_due() -> None:
    ear = Ear()
    for late_ms in (30, 10, 20):
        ear.hints.hint(ear.clock.wall_us() + late_ms * 1000)
    await asyncio.sleep(0)
    assert ear.heard == [ear.clock.wall_us() + 10_000]


async def test_a_forked_child_asks_for_nothing_in_its_parents_name(monkeypatch: pytest.MonkeyPatch) -> None:
    ear = Ear()
    await ear.rest()
    monkeypatch.setattr(os, "getpid", lambda: -1)
    await ear.hint(0)
    assert ear.asked == []
