"""Cases of limits: who passes a gate, who waits, and that nothing goes past it, whatever ends, comes or changes."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from threading import Barrier, Thread

import pytest

from kokugen.errors import NotUpdatableStateError
from kokugen.repository.limit_rows import Admission, GateStatus, LimitRule
from kokugen.repository.protocol import LimitRepository
from kokugen.repository.schedule_rows import Overlap
from kokugen.task import TaskState
from kokugen.testing.suite.lab import SECOND_US, Lab, ask
from kokugen.testing.suite.schedule_lab import ScheduleLab, task_id


class LimitLab(Lab):
    """The bench with limits."""

    @property
    def limits(self) -> LimitRepository:
        """Return the repository as one that keeps limits."""
        assert isinstance(self.repo, LimitRepository)
        return self.repo

    def declare(self, **at_once: int) -> None:
        """Declare limits by kind and name: `work_mail=2` is of the work `mail`."""
        rules = [LimitRule(name=name.replace("_", ":", 1), at_once=most) for name, most in at_once.items()]
        ask(self.limits.declare_limits([rule.name for rule in rules], rules))

    def declare_rate(self, name: str, *, every_s: float = 1, burst: int = 1, at_once: int | None = None) -> None:
        """Declare a rate."""
        rule = LimitRule(name=name, at_once=at_once, interval_us=round(every_s * SECOND_US), burst=burst)
        ask(self.limits.declare_limits([name], [rule]))

    def admit(self, *, everywhere: bool = True) -> Admission:
        """Let through who may pass now."""
        return ask(self.limits.admit(0, everywhere=everywhere))

    def gate(self, name: str) -> GateStatus | None:
        """Return one gate, if there is anything to say of it."""
        return {gate.name: gate for gate in ask(self.limits.gates())}.get(name)

    def run_all(self, **asked: int) -> list[str]:
        """Claim, finish, and so on until nothing is left; return the ids in the order in which they were claimed."""
        ran = []
        while tasks := (answer := self.claim(**asked)).tasks:
            for task in tasks:
                ran.append(task.id)
                self.finish(task.id, answer.claim)
        return ran


def _done(lab: LimitLab, task_id: str, claim: str) -> None:
    lab.finish(task_id, claim)


def _failed(lab: LimitLab, task_id: str, claim: str) -> None:
    lab.finish(task_id, claim, TaskState.FAILED)


def _tried_again(lab: LimitLab, task_id: str, claim: str) -> None:
    lab.finish(task_id, claim, TaskState.INITIALIZED, due_at=lab.now + 60 * SECOND_US)


def _undecodable(lab: LimitLab, task_id: str, claim: str) -> None:
    lab.finish(task_id, claim, TaskState.INITIALIZED, hold="undecodable")


def _forced(lab: LimitLab, task_id: str, claim: str) -> None:
    del claim
    lab.cancel(task_id, force=True)


def _lost_for_good(lab: LimitLab, task_id: str, claim: str) -> None:
    del claim
    lab.recover(*(seen for seen in lab.watch() if seen.id == task_id))
    lab.cancel(task_id)


def _marked(lab: LimitLab, task_id: str, claim: str) -> None:
    del claim
    ask(lab.repo.mark_as_done(task_id))


ENDINGS: dict[str, Callable[[LimitLab, str, str], None]] = {
    "done": _done,
    "failed": _failed,
    "tried again later": _tried_again,
    "undecodable": _undecodable,
    "cancelled by force": _forced,
    "lost and cancelled": _lost_for_good,
    "marked": _marked,
}


class LimitingCases:
    """`declare_limits`, `admit`, `gates`, and what limits do to every other verb."""

    # -- Concurrency

    def test_tasks_of_one_key_are_claimed_one_at_a_time(self, gated: LimitLab) -> None:
        ids = [gated.add(limit_key="ann") for _ in range(6)]
        other = gated.add(limit_key="bob")
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [ids[0], other]
        assert gated.claimed() == []
        gated.finish(ids[0], answer.claim)
        assert gated.claimed() == [ids[1]]

    def test_tasks_of_one_batch_stop_at_their_gate_too(self, gated: LimitLab) -> None:
        tasks = [gated.new(limit_key="ann") for _ in range(6)]
        gated.add_all(*tasks)
        assert gated.claimed() == [tasks[0].id]

    @pytest.mark.parametrize("named", ["work_mail", "queue_post"])
    def test_of_a_work_or_queue_no_more_are_claimed_than_its_limit_says(self, gated: LimitLab, named: str) -> None:
        gated.declare(**{named: 3})
        ids = [gated.add(work_id="mail", queue="post") for _ in range(8)]
        free = gated.add(work_id="other", queue="else")
        answer = gated.claim(queues=("post", "else"))
        assert [task.id for task in answer.tasks] == [*ids[:3], free]
        for ended in ids[:2]:
            gated.finish(ended, answer.claim)
        assert gated.claimed(queues=("post", "else")) == ids[3:5]

    def test_a_rule_of_a_work_says_how_many_of_each_key_run_at_once(self, gated: LimitLab) -> None:
        gated.declare(keys_mail=2)
        ids = [gated.add(work_id="mail", limit_key=key) for key in "abababab"]
        assert gated.claimed() == ids[:4]

    def test_works_share_a_key_and_each_is_judged_by_its_own_rule(self, gated: LimitLab) -> None:
        gated.declare(keys_mail=2)
        first = gated.add(work_id="mail", limit_key="ann")
        second = gated.add(work_id="strict", limit_key="ann")
        third = gated.add(work_id="mail", limit_key="ann")
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [first]
        gated.finish(first, answer.claim)
        assert gated.claimed() == [second, third]

    def test_a_task_passes_the_gates_of_its_key_its_work_and_its_queue(self, gated: LimitLab) -> None:
        gated.declare(keys_mail=2, work_mail=3, queue_default=4)
        mails = [gated.add(work_id="mail", limit_key=key) for key in "aaabbbccc"]
        others = [gated.add(work_id="other") for _ in range(3)]
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [mails[0], mails[1], mails[3], others[0]]
        gates = {task_id: gated.info(task_id).gate for task_id in (mails[2], mails[4], others[1])}
        assert gates == {mails[2]: "key:a", mails[4]: "work:mail", others[1]: "queue:default"}
        gated.finish(mails[0], answer.claim)
        assert gated.claimed() == [mails[2]]

    def test_everything_runs_in_the_end_and_in_order(self, gated: LimitLab) -> None:
        gated.declare(work_work=2, queue_default=3)
        ids = [gated.add(limit_key=f"key-{n % 3}") for n in range(30)]
        assert sorted(gated.run_all()) == ids

    @pytest.mark.parametrize("ending", ENDINGS.values(), ids=ENDINGS)
    def test_whatever_ends_a_run_lets_the_next_one_pass(
        self, gated: LimitLab, ending: Callable[[LimitLab, str, str], None]
    ) -> None:
        first, second, third = (gated.add(limit_key="ann") for _ in range(3))
        ending(gated, first, gated.claim().claim)
        assert gated.claimed() == [second]
        assert gated.info(third).gate == "key:ann"

    def test_a_waiting_task_that_had_passed_and_is_cancelled_lets_the_next_one_pass(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        gated.cancel(first)
        assert gated.claimed() == [second]

    def test_a_task_that_is_moved_gives_its_place_away(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        gated.revise(first, due_at=gated.now + 10 * SECOND_US)
        assert gated.claimed() == [second]

    def test_a_task_that_is_held_by_hand_gives_its_place_away(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        gated.revise(first, hold="by hand")
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [second]
        gated.revise(first, release=True)
        assert gated.claimed() == []
        gated.finish(second, answer.claim)
        assert gated.claimed() == [first]

    def test_a_revived_task_passes_its_gate_again(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        gated.finish(first, gated.claim().claim)
        running = gated.claim().claim
        assert ask(gated.repo.revive([first])) == [first]
        assert gated.claimed() == []
        gated.finish(second, running)
        assert gated.claimed() == [first]

    def test_a_task_that_waits_for_a_limit_cannot_be_started_by_its_id(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        with pytest.raises(NotUpdatableStateError):
            ask(gated.repo.update_state(second, TaskState.INITIALIZED, TaskState.WORKING))
        assert gated.info(second).state is TaskState.INITIALIZED
        assert ask(gated.repo.update_state(first, TaskState.INITIALIZED, TaskState.WORKING))
        assert gated.claimed() == []

    # -- Order

    def test_at_a_gate_the_higher_priority_passes_first_then_the_earlier(self, gated: LimitLab) -> None:
        gated.add(limit_key="ann")
        late = gated.add(limit_key="ann", due_at=gated.now)
        early = gated.add(limit_key="ann", due_at=gated.now - SECOND_US)
        urgent = gated.add(limit_key="ann", rank=-3)
        assert gated.run_all()[1:] == [urgent, early, late]

    def test_the_rest_of_a_key_is_in_nobodys_way(self, gated: LimitLab) -> None:
        gated.add_all(*(gated.new(limit_key="busy", due_at=gated.now - SECOND_US) for _ in range(300)))
        others = [gated.add() for _ in range(6)]
        answer = gated.claim(6)
        assert [task.id for task in answer.tasks][1:] == others[:5]
        assert answer.more

    # -- In time

    def test_a_task_takes_no_place_before_it_is_due(self, gated: LimitLab) -> None:
        later = gated.add(limit_key="ann", due_at=gated.now + 5 * SECOND_US)
        now = gated.add(limit_key="ann")
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [now]
        assert gated.admit() == Admission(0, None, gated.now + 5 * SECOND_US, now=gated.now)
        gated.finish(now, answer.claim)
        gated.pass_time(5)
        assert gated.admit(everywhere=False) == Admission(1, now=gated.now)
        assert gated.claimed() == [later]

    def test_all_that_became_due_meanwhile_may_pass(self, gated: LimitLab) -> None:
        gated.declare(work_work=2)
        ids = [gated.add(due_at=gated.now + second * SECOND_US) for second in (3, 1, 2, 9)]
        gated.pass_time(4)
        assert gated.admit(everywhere=False) == Admission(2, None, gated.now + 5 * SECOND_US, now=gated.now)
        assert gated.run_all() == [ids[1], ids[2], ids[0]]

    def test_a_task_that_is_tried_again_later_waits_for_its_time_and_then_for_its_turn(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        _tried_again(gated, first, gated.claim().claim)
        running = gated.claim().claim
        gated.pass_time(60)
        assert gated.admit(everywhere=False).admitted == 0
        gated.finish(second, running)
        assert gated.claimed() == [first]

    def test_what_it_is_too_late_to_start_expires_at_its_gate(self, gated: LimitLab) -> None:
        gated.add(limit_key="ann")
        late = gated.add(limit_key="ann", start_deadline=gated.now + SECOND_US)
        gated.claim()
        gated.pass_time(2)
        gated.admit()
        info = gated.info(late)
        assert (info.state, info.reason) == (TaskState.CANCELLED, "expired")

    # -- Rates

    def test_of_a_rate_one_starts_an_interval(self, gated: LimitLab) -> None:
        gated.declare_rate("work:work", every_s=2)
        ids = [gated.add() for _ in range(4)]
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == ids[:1]
        gated.finish(ids[0], answer.claim)
        assert gated.admit() == Admission(0, gated.now + 2 * SECOND_US, now=gated.now)
        gated.pass_time(1.9)
        assert gated.admit().admitted == 0
        gated.pass_time(0.1)
        assert gated.admit().admitted == 1
        assert gated.claimed() == ids[1:2]

    def test_after_a_pause_a_burst_starts_together_and_no_more(self, gated: LimitLab) -> None:
        gated.declare_rate("key:none", every_s=1)
        gated.declare_rate("keys:work", every_s=1, burst=3)
        ids = [gated.add(limit_key="ann") for _ in range(9)]
        assert gated.claimed() == ids[:3]
        gated.pass_time(2)
        gated.admit()
        assert gated.claimed() == ids[3:5]
        gated.pass_time(100)
        gated.admit()
        assert gated.claimed() == ids[5:8]

    def test_a_rate_outlives_whoever_counted(self, gated_kept: LimitLab) -> None:
        gated_kept.declare_rate("queue:default", every_s=10)
        first, second = gated_kept.add(), gated_kept.add()
        gated_kept.finish(first, gated_kept.claim().claim)
        again = gated_kept.open_store("default")
        assert isinstance(again, LimitRepository)
        assert ask(again.admit(0, everywhere=True)).admitted == 0
        gated_kept.pass_time(10)
        assert ask(again.admit(0, everywhere=True)).admitted == 1
        assert gated_kept.claimed() == [second]

    def test_what_passed_and_is_not_claimed_counts_so_that_no_more_than_a_burst_gathers(self, gated: LimitLab) -> None:
        gated.declare_rate("work:work", every_s=1, burst=2)
        for _ in range(20):
            gated.add()
        for _ in range(6):
            gated.pass_time(5)
            gated.admit()
        assert len(gated.claimed()) == 2

    # -- Changes

    def test_a_limit_that_is_declared_later_holds_for_what_waits_and_runs_already(self, gated: LimitLab) -> None:
        ids = [gated.add() for _ in range(5)]
        answer = gated.claim(1)
        gated.declare(work_work=2)
        assert gated.admit().admitted == 1
        assert gated.claimed() == [ids[1]]
        gated.finish(ids[0], answer.claim)
        assert gated.claimed() == [ids[2]]

    def test_a_limit_that_is_lowered_stops_no_run_and_lets_none_pass_until_it_is_kept(self, gated: LimitLab) -> None:
        gated.declare(work_work=3)
        ids = [gated.add() for _ in range(5)]
        answer = gated.claim()
        gated.declare(work_work=1)
        for ended in ids[:2]:
            gated.finish(ended, answer.claim)
            assert gated.claimed() == []
        gated.finish(ids[2], answer.claim)
        assert gated.claimed() == [ids[3]]

    def test_a_limit_that_is_raised_lets_more_pass_at_the_next_look(self, gated: LimitLab) -> None:
        gated.declare(work_work=1)
        ids = [gated.add() for _ in range(4)]
        gated.claim()
        gated.declare(work_work=3)
        assert gated.admit().admitted == 2
        assert gated.claimed() == ids[1:3]

    def test_a_limit_that_is_withdrawn_lets_all_pass(self, gated: LimitLab) -> None:
        gated.declare(work_work=1, work_other=1)
        ids = [gated.add() for _ in range(3)]
        others = [gated.add(work_id="other") for _ in range(2)]
        ask(gated.limits.declare_limits(["work:work"], []))
        gated.admit()
        assert gated.claimed() == [*ids, others[0]]
        assert gated.gate("work:other") == GateStatus(
            name="work:other", at_once=1, interval_us=None, burst=1, taken=1, waiting=1, oldest_due=gated.now
        )

    # -- Beside other holds

    def test_occurrences_of_schedules_have_limits_too(self, gated: LimitLab, plans: ScheduleLab) -> None:
        gated.declare(queue_default=2)
        row = plans.row("often", overlap=Overlap.ALLOW)
        tasks = [plans.task(second, row, limit_key="ann" if second < 2 else None) for second in range(5)]
        assert plans.change(row, tasks=tasks).applied
        gated.pass_time(9)
        gated.admit()
        answer = gated.claim()
        assert [task.id for task in answer.tasks] == [task_id(0), task_id(2)]
        gated.finish(task_id(0), answer.claim)
        assert gated.claimed() == [task_id(1)]

    def test_an_occurrence_waits_for_its_turn_and_then_for_its_limit(self, gated: LimitLab, plans: ScheduleLab) -> None:
        row = plans.row("daily", overlap=Overlap.QUEUE_ALL)
        assert plans.change(row, tasks=[plans.task(second, row, limit_key="ann") for second in (0, 1)]).applied
        first = gated.claim()
        other = gated.add(limit_key="ann")
        gated.pass_time(2)
        assert [task.id for task in first.tasks] == [task_id(0)]
        assert plans.hold(1) == "overlap"
        gated.finish(task_id(0), first.claim)
        second = gated.claim()
        assert [task.id for task in second.tasks] == [other]
        assert plans.hold(1) == "limit"
        gated.finish(other, second.claim)
        assert gated.claimed() == [task_id(1)]

    def test_an_occurrence_that_waits_for_a_limit_is_the_active_one(self, gated: LimitLab, plans: ScheduleLab) -> None:
        gated.add(limit_key="ann")
        running = gated.claim()
        row = plans.row("daily", overlap=Overlap.QUEUE_ALL)
        assert plans.change(row, tasks=[plans.task(second, row, limit_key="ann") for second in (0, 1)]).applied
        gated.pass_time(2)
        assert plans.settle() == 0
        assert (plans.hold(0), plans.hold(1)) == ("limit", "overlap")
        gated.cancel(task_id(0))
        assert plans.hold(1) == "limit"
        gated.finish(running.tasks[0].id, running.claim)
        assert gated.claimed() == [task_id(1)]

    # -- Looking

    def test_a_task_says_which_limit_it_waits_for(self, gated: LimitLab) -> None:
        first, second = (gated.add(limit_key="ann") for _ in range(2))
        passed, waits = gated.info(first), gated.info(second)
        assert (passed.limit_key, passed.gate, passed.hold) == ("ann", None, None)
        assert (waits.limit_key, waits.gate, waits.hold) == ("ann", "key:ann", "limit")

    def test_a_gate_tells_who_has_a_place_and_who_waits(self, gated: LimitLab) -> None:
        gated.declare(work_work=2)
        early = gated.now
        for _ in range(5):
            gated.add()
            gated.pass_time(1)
        assert gated.gate("work:work") == GateStatus(
            name="work:work",
            at_once=2,
            interval_us=None,
            burst=1,
            taken=2,
            waiting=3,
            oldest_due=early + 2 * SECOND_US,
        )

    def test_namespaces_have_limits_of_their_own(self, gated: LimitLab) -> None:
        gated.add(limit_key="ann")
        other = LimitLab(gated.clock, lambda _: gated.open_store("other"))
        other.declare(work_work=1)
        ids = [other.add(limit_key="ann") for _ in range(2)]
        assert other.claimed() == ids[:1]
        assert gated.gate("work:work") is None
        assert len(gated.claimed()) == 1

    # -- At once

    def test_however_many_let_tasks_pass_at_once_a_limit_is_kept(self, gated_kept: LimitLab) -> None:
        gated_kept.declare(work_work=5)
        stores = [gated_kept.open_store("default") for _ in range(4)]
        ids = [gated_kept.add(due_at=gated_kept.now + SECOND_US) for _ in range(40)]
        gated_kept.clock.advance(timedelta(seconds=2))
        barrier = Barrier(len(stores))
        admitted: list[int] = []

        def look(store: object) -> None:
            assert isinstance(store, LimitRepository)
            barrier.wait()
            admitted.append(ask(store.admit(0)).admitted)

        threads = [Thread(target=look, args=(store,)) for store in stores]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sum(admitted) == 5
        assert gated_kept.claimed() == ids[:5]
