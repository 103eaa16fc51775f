"""What becomes of a task: tried again in time, cancelled, expired, left for others, held back."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kokugen import Cancel, Retry, Snooze
from kokugen.clock import from_us
from kokugen.errors import UnknownOutcomeError
from kokugen.registry.functions import FunctionRegistry
from kokugen.repository.rows import CancelRequest, CancelResult, Revision
from kokugen.run import Interrupt
from kokugen.task import Mode, TaskInfo, TaskState
from kokugen.testing import Fault
from tests.engine.node import START_US, Lab, later, virtually

SECOND_US = 1_000_000


class Unlisted:
    """A registry that can't say what it has, as the seed's: what it does not know is found out by loading it."""

    def __init__(self, lab: Lab, *known: str) -> None:
        self._works = lab.works
        self._known = known

    def load(self, work_id: str) -> Callable[..., Any] | None:
        return self._works.load(work_id) if work_id in self._known else None


def test_a_task_that_raises_is_tried_again_after_growing_pauses() -> None:
    async def main(lab: Lab) -> None:
        retry = Retry(4, initial=timedelta(seconds=1), factor=3.0, jitter=False)

        @lab.works.work(retry=retry)
        async def broken() -> None:
            lab.ledger.start()
            raise ValueError("no")

        node = await lab.node()
        task_id = lab.add("broken", max_attempts=4)
        await later(20)
        assert lab.ledger.started(task_id) == pytest.approx([0, 1, 4, 13], abs=0.001)
        assert (lab.state(task_id), lab.info(task_id).attempt) == (TaskState.FAILED, 4)
        assert lab.outcomes(task_id) == ["retry", "retry", "retry", "failed"]
        assert node.hooks.names() == ["failed", "failed", "failed", "failed", "dead"]
        await node.stop()

    virtually(main)


def test_a_snooze_counts_no_attempt() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work
        async def sleepy() -> None:
            lab.ledger.start()
            if len(lab.ledger.starts) < 4:
                raise Snooze(timedelta(seconds=60))

        node = await lab.node()
        task_id = lab.add("sleepy")
        await later(300)
        assert lab.ledger.started(task_id) == pytest.approx([0, 60, 120, 180], abs=0.001)
        assert (lab.state(task_id), lab.info(task_id).attempt) == (TaskState.DONE, 1)
        await node.stop()

    virtually(main)


def test_a_task_that_cancels_itself_is_not_tried_again() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work(retry=Retry(5))
        async def needless() -> None:
            lab.ledger.start()
            raise Cancel("nobody is there")

        node = await lab.node()
        task_id = lab.add("needless", max_attempts=5)
        await later(100)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "nobody is there")
        assert len(lab.ledger.starts) == 1
        await node.stop()

    virtually(main)


def test_work_that_takes_too_long_is_asked_to_stop() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work(timeout=timedelta(seconds=5))
        async def endless() -> None:
            lab.ledger.start()
            await later(1e6)

        node = await lab.node()
        task_id = lab.add("endless")
        await later(6)
        (run,) = lab.ledger.runs
        assert run.interrupt is Interrupt.TIMEOUT
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.FAILED, "timeout")
        await node.stop()

    virtually(main)


# -- Cancelling and moving


def test_a_task_that_was_cancelled_in_time_never_runs() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add(after_s=5)
        await later(4.97)
        (answer,) = lab.store.cancel(CancelRequest(ids=(task_id,))).peek()
        assert answer.result is CancelResult.CANCELLED
        await later(60)
        assert lab.ledger.starts == []
        await node.stop()

    virtually(main)


def test_a_task_that_is_claimed_and_not_started_can_still_be_dropped_here() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add(after_s=0.5)
        await later(0.49)
        (answer,) = lab.store.cancel(CancelRequest(ids=(task_id,), reason="no")).peek()
        assert (answer.result, answer.claim is not None) == (CancelResult.REQUESTED, True)
        assert node.engine.drop(task_id, str(answer.claim), "no")
        await later(60)
        assert lab.ledger.starts == []
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "no")
        await node.stop()

    virtually(main)


def test_a_task_that_is_cancelled_while_the_answer_to_its_claim_is_on_its_way_never_runs() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.slow_s["claim"] = 0.5
        task_id = lab.add()
        await later(0.1)
        (answer,) = lab.store.cancel(CancelRequest(ids=(task_id,), reason="not needed")).peek()
        assert (answer.result, answer.claim is None) == (CancelResult.REQUESTED, False)
        assert not node.engine.drop(task_id, answer.claim or "", "not needed")
        await later(1.5)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "not needed")
        assert lab.ledger.starts == []
        assert node.engine._early == {}
        await node.stop()

    virtually(main)


def test_running_work_that_is_dropped_here_is_told_at_once() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("hang", max_attempts=9)
        await later(1)
        (answer,) = lab.store.cancel(CancelRequest(ids=(task_id,), reason="stop it")).peek()
        assert not node.engine.drop(task_id, str(answer.claim), "stop it")
        await later(0.01)
        assert (lab.state(task_id), lab.info(task_id).reason) == (TaskState.CANCELLED, "stop it")
        await node.stop()

    virtually(main)


def test_a_cancel_that_comes_while_work_fails_leaves_no_next_attempt() -> None:
    async def main(lab: Lab) -> None:
        @lab.works.work(retry=Retry(9))
        async def deaf() -> None:
            lab.ledger.start()
            await later(2)
            raise ValueError("no")

        node = await lab.node()
        task_id = lab.add("deaf", max_attempts=9)
        await later(1)
        lab.store.cancel(CancelRequest(ids=(task_id,), reason="enough")).peek()
        await later(600)
        assert (lab.state(task_id), len(lab.ledger.starts)) == (TaskState.CANCELLED, 1)
        await node.stop()

    virtually(main)


def test_a_moved_task_runs_at_its_new_time_alone() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        sooner, later_on = lab.add(after_s=500), lab.add(after_s=5)
        await later(1)
        for task_id, at_s in ((sooner, 7), (later_on, 300)):
            lab.store.revise(task_id, Revision(due_at=START_US + at_s * SECOND_US)).peek()
        await later(600)
        assert lab.ledger.started(sooner) == pytest.approx([7], abs=0.001)
        assert lab.ledger.started(later_on) == pytest.approx([300], abs=0.001)
        await node.stop()

    virtually(main)


# -- What does not run


def test_a_task_past_its_start_deadline_expires_and_one_within_it_runs() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        node.line.down = True
        past, within = (lab.add(start_deadline=START_US + seconds * SECOND_US) for seconds in (30, 300))
        await later(60)
        node.line.down = False
        await later(20)
        assert (lab.state(past), lab.info(past).reason) == (TaskState.CANCELLED, "expired")
        assert lab.state(within) is TaskState.DONE
        assert [task_id for task_id, _ in lab.ledger.starts] == [within]
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("mode", Mode)
def test_work_that_is_unknown_here_is_left_for_a_node_that_knows_it(mode: Mode) -> None:
    async def main(lab: Lab) -> None:
        ignorant = await lab.node(works=Unlisted(lab, "last"))
        strange, known = lab.add("note", mode=mode), lab.add("last", 1)
        await later(30)
        info = lab.info(strange)
        assert (info.state, info.attempt, info.lost) == (TaskState.INITIALIZED, 0, 0)
        assert info.fence == 1, "it was not asked for again"
        assert lab.state(known) is TaskState.DONE
        wise = await lab.node(works=Unlisted(lab, "note"))
        await later(2)
        assert (lab.state(strange), lab.info(strange).attempt) == (TaskState.DONE, 1)
        await ignorant.stop()
        await wise.stop()

    virtually(main)


def test_work_that_is_declared_while_running_is_run_from_then_on() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add("new")
        await later(10)
        assert lab.info(task_id).fence == 0

        @lab.works.work
        async def new() -> None:
            lab.ledger.start()

        await later(1.1)
        assert lab.state(task_id) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_the_first_work_of_all_starts_at_once_though_it_is_declared_while_running() -> None:
    async def main(lab: Lab) -> None:
        works = FunctionRegistry()
        node = await lab.node(works=works)

        @works.work
        async def new() -> None:
            lab.ledger.start()

        task_id = lab.add("new")
        await later(0.001)
        assert lab.state(task_id) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_arguments_that_cannot_be_read_hold_their_task_back_and_no_other() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        bad, good = lab.add("last", "soon"), lab.add("last", 1)
        await later(30)
        info = lab.info(bad)
        assert (info.state, info.hold, info.attempt) == (TaskState.INITIALIZED, "undecodable", 0)
        assert lab.state(good) is TaskState.DONE
        assert lab.info(bad).fence == 1, "it was not claimed again while it is held"
        await node.stop()

    virtually(main)


def test_a_held_task_does_not_run_before_it_is_released() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node()
        task_id = lab.add(after_s=2)
        lab.store.revise(task_id, Revision(hold="by hand")).peek()
        await later(60)
        assert (lab.ledger.starts, lab.info(task_id).fence) == ([], 0)
        lab.store.revise(task_id, Revision(release=True)).peek()
        await later(0.1)
        assert lab.state(task_id) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_what_is_not_to_be_restored_is_held_and_the_rest_runs() -> None:
    async def main(lab: Lab) -> None:
        def wanted(info: TaskInfo) -> bool:
            return info.id != "stale"

        stale, overdue = lab.add(id="stale"), lab.add()
        await later(5)
        node = await lab.node(should_restore=wanted)
        await later(5)
        assert (lab.state(stale), lab.info(stale).hold) == (TaskState.INITIALIZED, "not restored")
        assert lab.state(overdue) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_a_task_that_starts_too_late_is_told_of() -> None:
    async def main(lab: Lab) -> None:
        lab.add(), lab.add(after_s=10)
        await later(7)
        node = await lab.node()
        await later(5)
        (late,) = (event for name, event in node.hooks.heard if name == "late")
        assert late.late_s == pytest.approx(7, abs=0.01)
        await node.stop()

    virtually(main)


def test_a_task_that_waits_for_a_slot_here_can_still_be_moved_and_never_runs_at_its_old_time() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=1)
        lab.add("last", 60)
        waiting = lab.add()
        await later(0.1)
        assert lab.state(waiting) is TaskState.WORKING
        due_us = lab.clock.wall_us() + 300_000_000
        recalled = node.engine.recall(waiting, due_us)
        assert recalled is not None
        await recalled
        assert (lab.state(waiting), lab.info(waiting).due_at) == (TaskState.INITIALIZED, from_us(due_us))
        assert node.engine.recall(waiting, due_us) is None
        await later(299)
        assert lab.ledger.started(waiting) == []
        await later(2)
        (started_s,) = lab.ledger.started(waiting)
        assert 300 <= started_s < 301
        assert (lab.state(waiting), lab.info(waiting).attempt) == (TaskState.DONE, 1)
        await node.stop()

    virtually(main)


def test_what_cannot_be_taken_back_for_sure_says_so() -> None:
    async def main(lab: Lab) -> None:
        node = await lab.node(workers=1)
        running, waiting = lab.add("last", 60), lab.add()
        await later(0.1)
        assert node.engine.recall(running, 0) is None
        node.line.plan = lambda verb: Fault.REFUSED if verb == "finish" else None
        recalled = node.engine.recall(waiting, lab.clock.wall_us())
        assert recalled is not None
        with pytest.raises(UnknownOutcomeError, match=waiting):
            await recalled
        node.line.plan = None
        await node.stop()

    virtually(main)
