"""Calls that are refused, and calls that were done and never answered: nothing is lost, and nothing is done twice."""

from __future__ import annotations

from random import Random

import pytest

from kokugen.task import Mode, TaskState
from kokugen.testing import Fault, RandomFaults
from tests.engine.node import Lab, later, virtually
from tests.engine.test_room import both_kinds

SEEDS = range(20)
TTL_S = 30.0
SETTLE_S = 200.0


@pytest.mark.parametrize("fault", Fault)
@pytest.mark.parametrize("verb", ["claim", "finish", "beat", "register", "watch", "held"])
def test_a_call_that_fails_now_and_then_loses_and_doubles_nothing(verb: str, fault: Fault) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        share = {fault.value: 0.4}
        node.line.plan = RandomFaults(Random(2), **{"refused": 0.0, "unanswered": 0.0, **share}, only=[verb])
        if verb == "held":
            node.line.fail("claim", *[None, Fault.UNANSWERED] * 30)
        for number in range(60):
            lab.add("last", number % 25, mode=number % 2)
            await later(1)
        await later(SETTLE_S)
        assert lab.states(info.id for info in lab.infos()) == {TaskState.DONE}
        assert sorted(task_id for task_id, _ in lab.ledger.starts) == sorted(info.id for info in lab.infos())
        assert node.line.faults[verb, fault] > 0
        assert node.storage.fenced == 0, "what was written and not answered counts as written"
        assert "superseded" not in node.hooks.names()
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("seed", SEEDS)
def test_whatever_fails_by_chance_nothing_is_lost_or_doubled(seed: int) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=7)
        random = Random(seed)
        node.line.plan = RandomFaults(random, refused=0.15, unanswered=0.15)
        for number in range(120):
            lab.add("last", random.uniform(0, 3), after_s=random.uniform(0, 30), mode=number % 2)
        await later(SETTLE_S)
        node.line.plan = None
        await later(SETTLE_S)
        assert lab.states(info.id for info in lab.infos()) == {TaskState.DONE}
        assert sorted(task_id for task_id, _ in lab.ledger.starts) == sorted(info.id for info in lab.infos())
        assert {kind for _, kind in node.line.faults} == set(Fault)
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("mode", Mode)
def test_a_claim_without_an_answer_is_found_again_and_its_task_runs_once(mode: Mode) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.fail("claim", Fault.UNANSWERED)
        task_id = lab.add(mode=mode)
        await later(5)
        assert (lab.state(task_id), lab.info(task_id).fence) == (TaskState.DONE, 1)
        assert len(lab.ledger.starts) == 1
        await node.stop()

    virtually(main)


def test_each_lane_finds_its_own_claim_again() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work
        def sync() -> None:
            lab.ledger.start()

        node = await lab.node(dispatchers=both_kinds(lab))
        await later(0.5)
        node.line.fail("claim", *[Fault.UNANSWERED] * 2)
        ids = [*lab.add_many(3, "sync"), *lab.add_many(3, "note")]
        await later(5)
        assert lab.states(ids) == {TaskState.DONE}
        assert {lab.info(one).fence for one in ids} == {1}
        assert sorted(task_id for task_id, _ in lab.ledger.starts) == sorted(ids)
        more = [*lab.add_many(3, "sync"), *lab.add_many(3, "note")]
        await later(2)
        assert lab.states(more) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_what_a_claim_took_long_ago_is_not_started_when_it_is_found() -> None:
    """The lease counts from when the claim was sent: meanwhile a watcher may be about to take the task over."""

    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.fail("claim", Fault.UNANSWERED)
        task_id = lab.add()
        await later(0.01)
        assert lab.state(task_id) is TaskState.WORKING
        node.line.down = True
        await later(TTL_S - 1)
        watcher = await lab.node()
        watcher.line.silent = {"claim"}
        node.line.down = False
        node.line.silent = {"claim", "finish"}
        await later(15)
        assert node.line.times("held")
        assert lab.ledger.starts == []
        await node.crash()
        await watcher.crash()
        assert lab.info(task_id).fence == 1

    virtually(main)


def test_an_outage_of_an_hour_loses_nothing_and_what_is_due_starts_as_soon_as_it_is_over() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=200)
        ids = [lab.add(after_s=30.0 * number) for number in range(100)]
        await later(100)
        node.line.down = True
        await later(3600)
        node.line.down = False
        back_s = lab.ledger.now_s
        await later(15)
        assert lab.states(ids) == {TaskState.DONE}
        assert len(lab.ledger.starts) == 100
        assert max(at_s for _, at_s in lab.ledger.starts) <= back_s + 11
        await node.stop()

    virtually(main)


def test_an_outcome_is_written_though_no_beat_is_ever_answered() -> None:
    """A beat that arrives keeps the lease, so nobody takes the run over: its outcome is not to wait for the answer."""

    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.fail("finish", Fault.REFUSED)
        node.line.fail("beat", *[Fault.UNANSWERED] * 1_000)
        task_id = lab.add("last", 25)
        await later(2 * TTL_S)
        assert (lab.state(task_id), lab.info(task_id).fence) == (TaskState.DONE, 1)
        assert node.line.faults["finish", Fault.REFUSED] == 1
        assert node.line.faults["beat", Fault.UNANSWERED] > 0
        await node.stop()

    virtually(main)


def test_a_store_that_cannot_be_opened_is_told_when_starting() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        await node.stop()
        node.line.fail("register", Fault.REFUSED)
        with pytest.raises(ConnectionError, match="register"):
            await node.start()

    virtually(main)


@pytest.mark.parametrize("verb", ["claim", "finish", "beat", "register", "watch", "prune"])
def test_an_answer_that_comes_at_the_very_last_moment_counts(verb: str) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.slow_s[verb] = node.settings.rpc_s
        ids = [lab.add("last", 12), lab.add()]
        await later(100)
        assert lab.states(ids) == {TaskState.DONE}
        assert {lab.info(one).fence for one in ids} == {1}
        assert await node.stop()

    virtually(main)
