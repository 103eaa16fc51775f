"""Cases of schedules: swapped by revision with their tasks and ledger, found when they are due, and accounted for."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from kokugen.clock import from_us
from kokugen.repository.schedule_rows import (
    AuditRow,
    Changed,
    Overlap,
    ScheduleChange,
    ScheduledTask,
    ScheduleRow,
)
from kokugen.task import Mode, Params, Priority, TaskInfo, TaskState, replace
from kokugen.testing.suite.adding import TEXTS
from kokugen.testing.suite.lab import Lab, ask, params
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id


class SchedulingCases:
    """`change_schedules` and what reads it."""

    # -- What a task says of its schedule

    def test_a_task_says_which_schedule_and_which_of_its_times_it_is_of(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0)
        info, other = plans.lab.info(task_id(0)), plans.lab.info(plans.lab.add())
        assert (info.schedule_id, info.schedule, info.nominal) == (row.id, "daily", from_us(plans.at(0)))
        assert (other.schedule_id, other.schedule, other.nominal) == (None, None, None)
        plans.change(row, expected=row.rev, remove=True)
        after = plans.lab.info(task_id(0))
        assert (after.schedule_id, after.schedule, after.nominal) == (row.id, None, info.nominal)

    # -- The row

    def test_a_schedule_is_stored_as_it_was_given(self, plans: ScheduleLab) -> None:
        row = ScheduleRow(
            id="0198",
            name="Grüße '%s'",
            owner="billing",
            spec='{"type":"every","period":"PT1S"}',
            policy='{"catchup":"all"}',
            template='{"work_id":"w"}',
            overlap=Overlap.REPLACE,
            gen=3,
            rev=7,
            edition=2,
            decided=plans.at(1),
            next_at=plans.at(2),
            wake_at=plans.at(3),
            spaced=plans.at(4),
            paused_at=plans.at(5),
            paused_until=plans.at(6),
            paused_note="until the audit is over",
            paused_by="ann",
            runs=8,
            skipped=9,
            coalesced=10,
            created_at=plans.at(-1),
            modified_at=plans.at(0),
        )
        assert plans.change(row) == Changed(True, 0)
        assert plans.found(ids=("0198",)) == [row]
        after = replace(row, rev=8, name="other", owner=None, next_at=None, wake_at=None, paused_at=None, spaced=None)
        assert plans.change(after, expected=7) == Changed(True, 0)
        assert plans.found() == [after]

    @pytest.mark.parametrize("text", TEXTS[1:4] + TEXTS[5:])
    def test_any_name_and_note_come_back_as_they_were_given(self, plans: ScheduleLab, text: str) -> None:
        row = plans.row(text, id="a", paused_note=text)
        plans.change(row)
        assert plans.found(names=(text,)) == [row]

    def test_schedules_are_returned_page_by_page_in_order_of_their_names(self, plans: ScheduleLab) -> None:
        names = [f"n{number:02d}" for number in (3, 1, 5, 0, 4, 2, 6)]
        for name in names:
            plans.create(name)
        assert [row.name for row in plans.found()] == sorted(names)
        assert [row.name for row in plans.found(after="n03", limit=2)] == ["n04", "n05"]
        assert plans.found(limit=0) == []

    def test_schedules_are_found_by_what_is_asked_for(self, plans: ScheduleLab) -> None:
        plans.create("a", owner="web")
        plans.create("b", owner="web", paused_at=plans.start)
        plans.create("c", owner="mail")
        plans.create("d")
        queries = {
            ("ids", ("id-a", "id-c", "id-x")): "ac",
            ("names", ("b", "d", "x")): "bd",
            ("names", ()): "",
            ("owner", "web"): "ab",
            ("owner", "nobody"): "",
            ("paused", True): "b",
            ("paused", False): "acd",
        }
        assert {
            (key, value): "".join(row.name for row in plans.found(**{key: value})) for key, value in queries
        } == queries
        assert [row.name for row in plans.found(owner="web", paused=False)] == ["a"]

    # -- The swap

    def test_a_change_at_another_revision_changes_nothing(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 5)
        before = plans.stored(), plans.ledger()
        for expected in (row.rev - 1, row.rev + 1):
            answer = plans.change(
                replace(row, rev=row.rev + 1, next_at=7),
                expected=expected,
                drop_from=plans.at(0),
                tasks=[plans.task(6, row)],
                ledger=[plans.entry(6)],
                audit=audit_of(plans, row),
            )
            assert answer == Changed(False, 0)
            assert (plans.stored(), plans.ledger()) == before
        assert ask(plans.repo.schedule_audit("daily")) == []

    def test_a_schedule_is_created_once(self, plans: ScheduleLab) -> None:
        row = plans.create()
        assert not plans.change(replace(row, owner="other")).applied
        assert not plans.change(plans.row("daily", id="another")).applied
        assert plans.found() == [row]

    def test_a_name_is_one_schedules_alone(self, plans: ScheduleLab) -> None:
        row = plans.create("a")
        plans.create("b")
        answer = plans.change(replace(row, name="b", rev=2), expected=1, tasks=[plans.task(1, row)])
        assert not answer.applied
        assert plans.found(names=("a",)) == [row]
        assert plans.states("id-a") == {}

    def test_a_change_of_what_is_not_there_is_refused(self, plans: ScheduleLab) -> None:
        row = plans.row()
        assert not plans.change(row, expected=1).applied
        assert not plans.change(row, expected=1, remove=True).applied
        assert plans.found() == []

    def test_each_change_of_a_batch_stands_alone(self, plans: ScheduleLab) -> None:
        rows = [plans.create(name) for name in "abcdef"]
        changes = [
            ScheduleChange(row=replace(row, rev=2, next_at=number), expected=2 if number in {1, 4} else 1)
            for number, row in enumerate(reversed(rows))
        ]
        answers = ask(plans.repo.change_schedules(changes))
        assert [one.applied for one in answers] == [True, False, True, True, False, True]
        assert [row.next_at for row in plans.found()] == [5, None, 3, 2, None, 0]

    def test_of_many_that_change_a_schedule_at_once_one_wins(self, plans: ScheduleLab) -> None:
        row = plans.create()

        def try_it(number: int) -> bool:
            change = ScheduleChange(
                row=replace(row, rev=2, owner=str(number)),
                expected=1,
                tasks=[plans.task(number, row)],
                ledger=[plans.entry(number)],
            )
            return ask(plans.repo.change_schedules([change]))[0].applied

        with ThreadPoolExecutor(8) as pool:
            won = list(pool.map(try_it, range(8)))
        assert won.count(True) == 1
        winner = won.index(True)
        assert plans.stored().owner == str(winner)
        assert plans.states().keys() == {winner}
        assert plans.ledger().rows == [plans.entry(winner)]

    def test_other_namespaces_see_nothing_of_a_schedule(self, plans: ScheduleLab) -> None:
        plans.create("daily", 1)
        other = ScheduleLab(plans.lab, plans.lab.open_store("elsewhere"))  # type: ignore[arg-type] # it is one too
        assert other.found() == []
        assert ask(other.repo.due_schedules(plans.at(99), 10)) == []
        assert other.ledger().tasks == []
        mine = replace(plans.row(), owner="mine")
        assert other.change(mine, tasks=[other.task(1, mine)], ledger=[other.entry(1)]).applied
        assert plans.ledger().rows == []
        assert other.states().keys() == {1.0}

    def test_schedules_outlive_the_instance(self, kept: Lab, plans: ScheduleLab) -> None:
        row = plans.create("daily", 1, 2)
        plans.advance(row, ledger=[plans.entry(1, 2)])
        again = ScheduleLab(kept, kept.open_store("default"))  # type: ignore[arg-type] # it is one too
        assert again.stored() == plans.stored()
        assert again.ledger() == plans.ledger()

    # -- When it is due

    def test_the_schedules_that_are_due_come_in_order_and_no_others(self, plans: ScheduleLab) -> None:
        for name, second in {"a": 5, "b": 1, "c": 3, "d": 3, "e": 9}.items():
            plans.create(name, wake_at=plans.at(second))
        plans.create("never")

        def due(second: float, limit: int = 10) -> str:
            return "".join(row.name for row in ask(plans.repo.due_schedules(plans.at(second), limit)))

        assert {second: due(second) for second in (0.999999, 1, 4, 5, 100)} == {
            0.999999: "",
            1: "b",
            4: "bcd",
            5: "bcda",
            100: "bcdae",
        }
        assert due(100, limit=2) == "bc"

    def test_a_schedule_is_due_when_its_last_change_says(self, plans: ScheduleLab) -> None:
        row = plans.create(wake_at=plans.at(1))
        row = plans.advance(row, wake_at=plans.at(7))
        assert ask(plans.repo.due_schedules(plans.at(6), 10)) == []
        assert ask(plans.repo.due_schedules(plans.at(7), 10)) == [row]
        plans.advance(row, wake_at=None)
        assert ask(plans.repo.due_schedules(plans.at(1000), 10)) == []

    # -- Tasks

    def test_an_occurrence_is_a_task_like_any_other(self, plans: ScheduleLab) -> None:
        row = plans.row(overlap=Overlap.ALLOW)
        asked = ScheduledTask(
            id="occurrence",
            work_id="mail",
            due_at=plans.at(5),
            scheduled_time=plans.at(3),
            param=params("Ann", "x" * 3000),
            queue="mail",
            rank=-Priority.HIGH,
            mode=Mode.AT_MOST_ONCE,
            start_deadline=plans.at(9),
            tags='["a"]',
            zone="Asia/Tokyo",
            local_time="2026-01-01T01:00:00",
            schedule_id=row.id,
            nominal=plans.at(3),
        )
        plans.change(row, tasks=[asked])
        info = plans.lab.info("occurrence")
        assert info == TaskInfo(
            id="occurrence",
            work_id="mail",
            due_at=from_us(plans.at(5)),
            scheduled_time=from_us(plans.at(3)),
            param=Params(("Ann", "x" * 3000)),
            queue="mail",
            priority=Priority.HIGH,
            mode=Mode.AT_MOST_ONCE,
            start_deadline=from_us(plans.at(9)),
            tags=("a",),
            zone="Asia/Tokyo",
            local_time="2026-01-01T01:00:00",
            created_at=from_us(plans.start),
            last_modified=from_us(plans.start),
            rev=info.rev,
            schedule_id=row.id,
            schedule=row.name,
            nominal=from_us(plans.at(3)),
        )
        plans.lab.pass_time(5)
        (claimed,) = plans.lab.claim(queues=("mail",)).tasks
        assert (claimed.id, claimed.param) == ("occurrence", asked.param)

    def test_an_occurrence_is_made_once_whatever_is_asked_again(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 1, overlap=Overlap.ALLOW)
        first = plans.lab.whole(task_id(1))
        other = replace(plans.task(1, row), id="under another id")
        row = plans.advance(row, tasks=[plans.task(1, row), other, plans.task(2, row)])
        assert plans.lab.whole(task_id(1)) == first
        assert plans.states().keys() == {1.0, 2.0}

    def test_an_occurrence_that_is_over_does_not_come_back(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0)
        plans.finish(0, plans.start_one(0))
        before = plans.lab.whole(task_id(0))
        plans.advance(row, tasks=[plans.task(0, row)])
        assert plans.lab.whole(task_id(0)) == before

    @pytest.mark.parametrize("overlap", list(Overlap))
    def test_an_edit_takes_back_what_waits_from_then_on(self, plans: ScheduleLab, overlap: Overlap) -> None:
        row = plans.create("daily", 1, 2, 3, 4, overlap=overlap)
        plans.create("other", 7, overlap=overlap)
        answer = plans.change(replace(row, rev=2), expected=1, drop_from=plans.at(2), tasks=[plans.task(3, row)])
        assert answer == Changed(True, 3)
        assert plans.states().keys() == {1.0, 3.0}
        assert plans.stored().runs == row.runs - 3
        assert plans.states("id-other").keys() == {7.0}
        assert [(end.nominal, end.state, end.reason) for end in plans.ledger().ends] == [
            (plans.at(second), TaskState.INITIALIZED, "replaced") for second in (2, 3, 4)
        ]

    def test_an_edit_leaves_what_runs_or_is_over(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0, 1, 5, overlap=Overlap.ALLOW)
        plans.finish(0, plans.start_one(0))
        plans.lab.pass_time(1)
        plans.start_one(1)
        assert plans.change(replace(row, rev=2), expected=1, drop_from=plans.at(2)) == Changed(True, 1)
        assert {second: state[0] for second, state in plans.states().items()} == {0.0: "Done", 1.0: "Working"}

    @pytest.mark.parametrize("how", ["runs", "is done", "is cancelled"])
    def test_an_edit_is_refused_where_what_it_takes_back_waits_no_more(self, plans: ScheduleLab, how: str) -> None:
        row = plans.create("daily", 0, 5, overlap=Overlap.ALLOW)
        if how == "is cancelled":
            plans.lab.cancel(task_id(0))
        else:
            claim = plans.start_one(0)
            if how == "is done":
                plans.finish(0, claim)
        before = plans.stored(), plans.ledger(), plans.states()
        for since in (0, -1):
            answer = plans.change(
                replace(row, rev=2), expected=1, drop_from=plans.at(since), tasks=[plans.task(6, row)]
            )
            assert answer == Changed(False, 0)
            assert (plans.stored(), plans.ledger(), plans.states()) == before
        assert plans.change(row, expected=1, remove=True, drop_from=plans.at(0)) == Changed(True, 1)

    def test_what_takes_the_place_of_the_running_schedule_may_be_claimed(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 1, 2)
        plans.advance(row, drop_from=plans.at(1), tasks=[plans.task(1.5, row), plans.task(2.5, row)])
        plans.lab.pass_time(3)
        assert plans.lab.claimed() == [task_id(1.5)]

    def test_a_removed_schedule_leaves_its_ledger(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0, 5)
        row = plans.advance(row, ledger=[plans.entry(0, 5)])
        claim = plans.start_one(0)
        answer = plans.change(row, expected=row.rev, remove=True, drop_from=plans.at(1), audit=audit_of(plans, row))
        assert answer == Changed(True, 1)
        plans.finish(0, claim)
        assert plans.found() == []
        assert ask(plans.repo.due_schedules(plans.at(99), 10)) == []
        assert [end.nominal for end in plans.ledger().ends] == [plans.at(5)]
        assert plans.ledger().rows == [plans.entry(0, 5)]
        assert [one.what for one in ask(plans.repo.schedule_audit("daily"))] == ["edit"]
        assert plans.change(plans.row("daily", id="new")).applied

    def test_a_removed_schedule_is_brought_back_under_its_id(self, plans: ScheduleLab) -> None:
        row = plans.create("daily", 0, 5)
        row = plans.advance(row, ledger=[plans.entry(0, 5)])
        assert plans.change(row, expected=row.rev, remove=True, drop_from=plans.at(1)).applied
        again = plans.row("daily", id=row.id, gen=row.gen + 1)
        tasks = [plans.task(second, again) for second in (0, 5, 6)]
        assert plans.change(again, tasks=tasks).applied
        assert [task.nominal for task in plans.ledger().tasks] == [plans.at(0), plans.at(5), plans.at(6)]
        assert plans.ledger().rows == [plans.entry(0, 5)]

    def test_new_occurrences_are_hinted_at(self, plans: ScheduleLab) -> None:
        heard: list[int] = []
        plans.lab.repo.listen(heard.append)
        plans.create("daily", 1, 2)
        assert heard
        assert min(heard) <= plans.at(1)

    # -- The audit

    def test_the_audit_tells_newest_first_who_changed_what(self, plans: ScheduleLab) -> None:
        row = plans.create()
        told = []
        for number in range(6):
            audit = replace(
                audit_of(plans, row), at=plans.at(number), who=f"n{number}", before=None if number else "{}"
            )
            row = plans.advance(row, audit=audit)
            told.append(audit)
        plans.create("other")
        assert ask(plans.repo.schedule_audit("daily")) == told[::-1]
        assert ask(plans.repo.schedule_audit("daily", 2)) == told[:-3:-1]
        assert ask(plans.repo.schedule_audit("other")) == []


def audit_of(plans: ScheduleLab, row: ScheduleRow) -> AuditRow:
    """Return what an audit says of an edit."""
    return AuditRow(
        schedule_id=row.id, name=row.name, at=plans.start, who="ann", what="edit", why="Grüße", before="{}", after="{}"
    )
