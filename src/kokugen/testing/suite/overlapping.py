"""Cases of overlap: of the occurrences of a schedule one is active, whatever comes, ends, is lost or cancelled."""

from __future__ import annotations

from collections.abc import Callable
from threading import Event

import pytest

from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.schedule_rows import Overlap
from kokugen.task import TaskState
from kokugen.testing.suite.lab import ask
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id

ONE_AT_A_TIME = [overlap for overlap in Overlap if overlap is not Overlap.ALLOW]
WITHIN_S = 10.0
DROPPED = ("Cancelled", None, "overlap")
WAITING = ("Initialized", None, None)
HELD = ("Initialized", "overlap", None)


def _done(plans: ScheduleLab, claim: str) -> None:
    plans.finish(0, claim)


def _failed(plans: ScheduleLab, claim: str) -> None:
    plans.finish(0, claim, TaskState.FAILED)


def _forced(plans: ScheduleLab, claim: str) -> None:
    del claim
    plans.lab.cancel(task_id(0), force=True)


def _lost_for_good(plans: ScheduleLab, claim: str) -> None:
    for again in range(3):
        if again:
            plans.lab.claim()
        plans.lab.recover(*plans.lab.watch())
    del claim


def _marked(plans: ScheduleLab, claim: str) -> None:
    del claim
    ask(plans.lab.repo.mark_as_done(task_id(0)))


ENDINGS: dict[str, Callable[[ScheduleLab, str], None]] = {
    "done": _done,
    "failed": _failed,
    "cancelled by force": _forced,
    "lost too often": _lost_for_good,
    "marked": _marked,
}

AFTER = {
    Overlap.SKIP: {1.0: DROPPED, 2.0: DROPPED, 3.0: DROPPED, 9.0: WAITING},
    Overlap.QUEUE_ONE: {1.0: WAITING, 2.0: DROPPED, 3.0: DROPPED, 9.0: HELD},
    Overlap.QUEUE_ALL: {1.0: WAITING, 2.0: HELD, 3.0: HELD, 9.0: HELD},
    Overlap.REPLACE: {1.0: DROPPED, 2.0: DROPPED, 3.0: WAITING, 9.0: HELD},
}
"""What is left, once a long run ends, of the occurrences at 1, 2 and 3 s, which are overdue, and at 9 s."""


def late(plans: ScheduleLab, overlap: Overlap) -> str:
    """Let a run go on while the next three become due, and a fourth is not yet."""
    plans.create("daily", 0, 1, 2, 3, 9, overlap=overlap)
    claim = plans.start_one(0)
    plans.lab.pass_time(4)
    return claim


