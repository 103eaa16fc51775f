"""When the engine claims: at the earliest hint, and at the poll where no hint came; nothing early, nothing late."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from random import Random

import pytest

from kokugen.settings import DAY, Settings
from kokugen.task import TaskState
from kokugen.testing import Fault
from tests.engine.node import Lab, later, virtually

SLOW_POLL = Settings(poll_s=10_000.0)
HOUR_S = 3600.0
MONTH = Settings(
    ttl_s=9 * HOUR_S,
    beat_s=3 * HOUR_S,
    watch_s=HOUR_S,
    margin_s=HOUR_S,
    rpc_s=HOUR_S / 2,
    poll_s=6 * HOUR_S,
    surplus_s=HOUR_S,
    prune_s=24 * HOUR_S,
    keep_done=90 * DAY,
)


@pytest.mark.parametrize("after_s", [0.0, 0.01, 0.5, 3.25, 1234.567891, 90_000.0])
def test_a_task_starts_at_its_time(after_s: float) -> None:
    async def main(lab: Lab) -> list[float]:
        node = await lab.node(settings=SLOW_POLL)
        task_id = lab.add(after_s=after_s)
        await later(after_s + 1)
        await node.stop()
        return lab.ledger.started(task_id)

    (started_s,) = virtually(main)
    assert after_s <= started_s <= after_s + 0.000_01


def test_the_earliest_of_all_hints_wins() -> None:
    async def main(lab: Lab) -> list[tuple[str, float]]:
        node = await lab.node(settings=SLOW_POLL)
        for after_s in (300.0, 20.0, 100.0, 5.0, 4000.0):
            lab.add(id=f"at {after_s}", after_s=after_s)
        await later(4001)
        await node.stop()
        return [(task_id, round(at_s, 3)) for task_id, at_s in lab.ledger.starts]

    times = (5.0, 20.0, 100.0, 300.0, 4000.0)
    assert virtually(main) == [(f"at {time}", time) for time in times]


def test_a_task_that_comes_while_a_claim_is_under_way_is_not_overlooked() -> None:
    async def main(lab: Lab) -> list[float]:
        node = await lab.node(settings=SLOW_POLL)
        node.line.slow_s["claim"] = 0.5
        first = lab.add()
        await later(0.25)
        second = lab.add()
        await later(2)
        await node.stop()
        return [*lab.ledger.started(first), *lab.ledger.started(second)]

    assert virtually(main) == pytest.approx([0.5, 1.0])


def test_a_lost_hint_delays_a_task_by_the_poll_at_most() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.deaf = True
        for _ in range(3):
            await later(7.3)
            task_id, asked_s = lab.add(), lab.ledger.now_s
            await later(2)
            (started_s,) = lab.ledger.started(task_id)
            assert started_s - asked_s <= node.settings.poll_s + 0.001
        await node.stop()

    virtually(main)


def test_a_clock_that_is_set_back_puts_no_poll_off() -> None:
    async def main(lab: Lab) -> TaskState:
        node = await lab.node()
        node.line.deaf = True
        lab.clock.step_wall(timedelta(hours=-5))
        task_id = lab.add()
        await later(node.settings.poll_s + 0.001)
        await node.stop()
        return lab.state(task_id)

    assert virtually(main) is TaskState.DONE


def test_nothing_starts_early_where_the_clock_is_set_back_after_the_claim() -> None:
    async def main(lab: Lab) -> list[int]:
        node = await lab.node()
        task_id = lab.add(after_s=1.0)
        due_us = lab.clock.wall_us() + 1_000_000
        await later(0.99)
        assert lab.state(task_id) is TaskState.WORKING
        lab.clock.step_wall(timedelta(seconds=-10))
        await later(20)
        await node.stop()
        return [run.started_us - due_us for run in lab.ledger.runs]

    (early_us,) = virtually(main)
    assert early_us >= 0


def test_what_was_claimed_before_the_clock_was_set_back_takes_no_room_from_what_is_due_now() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=2)
        waiting = lab.add_many(2, after_s=1.0)
        await later(0.99)
        assert lab.states(waiting) == {TaskState.WORKING}
        lab.clock.step_wall(timedelta(hours=-1))
        due = lab.add_many(20)
        await later(2)
        assert (lab.states(due), lab.states(waiting)) == ({TaskState.DONE}, {TaskState.INITIALIZED})
        await later(HOUR_S)
        assert lab.states(waiting) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_an_idle_engine_asks_no_more_than_once_a_poll() -> None:
    async def main(lab: Lab) -> int:
        node = await lab.node()
        lab.add_many(50, after_s=HOUR_S)
        await later(600)
        await node.stop()
        return len(node.line.times("claim"))

    assert virtually(main) in range(600, 660)  # each wait may be a tenth shorter


def test_a_store_that_refuses_is_asked_ever_less_often_whatever_is_hinted() -> None:
    async def main(lab: Lab) -> list[float]:
        node = await lab.node()
        node.line.fail("claim", *[Fault.REFUSED] * 12)
        for _ in range(1000):
            lab.add()
            await later(0.1)
        await node.stop()
        assert lab.states(info.id for info in lab.infos()) == {TaskState.DONE}
        return node.line.times("claim")[1:12]

    times = virtually(main)
    pauses = [after - before for before, after in pairwise(times)]
    assert all(pause >= 0.1 for pause in pauses)
    assert pauses[0] < 1
    assert pauses[-1] > 3
    assert max(pauses) <= 4.01


def test_after_an_outage_the_next_error_is_retried_soon_again() -> None:
    async def main(lab: Lab) -> float:
        node = await lab.node()
        node.line.fail("claim", *[Fault.REFUSED] * 6, None, Fault.REFUSED)
        await later(60)
        before = len(node.line.times("claim"))
        node.line.fail("claim", Fault.REFUSED)
        await later(5)
        await node.stop()
        failed_s, again_s = node.line.times("claim")[before : before + 2]
        return again_s - failed_s

    assert virtually(main) < 0.3


def test_a_month_of_tasks_passes_each_at_its_time() -> None:
    random = Random(7)
    asked = {f"task {n}": random.uniform(0, 30 * 24 * HOUR_S) for n in range(900)}

    async def main(lab: Lab) -> dict[str, list[float]]:
        node = await lab.node(settings=MONTH)
        for task_id, after_s in asked.items():
            lab.add(id=task_id, after_s=after_s)
        await later(31 * 24 * HOUR_S)
        await node.stop()
        return {task_id: lab.ledger.started(task_id) for task_id in asked}

    started = virtually(main)
    assert {task_id: len(times) for task_id, times in started.items()} == dict.fromkeys(asked, 1)
    assert all(0 <= started[task_id][0] - due_s + 1e-6 < 0.001 for task_id, due_s in asked.items())
