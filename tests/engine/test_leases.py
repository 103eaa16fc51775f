"""How long a node may trust that a task is its own, and when another takes it over: by what was seen, not by clocks."""

from __future__ import annotations

from collections.abc import Collection
from datetime import timedelta

import pytest

from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.rows import CancelRequest, ClaimRequest, Finish, Lease
from kokugen.run import Interrupt
from kokugen.task import Mode, TaskState
from kokugen.testing.faulty_repository import Fault
from tests.engine.node import START_US, Lab, Node, later, virtually

TTL_S, BEAT_S, WATCH_S, MARGIN_S = 30.0, 10.0, 5.0, 5.0
POLL_S = 1.0


def test_work_that_outlasts_its_ttl_by_far_is_kept_by_beats() -> None:
    async def main(lab: Lab) -> None:
        owner, other = await lab.node(), await lab.node()
        task_id = lab.add("last", 500)
        await later(501)
        info = lab.info(task_id)
        assert (info.state, info.fence, info.lost) == (TaskState.DONE, 1, 0)
        assert len(lab.ledger.starts) == 1
        await owner.stop()
        await other.stop()

    virtually(main)


def test_a_lease_counts_from_when_it_was_asked_for_not_from_the_answer() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.slow_s |= {"claim": 2.0, "beat": 3.0}
        lab.add("hang")
        await later(9)
        (run,) = lab.ledger.runs
        claimed_s = next(
            at_s for at_s in node.line.times("claim")[::-1] if at_s < run.started_us / 1e6 - START_US / 1e6
        )
        assert run.trusted_until_s == pytest.approx(claimed_s + TTL_S - MARGIN_S)
        await later(15)
        assert run.trusted_until_s == pytest.approx(node.line.times("beat")[-1] + TTL_S - MARGIN_S)
        await node.stop(grace_s=0)

    virtually(main)


def test_short_work_costs_no_beats() -> None:
    async def main(lab: Lab) -> int:
        node = await lab.node()
        for _ in range(300):
            lab.add("last", 0.3)
            await later(0.5)
        await node.stop()
        return len(node.line.times("beat"))

    assert virtually(main) == 0


@pytest.mark.parametrize("wall_step_s", [0, 86_400, -86_400])
def test_a_dead_nodes_task_is_taken_over_once_it_was_seen_unchanged_for_its_ttl(wall_step_s: int) -> None:
    async def main(lab: Lab) -> None:
        owner = await lab.node()
        task_id = lab.add("last", 60)
        await later(23.4)
        last_sign_s = owner.line.times("beat")[-1]
        await owner.crash()
        other = await lab.node()
        lab.clock.step_wall(timedelta(seconds=wall_step_s))
        began_s = lab.clock.boot_s()
        while not lab.info(task_id).lost:
            await later(0.1)
        taken_s = lab.clock.boot_s()
        assert taken_s - began_s >= TTL_S > 0
        assert taken_s - last_sign_s >= TTL_S
        assert taken_s - began_s <= TTL_S + 2 * WATCH_S + 0.1
        assert lab.outcomes(task_id) == ["lost"]
        await later(1)
        running = lab.state(task_id) is TaskState.WORKING
        assert lab.info(task_id).attempt == int(running), "a crash used an attempt up"
        await other.stop()

    virtually(main)


def test_what_is_compared_in_the_end_is_the_beat_not_the_age() -> None:
    """The owner beats between the look that found its run unchanged for too long and the recovery."""

    async def main(lab: Lab) -> None:
        owner = await lab.node()
        task_id = lab.add("hang")
        await later(1)
        owner.line.silent, leases = {"beat", "register", "finish"}, list(owner.engine.runs)
        watcher = await lab.node()

        def beat_at_last(verb: str) -> None:
            if verb == "recover":
                lab.store.beat(leases).peek()

        watcher.line.plan = beat_at_last
        await later(TTL_S + 3 * WATCH_S)
        assert watcher.line.times("recover")
        assert (lab.info(task_id).fence, lab.info(task_id).lost) == (1, 0)
        await owner.crash()
        await watcher.stop()

    virtually(main)


