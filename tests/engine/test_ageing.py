"""A stream of other tasks keeps all workers busy, endlessly: a low one starts all the same, once it waited enough."""

from __future__ import annotations

import asyncio
from math import inf

import pytest

from kokugen.settings import Settings
from kokugen.task import Priority
from tests.engine.node import Lab, later, virtually

AGEING_S = 30.0
BACKLOG = 5
HOUR_S = 3600.0


async def pour(lab: Lab, priority: Priority) -> None:
    """Add a task of a second every second, for ever: as much as one worker can do, and a backlog more."""
    lab.add_many(BACKLOG, "last", 1.0, rank=-priority)
    while True:
        lab.add("last", 1.0, rank=-priority)
        await later(1.0)


def waited_s(priority: Priority, ageing_s: float, *, after_s: float = 100.0) -> list[float]:
    """Return how long a low task waited in an endless stream of others, or nothing where it did for an hour."""

    async def main(lab: Lab) -> list[float]:
        node = await lab.node(workers=1, settings=Settings(ageing_s=ageing_s))
        stream = asyncio.create_task(pour(lab, priority))
        low = lab.add(rank=-Priority.LOW, after_s=after_s)
        await later(HOUR_S)
        stream.cancel()
        await node.stop()
        return [at_s - after_s for at_s in lab.ledger.started(low)]

    return virtually(main)


@pytest.mark.parametrize("priority", [Priority.NORMAL, Priority.HIGH, Priority.URGENT])
def test_a_low_task_starts_behind_what_came_until_it_had_waited_by_the_ageing_of_each_level(priority: Priority) -> None:
    (low_s,) = waited_s(priority, AGEING_S)
    enough_s = AGEING_S * priority
    assert enough_s <= low_s <= enough_s + BACKLOG + 2


def test_a_low_task_waits_for_ever_where_priorities_are_strict() -> None:
    assert waited_s(Priority.NORMAL, inf) == []
