"""How much a node takes on: slots and a small buffer, and one task at a time of those that were lost before."""

from __future__ import annotations

from itertools import pairwise

import pytest

from kokugen.clock import Clock
from kokugen.settings import Settings
from kokugen.task import Mode, TaskState
from kokugen.testing import Fault, InlineDispatcher
from tests.engine.node import Lab, later, virtually

BUFFER_MIN = 16
TTL_S, WATCH_S = 30.0, 5.0


class OneKind(InlineDispatcher):
    """Runs async work alone, or sync work alone, so that an engine has a lane for each."""

    def __init__(self, clock: Clock, *, is_async: bool, workers: int = 100) -> None:
        super().__init__(workers, clock=clock)
        self._is_async = is_async

    def accepts(self, *, is_async: bool) -> bool:
        return is_async is self._is_async


def both_kinds(lab: Lab) -> list[OneKind]:
    return [OneKind(lab.clock, is_async=kind) for kind in (True, False)]


def lost_before(lab: Lab, task_ids: list[str]) -> None:
    """Have these tasks claimed by a node that dies: they are lost once, and wait again."""
    seen = [one for one in lab.store.watch("nobody").peek() if one.id in task_ids]
    assert len(lab.store.recover(seen).peek()) == len(task_ids)


@pytest.mark.parametrize("workers", [1, 3, 40])
def test_no_more_is_claimed_than_slots_and_buffer_whatever_is_stored(workers: int) -> None:
    async def main(lab: Lab) -> None:
        lab.add_many(500, "hang")
        node = await lab.node(workers=workers)
        for _ in range(50):
            await later(0.5)
            assert workers <= node.running <= workers + BUFFER_MIN
        assert len(lab.ledger.starts) == workers
        await node.stop(grace_s=1)

    virtually(main)


def test_what_waits_for_a_slot_too_long_is_given_back_for_others() -> None:
    async def main(lab: Lab) -> None:
        busy = await lab.node(workers=1)
        ids = lab.add_many(10, "last", 3)
        await later(0.1)
        free = await lab.node(workers=20)
        await later(7)
        assert lab.states(ids) == {TaskState.DONE}
        assert {(info.attempt, info.lost) for info in lab.infos()} == {(1, 0)}
        assert len(lab.ledger.starts) == 10
        await busy.stop()
        await free.stop()

    virtually(main)


def test_a_node_that_is_full_for_long_does_not_claim_and_give_back_all_the_time() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=1)
        ids = lab.add_many(10, "last", 300)
        await later(299)
        assert sum(lab.info(one).fence for one in ids) <= 20
        await node.stop(grace_s=2)

    virtually(main)


def test_what_was_due_long_ago_is_not_given_back_as_if_it_had_waited_here() -> None:
    async def main(lab: Lab) -> None:
        lab.add_many(100, "last", 0.01)
        await later(3600)
        node = await lab.node(workers=2)
        await later(5)
        assert {info.fence for info in lab.infos()} == {1}
        assert lab.states(info.id for info in lab.infos()) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_quick_work_is_buffered_again_after_slow_work() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=1)
        lab.add("last", 5)
        lab.add_many(3)
        await later(6)
        lab.add_many(400, "last", 0.001)
        await later(0.3)
        assert node.running > 1 + BUFFER_MIN / 2
        await later(5)
        assert lab.states(info.id for info in lab.infos()) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_a_task_that_may_run_once_is_claimed_into_a_free_slot_only_and_then_at_once() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=2)
        lab.add("last", 3.3)
        lab.add("last", 7.7)
        await later(0.5)
        once = lab.add_many(3, "last", 5, mode=Mode.AT_MOST_ONCE)
        await later(1)
        assert {lab.info(one).fence for one in once} == {0}, "it was claimed, and might be lost without having run"
        await later(30)
        starts = [lab.ledger.started(one)[0] for one in once]
        assert starts == pytest.approx([3.3, 7.7, 8.3], abs=0.01)
        assert lab.states(once) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_of_tasks_that_were_lost_before_one_runs_at_a_time_and_the_next_one_at_once() -> None:
    async def main(lab: Lab) -> None:
        first = await lab.node()
        ids = lab.add_many(6, "last", 2)
        await later(1)
        await first.crash()
        node = await lab.node()
        lost_before(lab, ids)
        await later(6 * 2 + 0.5)
        assert lab.states(ids) == {TaskState.DONE}
        starts = sorted(at_s for _, at_s in lab.ledger.starts[6:])
        assert [b - a for a, b in pairwise(starts)] == pytest.approx([2.0] * 5, abs=0.01)
        await node.stop()

    virtually(main)