@pytest.mark.parametrize("how", ["refused", "unanswered"])
def test_a_run_that_cannot_be_extended_is_told_between_its_trust_deadline_and_its_ttl(how: str) -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        lab.add("hang")
        await later(12)
        trusted_until_s = node.line.times("beat")[-1] + TTL_S - MARGIN_S
        (run,) = lab.ledger.runs
        if how == "refused":
            node.line.down = True
        else:
            node.line.silent = {"beat", "register"}
        while run.interrupt is None:
            await later(0.05)
        told_s = lab.clock.boot_s()
        assert run.interrupt is Interrupt.LEASE_LOST
        assert trusted_until_s <= told_s <= trusted_until_s + MARGIN_S
        await node.crash()

    virtually(main)


def test_a_node_cut_off_from_the_store_stops_its_run_before_another_starts_it() -> None:
    async def main(lab: Lab) -> None:
        cut_off, other = await lab.node(), await lab.node()
        task_id = lab.add("last", 70)
        await later(15)
        first = next(node for node in lab.nodes if node.running)
        (second,) = (node for node in lab.nodes if node is not first)
        first.line.down = True
        (run,) = lab.ledger.runs
        while run.interrupt is None:
            await later(0.05)
        assert second.running == 0
        await later(60)
        assert second.running == 1
        first.line.down = False
        await later(60)
        assert first.storage.unwritten == 0
        assert (first.storage.fenced, second.storage.fenced) == (1, 0)
        assert (lab.state(task_id), lab.info(task_id).fence) == (TaskState.DONE, 2)
        await cut_off.stop()
        await other.stop()

    virtually(main)


def test_what_was_claimed_long_ago_is_not_started_on_trust() -> None:
    """What a claim took is given back where that is only heard after its ttl is past: another node may hold it."""

    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.slow_s.update(claim=TTL_S, held=TTL_S)
        task_id = lab.add()
        await later(TTL_S + 1)
        assert lab.ledger.starts == []
        node.line.slow_s.clear()
        await later(TTL_S + 1)
        assert len(lab.ledger.starts) == 1
        assert (lab.state(task_id), lab.info(task_id).attempt, lab.info(task_id).lost) == (TaskState.DONE, 1, 0)
        await node.stop()

    virtually(main)


def test_a_run_that_was_taken_from_its_node_hears_of_it_at_the_next_beat() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("hang")
        await later(1)
        lab.store.cancel(CancelRequest(ids=(task_id,), reason="away with it", force=True)).peek()
        await later(BEAT_S)
        (run,) = lab.ledger.runs
        assert run.interrupt is Interrupt.LEASE_LOST
        assert "superseded" in node.hooks.names()
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "away with it")
        await node.stop()

    virtually(main)


def test_a_cancellation_from_elsewhere_is_heard_within_a_beat() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("hang", max_attempts=5)
        await later(1)
        lab.store.cancel(CancelRequest(ids=(task_id,), reason="enough")).peek()
        await later(BEAT_S)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "enough")
        assert node.running == 0
        await node.stop()

    virtually(main)


def test_a_cancellation_from_elsewhere_is_heard_at_once_where_it_is_hinted() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_ids = lab.add_many(3, "hang")
        await later(1)
        beats = len(node.line.times("beat"))
        lab.store.cancel(CancelRequest(ids=tuple(task_ids[:2]))).peek()
        for _ in range(5):
            node.engine.hint(STOP_ASKED)
        await later(0.1)
        assert [lab.state(task_id).label for task_id in task_ids] == ["Cancelled", "Cancelled", "Working"]
        assert len(node.line.times("beat")) - beats == 1
        await node.stop(grace_s=0)

    virtually(main)


def test_a_hint_that_is_false_or_meets_with_a_silent_store_does_no_harm() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("hang")
        await later(1)
        node.line.fail("beat", Fault.REFUSED, None)
        node.engine.hint(STOP_ASKED)
        await later(0.1)
        node.engine.hint(STOP_ASKED)
        await later(0.1)
        assert (lab.state(task_id), node.running) == (TaskState.WORKING, 1)
        await node.stop(grace_s=0)

    virtually(main)


