"""A node whose wall clock is not the store's: what is due goes by the store's, and nothing runs hot or stands still.

Beside it, two more of what simulated clusters met with: an answer that never comes at the start, and an outcome that is
refused only when it is tried again.
"""

from __future__ import annotations

import asyncio

import pytest

from kokugen import TaskState
from kokugen.clock import SECOND_US
from kokugen.repository.rows import CancelRequest
from kokugen.testing import VirtualClock
from tests.engine.node import Lab, Node, later, virtually

HOUR_S = 3600.0


class WrongClock:
    """A wall clock that is wrong by so much, beside a boot clock that is not."""

    def __init__(self, right: VirtualClock, wrong_s: float) -> None:
        self.boot_s = right.boot_s
        self._right = right
        self.wrong_s = wrong_s

    def wall_us(self) -> int:
        return self._right.wall_us() + round(self.wrong_s * SECOND_US)


async def wrong_node(lab: Lab, wrong_s: float) -> Node:
    node = Node(WrongClock(lab.clock, wrong_s), lab.store, lab.works)
    await node.start()
    return node


@pytest.mark.parametrize("wrong_s", [-HOUR_S, HOUR_S])
def test_a_node_whose_clock_is_wrong_runs_each_task_at_its_time_by_the_stores(wrong_s: float) -> None:
    async def main(lab: Lab) -> tuple[list[float], float]:
        node = await wrong_node(lab, wrong_s)
        task_id, due_s = lab.add(after_s=5), lab.ledger.now_s + 5
        await later(10)
        await node.stop()
        return lab.ledger.started(task_id), due_s

    (started_s,), due_s = virtually(main)
    assert due_s <= started_s + 1e-6 < due_s + 0.1


def test_a_node_whose_clock_is_ahead_does_not_ask_all_the_time_for_what_is_due_later() -> None:
    async def main(lab: Lab) -> int:
        node = await wrong_node(lab, HOUR_S)
        lab.add(after_s=HOUR_S / 2)
        await later(60)
        await node.stop()
        return len(node.line.times("claim"))

    assert virtually(main) < 100


def test_a_node_knows_how_wrong_its_clock_is_before_it_decides_anything() -> None:
    async def main(lab: Lab) -> int:
        node = await wrong_node(lab, HOUR_S)
        return node.storage.skew_us

    assert virtually(main) == HOUR_S * SECOND_US


def test_a_retry_is_due_by_the_clock_of_the_store() -> None:
    async def main(lab: Lab) -> TaskState:
        node = await wrong_node(lab, HOUR_S)
        task_id = lab.add("fail", max_attempts=2)
        await later(10)
        await node.stop()
        return lab.state(task_id)

    assert virtually(main) is TaskState.FAILED


@pytest.mark.parametrize("set_by_s", [HOUR_S, -HOUR_S])
def test_a_retry_is_due_by_the_clock_of_the_store_though_the_nodes_was_just_set(set_by_s: float) -> None:
    async def main(lab: Lab) -> tuple[TaskState, float]:
        @lab.works.work
        async def fall() -> None:
            lab.ledger.start()
            clock.wrong_s = set_by_s
            raise OSError

        clock = WrongClock(lab.clock, 0.0)
        node = Node(clock, lab.store, lab.works)
        await node.start()
        task_id = lab.add("fall", max_attempts=2)
        await later(10)
        await node.stop()
        first_s, second_s = lab.ledger.started(task_id)
        return lab.state(task_id), second_s - first_s

    state, pause_s = virtually(main)
    assert state is TaskState.FAILED
    assert 0.1 < pause_s < 10


def test_a_start_is_tried_again_where_the_store_never_answers() -> None:
    async def main(lab: Lab) -> None:
        node = Node(lab.clock, lab.store, lab.works)
        node.line.silent = {"register"}
        await asyncio.wait_for(node.start(), 60)

    with pytest.raises(OSError, match="joining was not answered"):
        virtually(main)


@pytest.mark.parametrize("takes_s", [1.0, 9.0], ids=["long before the outbox is looked at", "while it is"])
def test_an_outcome_that_is_refused_when_it_is_tried_again_is_told_of(takes_s: float) -> None:
    async def main(lab: Lab) -> list[str]:
        node = await lab.node()
        task_id = lab.add("last", takes_s)
        await later(takes_s - 0.5)
        node.line.silent = {"finish"}
        await later(1)
        assert node.storage.unwritten == 1
        lab.store.cancel(CancelRequest(ids=(task_id,), force=True)).peek()
        node.line.silent = set()
        await later(60)
        await node.stop()
        return node.hooks.names()

    assert virtually(main).count("superseded") == 1