class OverlappingCases:
    """`hold` of occurrences, and `settle_overlaps`."""

    def test_occurrences_that_may_overlap_are_claimed_together(self, plans: ScheduleLab) -> None:
        plans.create("daily", *range(6), overlap=Overlap.ALLOW)
        plans.lab.pass_time(9)
        assert plans.lab.claimed() == [task_id(second) for second in range(6)]

    @pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
    def test_one_occurrence_is_claimed_at_a_time(self, plans: ScheduleLab, overlap: Overlap) -> None:
        plans.create("daily", *range(6), overlap=overlap)
        plans.create("other", 6, 7, overlap=overlap)
        plans.lab.pass_time(9)
        assert plans.lab.claimed() == [task_id(0), task_id(6)]
        assert plans.lab.claimed() == []

    @pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
    @pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
    def test_whatever_ends_an_occurrence_lets_the_next_go_in_time(
        self, plans: ScheduleLab, overlap: Overlap, ending: Callable[[ScheduleLab, str], None]
    ) -> None:
        plans.create("daily", 0, 5, 6, overlap=overlap)
        ending(plans, plans.start_one(0))
        assert (plans.hold(5), plans.hold(6)) == (None, "overlap")
        assert plans.lab.claimed() == []
        plans.lab.pass_time(5)
        assert plans.lab.claimed() == [task_id(5)]

    def test_the_node_that_runs_what_is_replaced_is_told_at_once(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 5, overlap=Overlap.REPLACE)
        plans.start_one(0)
        plans.lab.pass_time(6)
        told = Event()
        plans.lab.repo.listen(lambda due_us: told.set() if due_us == STOP_ASKED else None)
        assert plans.settle() == 1
        assert told.wait(WITHIN_S)

    def test_a_waiting_occurrence_that_is_cancelled_lets_the_next_go(self, plans: ScheduleLab) -> None:
        plans.create("daily", 1, 2, 3)
        plans.lab.cancel(task_id(2))
        plans.lab.cancel(task_id(1))
        assert plans.hold(3) is None

    def test_an_occurrence_on_hold_that_is_cancelled_lets_nothing_go(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 1, 2)
        plans.lab.cancel(task_id(1))
        assert plans.hold(2) == "overlap"

    @pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
    def test_a_run_that_is_tried_again_or_taken_over_keeps_its_turn(self, plans: ScheduleLab, overlap: Overlap) -> None:
        plans.create("daily", 0, 5, overlap=overlap)
        plans.finish(0, plans.start_one(0), TaskState.INITIALIZED)
        assert plans.hold(5) == "overlap"
        plans.start_one(0)
        plans.lab.recover(*plans.lab.watch())
        assert plans.hold(5) == "overlap"
        plans.finish(0, plans.start_one(0))
        assert plans.hold(5) is None

    # -- What becomes of those that are overdue

    @pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
    @pytest.mark.parametrize("settled", [False, True])
    def test_after_a_long_run_those_go_on_that_the_overlap_keeps(
        self, plans: ScheduleLab, overlap: Overlap, settled: bool
    ) -> None:
        claim = late(plans, overlap)
        if settled:
            plans.settle()
        plans.finish(0, claim)
        states = plans.states()
        del states[0]
        assert states == AFTER[overlap]

    @pytest.mark.parametrize(
        ("overlap", "held"),
        [
            (Overlap.SKIP, [9]),
            (Overlap.QUEUE_ONE, [1, 9]),
            (Overlap.QUEUE_ALL, [1, 2, 3, 9]),
            (Overlap.REPLACE, [3, 9]),
        ],
    )
    def test_during_a_long_run_what_is_not_kept_is_dropped(
        self, plans: ScheduleLab, overlap: Overlap, held: list[float]
    ) -> None:
        late(plans, overlap)
        changed = plans.settle()
        states = plans.states()
        assert [second for second, state in states.items() if state == HELD] == held
        assert all(states[second] == DROPPED for second in (1, 2, 3) if second not in held)
        assert changed == 4 - len(held) + (overlap is Overlap.REPLACE)
        assert plans.settle() == 0

    def test_replacing_asks_the_run_to_stop_and_then_runs_the_latest(self, plans: ScheduleLab) -> None:
        claim = late(plans, Overlap.REPLACE)
        plans.settle()
        info = plans.lab.info(task_id(0))
        assert (info.cancel_requested, info.reason) == (True, "replaced")
        plans.lab.finish(task_id(0), claim, TaskState.CANCELLED)
        assert plans.lab.claimed() == [task_id(3)]

    def test_replacing_ends_what_has_not_started(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 1, overlap=Overlap.REPLACE)
        plans.lab.pass_time(2)
        plans.settle()
        assert plans.states() == {0.0: DROPPED, 1.0: WAITING}

    @pytest.mark.parametrize("overlap", ONE_AT_A_TIME)
    def test_what_is_not_due_yet_is_left_alone(self, plans: ScheduleLab, overlap: Overlap) -> None:
        plans.create("daily", 0, 1, 2, overlap=overlap)
        plans.start_one(0)
        assert plans.settle(60) == 0
        assert plans.states() == {0.0: ("Working", None, None), 1.0: HELD, 2.0: HELD}

    def test_what_nothing_stands_before_any_more_may_go_in_time(self, plans: ScheduleLab) -> None:
        """As where its end and a new occurrence were committed at once: each did not see the other."""
        plans.create("daily", 0, 1, 2)
        plans.lab.revise(task_id(0), hold="by hand")
        assert plans.settle(0.5) == 0
        assert plans.settle(1) == 1
        assert plans.hold(1) is None

    def test_an_occurrence_is_not_revived_beside_another(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 1)
        plans.finish(0, plans.start_one(0))
        assert ask(plans.lab.repo.revive([task_id(0)])) == []
        plans.lab.pass_time(1)
        plans.finish(1, plans.start_one(1))
        assert ask(plans.lab.repo.revive([task_id(0)])) == [task_id(0)]
        plans.start_one(0)

    def test_an_occurrence_that_is_released_by_hand_still_waits_for_its_turn(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 1)
        claim = plans.start_one(0)
        plans.lab.revise(task_id(1), release=True)
        assert plans.hold(1) == "overlap"
        plans.finish(0, claim)
        plans.lab.revise(task_id(1), hold="by hand")
        plans.lab.revise(task_id(1), release=True)
        assert plans.hold(1) is None

    def test_of_several_occurrences_one_is_revived(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 0.5)
        plans.finish(0, plans.start_one(0))
        plans.lab.pass_time(1)
        plans.finish(0.5, plans.start_one(0.5))
        assert ask(plans.lab.repo.revive([task_id(0.5), task_id(0)])) == [task_id(0.5)]