def test_a_cancelled_task_of_a_dead_node_is_not_run_again() -> None:
    async def main(lab: Lab) -> None:
        owner, other = await lab.node(), await lab.node()
        task_id = lab.add("hang")
        await later(1)
        lab.store.cancel(CancelRequest(ids=(task_id,))).peek()
        await _holder(lab).crash()
        await later(TTL_S + 3 * WATCH_S)
        assert lab.state(task_id) is TaskState.CANCELLED
        assert len(lab.ledger.starts) == 1
        for node in (owner, other):
            if not node.line.down:
                await node.stop()

    virtually(main)


def test_a_task_that_may_run_once_is_failed_where_its_node_died() -> None:
    async def main(lab: Lab) -> None:
        owner, other = await lab.node(), await lab.node()
        task_id = lab.add("hang", mode=Mode.AT_MOST_ONCE)
        await later(1)
        await _holder(lab).crash()
        await later(TTL_S + 3 * WATCH_S)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.FAILED, "lost")
        assert len(lab.ledger.starts) == 1
        for node in (owner, other):
            if not node.line.down:
                await node.stop()

    virtually(main)


def _holder(lab: Lab) -> Node:
    (holder,) = (node for node in lab.nodes if node.running)
    return holder


# -- Claims that are committed after they were given up


def claim_late(lab: Lab, node: Node) -> str:
    """Have a claim of this node be committed that it has long given up, and return the task that it takes."""
    task_id = lab.add("note")
    request = ClaimRequest(node_id=node.storage.node.node_id, nonce="late", slots=1, ttl_s=TTL_S)
    (taken,) = lab.store.claim(request).peek().tasks
    assert taken.id == task_id
    return task_id


async def watched(node: Node, span_s: float, known: Collection[Lease]) -> list[str]:
    """Have a node look every beat for so long, and return what it recovered."""
    recovered = []
    for _ in range(int(span_s / BEAT_S)):
        recovered += [one.id for one in await node.storage.watch(known)]
        await later(BEAT_S)
    return recovered


def test_what_a_claim_takes_that_was_given_up_is_taken_back_by_its_own_node() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = claim_late(lab, node)
        await later(TTL_S - 1)
        assert lab.state(task_id) is TaskState.WORKING
        await later(2 * BEAT_S + POLL_S)
        info = lab.info(task_id)
        assert (info.state, info.attempt, info.lost, info.fence) == (TaskState.DONE, 1, 1, 2)
        assert len(lab.ledger.started(task_id)) == 1
        await node.stop()

    virtually(main)


def test_a_run_that_its_node_knows_is_not_taken_back_however_long_it_is_seen_unchanged() -> None:
    async def main(lab: Lab) -> None:
        node = Node(lab.clock, lab.store, lab.works)
        known, unknown = claim_late(lab, node), claim_late(lab, node)
        runs = {Lease(known, "late")}
        assert await watched(node, TTL_S - BEAT_S, runs) == []
        assert await watched(node, TTL_S, runs) == [unknown]
        assert await watched(node, TTL_S, runs) == []
        assert lab.state(known) is TaskState.WORKING

    virtually(main)


def test_an_outcome_that_cannot_be_written_is_not_taken_for_a_run_that_nobody_knows() -> None:
    async def main(lab: Lab) -> None:
        node = Node(lab.clock, lab.store, lab.works)
        task_id = claim_late(lab, node)
        node.line.fail("finish", Fault.REFUSED)
        await node.storage.finish([Finish(id=task_id, claim="late", state=TaskState.DONE, outcome="done")])
        assert await watched(node, 3 * TTL_S, ()) == []
        assert await node.storage.flush()
        assert lab.state(task_id) is TaskState.DONE

    virtually(main)


def test_a_node_that_stood_still_looks_anew_before_it_takes_anything_over() -> None:
    """A machine that sleeps stops all its nodes at once: whoever wakes first must not rob the others."""

    async def main(lab: Lab) -> None:
        owner, watcher = Node(lab.clock, lab.store, lab.works), Node(lab.clock, lab.store, lab.works)
        task_id = claim_late(lab, owner)
        assert await watched(watcher, TTL_S - BEAT_S, ()) == []
        await later(10 * TTL_S)
        assert await watched(watcher, TTL_S, ()) == []
        assert await watched(watcher, BEAT_S, ()) == [task_id]

    virtually(main)