def test_a_lost_task_runs_alone_of_its_kind_even_where_two_lanes_claim() -> None:
    async def main(lab: Lab) -> None:
        at_work: set[str] = set()

        @lab.works.work
        async def careful(seconds: float) -> None:
            run = lab.ledger.start()
            assert not at_work
            at_work.add(run.task_id)
            await later(seconds)
            at_work.clear()

        @lab.works.work
        def sync() -> None:
            lab.ledger.start()
            assert not at_work

        first = await lab.node(dispatchers=both_kinds(lab))
        first.line.fail("finish", *[Fault.REFUSED] * 50)
        ids = [lab.add("careful", 1) for _ in range(3)] + lab.add_many(3, "hang") + lab.add_many(3, "sync")
        at_work.add("the first ones, which are cut off")
        await later(0.5)
        await first.crash()
        at_work.clear()
        node = await lab.node(dispatchers=both_kinds(lab))
        lost_before(lab, [one for one in ids if lab.state(one) is TaskState.WORKING])
        hung = {info.id for info in lab.infos() if info.work_id == "hang"}
        for _ in range(20):
            await later(1)
            lost_here = [run for run in node.engine.runs.values() if run.task.lost]
            assert len(lost_here) <= 1
            for run in lost_here:
                if run.task_id in hung:
                    assert not node.engine.drop(run.task_id, run.claim, "enough")
        others = [one for one in ids if one not in hung]
        assert lab.states(others) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_lanes_that_rest_claim_together() -> None:
    async def main(lab: Lab) -> None:
        lab.works.work(id="sync")(lambda: None)
        node = await lab.node(dispatchers=both_kinds(lab))
        await later(10)
        times = node.line.times("claim")
        assert len(times) == len(set(times)) >= 10
        await node.stop()

    virtually(main)


def test_tasks_of_schedules_are_claimed_no_more_often_than_others_while_their_lane_is_behind() -> None:
    claims: list[int] = []

    async def main(lab: Lab) -> None:
        lab.works.work(id="sync")(lambda: None)
        for options in (None, '{"serial":true}'):
            dispatchers = [OneKind(lab.clock, is_async=True, workers=4), OneKind(lab.clock, is_async=False)]
            ids = lab.add_many(300, "last", 0.01, options=options)
            node = await lab.node(dispatchers=dispatchers)
            while lab.states(ids) != {TaskState.DONE}:
                await later(0.1)
            claims.append(len(node.line.times("claim")))
            await node.stop()

    virtually(main)
    plain, serial = claims
    assert plain > 10
    assert serial < 1.5 * plain


def test_a_lane_that_is_full_and_lags_behind_holds_up_no_other() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work
        def sync() -> None:
            lab.ledger.start()

        dispatchers = [OneKind(lab.clock, is_async=True, workers=2), OneKind(lab.clock, is_async=False)]
        node = await lab.node(dispatchers=dispatchers)
        hung = lab.add_many(300, "hang")
        ids = lab.add_many(300, "sync")
        await later(0.1)
        assert lab.states(ids) == {TaskState.DONE}
        assert sum(lab.state(one) is TaskState.WORKING for one in hung) <= 2 + BUFFER_MIN
        later_ids = lab.add_many(300, "sync")
        await later(0.1)
        assert lab.states(later_ids) == {TaskState.DONE}
        await node.stop(grace_s=1)

    virtually(main)


@pytest.mark.parametrize("kinds", [("note",), ("sync",), ("note", "sync")])
def test_lost_tasks_of_either_lane_wait_for_no_poll(kinds: tuple[str, ...]) -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work
        def sync() -> None:
            lab.ledger.start()

        first = await lab.node(dispatchers=both_kinds(lab))
        first.line.fail("finish", *[Fault.REFUSED] * 50)
        ids = [task_id for kind in kinds for task_id in lab.add_many(6, kind)]
        await later(0.5)
        await first.crash()
        node = await lab.node(dispatchers=both_kinds(lab))
        lost_before(lab, ids)
        await later(0.1)
        assert lab.states(ids) == {TaskState.DONE}
        await node.stop()

    virtually(main)


def test_a_task_that_kills_its_node_dies_alone_and_for_good() -> None:
    async def main(lab: Lab) -> None:
        poison = lab.add("hang", id="poison", max_lost=3)
        for _ in range(3):
            node = await lab.node(workers=5)
            lab.add_many(3, "last", 0.1)
            while poison not in {run.task_id for run in node.engine.runs.values()}:
                await later(0.5)
            await later(1)
            await node.crash()
        survivor = await lab.node(workers=5)
        await later(TTL_S + 3 * WATCH_S)
        assert (lab.state(poison), lab.info(poison).reason, lab.info(poison).lost) == (TaskState.FAILED, "lost", 3)
        assert lab.outcomes(poison) == ["lost"] * 3
        assert lab.states(info.id for info in lab.infos() if info.id != poison) == {TaskState.DONE}
        await survivor.stop()

    virtually(main)


def test_a_full_outbox_stops_claims_until_it_is_written() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(settings=Settings(outbox_max=3))
        node.line.fail("finish", *[Fault.REFUSED] * 8)
        first = lab.add_many(4)
        await later(1)
        assert node.storage.unwritten >= 3
        assert lab.states(first) == {TaskState.WORKING}
        asked = len(node.line.times("claim"))
        second = lab.add_many(4)
        await later(20)
        assert len(node.line.times("claim")) == asked
        assert lab.states(second) == {TaskState.INITIALIZED}
        await later(100)
        assert lab.states([*first, *second]) == {TaskState.DONE}
        assert len(lab.ledger.starts) == 8
        await node.stop()

    virtually(main)


def test_outcomes_that_cannot_be_written_keep_their_leases() -> None:
    async def main(lab: Lab) -> None:
        owner = await lab.node()
        watcher = await lab.node()
        task_id = lab.add()
        for node in (owner, watcher):
            node.line.fail("finish", *[Fault.REFUSED] * 8)
        await later(3 * TTL_S + 3 * WATCH_S)
        assert (lab.state(task_id), lab.info(task_id).fence) == (TaskState.DONE, 1)
        assert len(lab.ledger.starts) == 1
        await owner.stop()
        await watcher.stop()

    virtually(main)
