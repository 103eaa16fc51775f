"""A graceful stop: what runs may end, what never started is given back, and no attempt is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from kokugen.run import Interrupt
from kokugen.task import Mode, TaskState
from kokugen.testing import Fault
from tests.engine.node import Lab, later, virtually

FOREVER = 1_000_000


def test_what_runs_may_end_within_the_grace_period() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        ids = lab.add_many(5, "last", 7)
        await later(1)
        assert await node.stop(grace_s=10)
        assert lab.states(ids) == {TaskState.DONE}
        assert lab.ledger.now_s == pytest.approx(7, abs=0.2)
        assert all(run.stopping for run in lab.ledger.runs)

    virtually(main)


def test_what_never_started_is_given_back_and_no_attempt_is_counted() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=2)
        ids = lab.add_many(10, "last", 0.2)
        await later(0.1)
        assert node.running > 2
        assert await node.stop(grace_s=10)
        ended = [(lab.state(one), lab.info(one).attempt, lab.info(one).lost) for one in ids]
        assert ended == [(TaskState.DONE, 1, 0)] * 2 + [(TaskState.INITIALIZED, 0, 0)] * 8
        assert len(lab.ledger.starts) == 2

    virtually(main)


def test_work_that_outlasts_the_grace_period_is_stopped_and_given_back() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("last", FOREVER)
        await later(1)
        assert await node.stop(grace_s=5)
        (run,) = lab.ledger.runs
        assert run.interrupt is Interrupt.STOP
        assert lab.ledger.now_s == pytest.approx(6, abs=0.2)
        info = lab.info(task_id)
        assert (info.state, info.attempt, info.lost, info.owner) == (TaskState.INITIALIZED, 0, 0, None)

    virtually(main)


def test_work_that_may_run_once_and_was_stopped_is_failed_not_given_back() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("last", FOREVER, mode=Mode.AT_MOST_ONCE)
        await later(1)
        assert await node.stop(grace_s=5)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.FAILED, "stopped")

    virtually(main)


def test_work_that_will_not_stop_is_told_of_and_its_node_does_not_sign_off() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work
        async def stubborn() -> None:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            await asyncio.Event().wait()

        node = await lab.node()
        task_id = lab.add("stubborn")
        await later(1)
        assert not await node.stop(grace_s=1)
        assert lab.state(task_id) is TaskState.WORKING
        (known,) = lab.store.nodes().peek()
        assert known.stopped_at is None

    virtually(main)


def test_a_node_that_stopped_says_so() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        await later(3)
        assert await node.stop()
        (known,) = lab.store.nodes().peek()
        assert known.stopped_at == lab.clock.wall_us()

    virtually(main)


@pytest.mark.parametrize("mode", Mode)
def test_a_claim_under_way_is_awaited_and_given_back(mode: Mode) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.slow_s["claim"] = 1.0
        ids = lab.add_many(3, mode=mode)
        await later(0.2)
        assert lab.states(ids) == {TaskState.WORKING}
        assert await node.stop(grace_s=0)
        told = [(lab.state(one), lab.info(one).attempt, lab.info(one).lost) for one in ids]
        assert told == [(TaskState.INITIALIZED, 0, 0)] * 3
        assert lab.ledger.starts == []

    virtually(main)


@pytest.mark.parametrize("mode", Mode)
def test_what_was_claimed_without_an_answer_is_given_back(mode: Mode) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.fail("claim", Fault.UNANSWERED)
        task_id = lab.add(mode=mode)
        await later(0.01)
        assert lab.state(task_id) is TaskState.WORKING
        assert await node.stop()
        info = lab.info(task_id)
        assert (info.state, info.attempt, info.lost) == (TaskState.INITIALIZED, 0, 0)

    virtually(main)


def test_an_outcome_that_cannot_be_written_at_once_is_written_within_the_grace_period() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("last", 1)
        await later(0.5)
        node.line.fail("finish", *[Fault.REFUSED] * 8)
        assert await node.stop(grace_s=10)
        assert lab.state(task_id) is TaskState.DONE
        assert node.storage.unwritten == 0

    virtually(main)


def test_a_store_that_stays_away_does_not_keep_a_node_from_stopping() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("last", 1)
        await later(0.5)
        node.line.down = True
        assert await node.stop(grace_s=10)
        assert lab.ledger.now_s <= 15
        assert lab.state(task_id) is TaskState.WORKING

    virtually(main)


def test_nothing_is_claimed_once_it_was_asked_to_stop() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        lab.add("last", 5)
        await later(1)
        stopping = asyncio.create_task(node.stop(grace_s=20))
        await later(0.1)
        late = lab.add_many(5)
        before = len(node.line.times("claim"))
        assert await stopping
        assert len(node.line.times("claim")) == before
        assert lab.states(late) == {TaskState.INITIALIZED}

    virtually(main)
