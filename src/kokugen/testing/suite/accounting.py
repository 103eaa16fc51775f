"""Cases of the ledger: runs of one reason are one row, and what became of an occurrence outlives its task."""

from __future__ import annotations

import pytest

from kokugen.repository.rows import Retention
from kokugen.repository.schedule_rows import LedgerRow, OccurrenceEnd, OccurrenceTask, Overlap, Reason
from kokugen.task import TaskState, replace
from kokugen.testing.suite.lab import ask
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id

ENDS = {
    TaskState.CANCELLED: ("no more", None),
    TaskState.FAILED: ("exhausted", "Traceback"),
}


class AccountingCases:
    """`ledger` and `forget_occurrences`."""

    def test_a_run_of_one_reason_is_one_row(self, plans: ScheduleLab) -> None:
        row = plans.advance(plans.create(), ledger=[plans.entry(1)])
        row = plans.advance(row, ledger=[plans.entry(2, 4, at=7)])
        row = plans.advance(row, ledger=[plans.entry(5, reason=Reason.MISSED), plans.entry(6)])
        row = plans.advance(row, ledger=[plans.entry(7)])
        assert plans.ledger().rows == [
            plans.entry(1, 4, at=7),
            plans.entry(5, reason=Reason.MISSED),
            plans.entry(6, 7),
        ]

    @pytest.mark.parametrize("other", ["gen", "reason", "stand_in", "detail", "order"])
    def test_what_was_decided_otherwise_is_a_row_of_its_own(self, plans: ScheduleLab, other: str) -> None:
        changed = {"gen": 2, "reason": Reason.PAUSED, "stand_in": plans.at(3), "detail": "x", "order": None}
        first = plans.entry(2, stand_in=plans.at(9), reason=Reason.COALESCED)
        second = plans.entry(1 if other == "order" else 3, stand_in=plans.at(9), reason=Reason.COALESCED)
        if other != "order":
            second = replace(second, **{other: changed[other]})
        row = plans.advance(plans.create(), ledger=[first])
        plans.advance(row, ledger=[second])
        assert plans.ledger().rows == [first, second]

    def test_what_was_not_counted_stays_uncounted(self, plans: ScheduleLab) -> None:
        row = plans.advance(plans.create(), ledger=[plans.entry(1, 2, count=None)])
        row = plans.advance(row, ledger=[plans.entry(3)])
        assert plans.ledger().rows == [plans.entry(1, 3, count=None)]

    def test_what_was_asked_for_by_hand_is_a_row_each(self, plans: ScheduleLab) -> None:
        one, two = (plans.entry(second, reason=Reason.TRIGGERED) for second in (1, 2))
        row = plans.advance(plans.create(), ledger=[one])
        plans.advance(row, ledger=[two])
        assert plans.ledger().rows == [one, two]

    def test_a_part_of_the_ledger_is_what_touches_it(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 1, 2, 8, overlap=Overlap.ALLOW)
        entries = [plans.entry(1, 3), plans.entry(4, 6, Reason.MISSED), plans.entry(7, 9, Reason.MADE)]
        plans.advance(row, ledger=entries)

        def part(first: float, last: float) -> tuple[list[LedgerRow], list[str]]:
            found = plans.ledger(first=plans.at(first), last=plans.at(last))
            return found.rows, [task.id for task in found.tasks]

        assert part(0, 0.5) == ([], [])
        assert part(2, 4) == (entries[:2], [task_id(2)])
        assert part(6, 7) == (entries[1:], [])
        assert part(8, 8) == (entries[2:], [task_id(8)])
        assert plans.ledger(limit=2).rows == entries[1:]
        assert [task.id for task in plans.ledger(limit=2).tasks] == [task_id(2), task_id(8)]

    def test_the_ledger_tells_of_tasks_as_they_are(self, plans: ScheduleLab) -> None:
        plans.create("daily", 0, 5)
        claim = plans.start_one(0)
        plans.lab.pass_time(1)
        plans.lab.finish(task_id(0), claim, TaskState.FAILED, started_at=plans.at(0.5), reason="why")
        done = OccurrenceTask(
            id=task_id(0),
            nominal=plans.at(0),
            due_at=plans.at(0),
            state=TaskState.FAILED,
            hold=None,
            reason="why",
            attempt=1,
            started_at=plans.at(0.5),
            finished_at=plans.at(1),
        )
        assert plans.ledger().tasks[0] == done

    @pytest.mark.parametrize("state", ENDS)
    def test_how_an_occurrence_ended_outlives_its_task(self, plans: ScheduleLab, state: TaskState) -> None:
        reason, error = ENDS[state]
        plans.create("daily", 0)
        plans.lab.finish(task_id(0), plans.start_one(0), state, reason=reason, error=error)
        finished = plans.lab.now
        plans.lab.pass_time(10)
        prune(plans)
        assert plans.ledger().tasks == []
        assert plans.ledger().ends == [
            OccurrenceEnd(
                nominal=plans.at(0),
                task_id=task_id(0),
                state=state,
                reason=reason,
                error=error,
                finished_at=finished,
            )
        ]

    def test_an_occurrence_that_is_done_leaves_its_decision_alone(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0)
        plans.advance(row, ledger=[plans.entry(0)])
        plans.finish(0, plans.start_one(0))
        plans.lab.pass_time(10)
        prune(plans)
        found = plans.ledger()
        assert (found.rows, found.tasks, found.ends) == ([plans.entry(0)], [], [])

    def test_what_is_older_than_its_keep_is_forgotten_up_to_a_bound(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 1, 2, 8)
        entries = [plans.entry(1, 3), plans.entry(4, 6, Reason.MISSED), plans.entry(7, 9)]
        plans.advance(row, ledger=entries, drop_from=plans.at(0))
        assert ask(plans.repo.forget_occurrences(plans.at(6), 10)) == 3
        assert plans.ledger().rows == entries[1:]
        assert [end.nominal for end in plans.ledger().ends] == [plans.at(8)]
        assert ask(plans.repo.forget_occurrences(plans.at(99), 2)) == 2
        assert ask(plans.repo.forget_occurrences(plans.at(99), 2)) == 1
        assert (plans.ledger().rows, plans.ledger().ends) == ([], [])


def prune(plans: ScheduleLab) -> None:
    """Delete every task that is over."""
    now = plans.lab.now
    ask(plans.lab.repo.prune(Retention(done_before=now, cancelled_before=now, failed_before=now)))
