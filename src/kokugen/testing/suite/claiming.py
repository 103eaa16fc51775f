"""Cases of `claim` and `held`: in what order, what a claim makes of a task, and that each task has one winner."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta

import pytest

from kokugen.clock import from_us
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import Claimed
from kokugen.task import Mode, Priority, TaskState
from kokugen.testing.suite.lab import (
    NODE,
    NOT_WAITING,
    OTHER_NODE,
    SECOND_US,
    Lab,
    ask,
    assert_changed,
    params,
)

SHUFFLED = (3, 7, 0, 5, 1, 6, 2, 4)


class ClaimingCases:
    """T2."""

    def test_equally_due_tasks_are_claimed_in_order_of_their_ids(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in SHUFFLED]
        lab.add_all(*(tasks[i] for i in SHUFFLED))
        assert lab.claimed() == [task.id for task in tasks]

    def test_earlier_due_tasks_are_claimed_first(self, lab: Lab) -> None:
        tasks = [lab.new(due_at=lab.now - number) for number in SHUFFLED]
        lab.add_all(*tasks)
        assert lab.claimed() == [task.id for task in sorted(tasks, key=lambda task: task.due_at)]

    def test_of_the_due_tasks_those_of_a_higher_priority_are_claimed_first(self, lab: Lab) -> None:
        tasks = [lab.new(rank=-level, due_at=lab.now - 10 * level) for level in (0, 3, 1, 2) for _ in range(3)]
        lab.add_all(*(tasks[i] for i in (5, 2, 8, 11, 0, 6, 3, 9, 1, 10, 4, 7)))
        expected = sorted(tasks, key=lambda task: (task.rank, task.due_at, task.id))
        assert lab.claimed() == [task.id for task in expected]

    def test_a_higher_priority_that_is_due_later_goes_first_once_due(self, lab: Lab) -> None:
        early = lab.add(due_at=lab.now - 9)
        urgent = lab.add(due_at=lab.now + 1, rank=-Priority.URGENT)
        lab.pass_time()
        assert lab.claimed(slots=1) == [urgent]
        assert lab.claimed(slots=1) == [early]

    def test_the_queues_and_works_of_one_claim_are_served_in_one_order(self, lab: Lab) -> None:
        tasks = [lab.new(queue="ab"[i % 2], work_id=f"w{i % 3}", due_at=lab.now - 8 + i) for i in range(8)]
        lab.add_all(*(tasks[i] for i in SHUFFLED))
        assert lab.claimed(queues=("a", "b")) == [task.id for task in tasks]

    def test_the_order_holds_over_several_claims(self, lab: Lab) -> None:
        tasks = [lab.new(due_at=lab.now - 1) for _ in range(8)]
        lab.add_all(*(tasks[i] for i in SHUFFLED))
        assert [*lab.claimed(3), *lab.claimed(3), *lab.claimed(3)] == [task.id for task in tasks]

    def test_a_claimed_task_brings_all_that_its_run_needs(self, lab: Lab) -> None:
        asked = lab.new(
            work_id="mail",
            due_at=lab.now - 2,
            scheduled_time=lab.now - 3,
            param=params(1, a=2),
            max_attempts=4,
            max_lost=5,
            tags='["t"]',
            options='{"timeout_us":5}',
        )
        lab.add_all(asked)
        answer = lab.claim(nonce="c" * 32)
        assert answer.claim == "c" * 32
        assert answer.now == lab.now
        assert answer.tasks == [
            Claimed(
                id=asked.id,
                work_id="mail",
                param=asked.param,
                queue="default",
                mode=Mode.AT_LEAST_ONCE,
                scheduled_time=lab.now - 3,
                due_at=lab.now - 2,
                attempt=1,
                max_attempts=4,
                lost=0,
                max_lost=5,
                fence=1,
                tags='["t"]',
                options='{"timeout_us":5}',
            )
        ]

    def test_a_claimed_task_is_working_for_its_node_and_otherwise_the_same(self, lab: Lab) -> None:
        task_id = lab.add(param=params("x"), unique_key="u", tags='["t"]')
        before = lab.info(task_id)
        lab.pass_time()
        lab.claim()
        now = from_us(lab.now)
        expected = {"state": TaskState.WORKING, "owner": NODE, "attempt": 1, "fence": 1}
        assert_changed(before, lab.info(task_id), **expected, claimed_at=now, last_modified=now)

    def test_every_claim_counts_the_fence_and_the_attempt_on(self, lab: Lab) -> None:
        task_id = lab.add(max_attempts=5)
        for number in (1, 2, 3):
            (run,) = (answer := lab.claim()).tasks
            assert (run.attempt, run.fence) == (number, number)
            lab.finish(task_id, answer.claim, TaskState.INITIALIZED)

    def test_a_task_is_claimed_when_it_is_due_and_not_before(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now + SECOND_US)
        lab.clock.advance(timedelta(microseconds=SECOND_US - 1))
        assert lab.claimed() == []
        lab.clock.advance(timedelta(microseconds=1))
        assert lab.claimed() == [task_id]

    def test_a_claim_looks_as_far_ahead_as_it_says(self, lab: Lab) -> None:
        at_edge = lab.add(due_at=lab.now + 20_000)
        lab.add(due_at=lab.now + 20_001)
        assert lab.claimed(ahead_us=20_000) == [at_edge]

    @pytest.mark.parametrize("state", NOT_WAITING, ids=lambda state: state.label)
    def test_only_a_waiting_task_is_claimed(self, lab: Lab, state: TaskState) -> None:
        task_id = lab.in_state(state)
        before = lab.whole(task_id)
        assert lab.claimed() == []
        assert lab.whole(task_id) == before

    def test_a_held_task_is_not_claimed(self, lab: Lab) -> None:
        task_id = lab.add()
        lab.revise(task_id, hold="paused")
        before = lab.whole(task_id)
        assert lab.claimed() == []
        assert lab.whole(task_id) == before

    def test_a_clock_that_was_set_back_makes_a_task_wait_again(self, lab: Lab) -> None:
        first = lab.add(due_at=lab.now)
        second = lab.add(due_at=lab.now + 1)
        lab.clock.step_wall(timedelta(hours=1))
        assert lab.claimed(slots=1) == [first]
        lab.clock.step_wall(timedelta(hours=-1))
        assert lab.claimed() == []
        lab.pass_time()
        assert lab.claimed() == [second]

    @pytest.mark.parametrize("slots", [1, 2, 5, 7])
    def test_a_claim_takes_as_many_as_it_has_slots(self, lab: Lab, slots: int) -> None:
        lab.add_all(*(lab.new() for _ in range(6)))
        answer = lab.claim(slots)
        assert len(answer.tasks) == min(slots, 6)
        assert answer.more is (slots <= 6)

    def test_the_buffer_takes_more_than_the_slots(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(6)]
        lab.add_all(*tasks)
        assert lab.claimed(slots=2, buffer=3) == [task.id for task in tasks[:5]]

    def test_the_buffer_alone_takes_tasks_too(self, lab: Lab) -> None:
        task_id = lab.add()
        assert lab.claimed(slots=0, buffer=1) == [task_id]

    def test_no_slot_and_no_buffer_take_nothing(self, lab: Lab) -> None:
        lab.add()
        assert lab.claimed(slots=0) == []

    def test_an_empty_store_has_nothing_due(self, lab: Lab) -> None:
        answer = lab.claim()
        assert (answer.tasks, answer.next_due, answer.more) == ([], None, False)

    def test_a_claim_says_when_the_next_task_is_due(self, lab: Lab) -> None:
        for seconds in (9, 4, 7):
            lab.add(due_at=lab.now + seconds * SECOND_US)
        lab.add()
        assert lab.claim().next_due == lab.now + 4 * SECOND_US

    def test_the_next_due_time_is_known_although_more_is_due_now(self, lab: Lab) -> None:
        lab.add_all(*(lab.new() for _ in range(6)))
        lab.add(due_at=lab.now + 5)
        answer = lab.claim(slots=2)
        assert (answer.more, answer.next_due) == (True, lab.now + 5)

    def test_the_next_due_time_is_not_one_that_was_claimed_ahead(self, lab: Lab) -> None:
        lab.add(due_at=lab.now + 10)
        lab.add(due_at=lab.now + 30)
        assert lab.claim(ahead_us=20).next_due == lab.now + 30

    def test_a_claim_for_no_task_at_all_still_tells_what_is_due_next(self, lab: Lab) -> None:
        lab.add(due_at=lab.now + 10)
        lab.add(due_at=lab.now + 30)
        assert lab.claim(slots=0, ahead_us=20).next_due == lab.now + 30

    def test_what_looked_due_before_the_clock_was_set_back_is_due_next(self, lab: Lab) -> None:
        lab.add_all(*(lab.new(due_at=lab.now + second) for second in (0, 10, 10)))
        lab.claim(slots=0, ahead_us=20)
        assert lab.claim(slots=1, ahead_us=0).next_due == lab.now + 10

    def test_held_ended_and_foreign_tasks_are_not_what_is_due_next(self, lab: Lab) -> None:
        lab.revise(lab.add(due_at=lab.now + 1), hold="paused")
        lab.cancel(lab.add(due_at=lab.now + 2))
        lab.add(due_at=lab.now + 3, queue="other")
        assert lab.claim().next_due is None

    def test_the_next_due_time_follows_a_change(self, lab: Lab) -> None:
        task_id = lab.add(due_at=lab.now + 3)
        lab.revise(task_id, due_at=lab.now + 8)
        assert lab.claim().next_due == lab.now + 8

    def test_threads_that_claim_at_once_share_the_tasks_out(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(200)]
        lab.add_all(*tasks)
        won = _race([lab.repo] * 4, lambda repo, number: _drain(lab, repo, number))
        assert sorted(won) == sorted(task.id for task in tasks)

    def test_two_instances_that_claim_at_once_share_the_tasks_out(self, kept: Lab) -> None:
        tasks = [kept.new() for _ in range(200)]
        kept.add_all(*tasks)
        second = kept.open_store("default")
        won = _race([kept.repo, second], lambda repo, number: _drain(kept, repo, number))
        assert sorted(won) == sorted(task.id for task in tasks)

    def test_the_runs_of_a_claim_whose_answer_was_lost_can_be_asked_for(self, lab: Lab) -> None:
        lab.add_all(*(lab.new() for _ in range(3)))
        answer = lab.claim()
        held = ask(lab.repo.held(NODE, answer.claim))
        assert held.claim == answer.claim
        assert sorted(held.tasks, key=lambda task: task.id) == answer.tasks

    def test_held_shows_no_run_that_is_over_or_of_another_claim_or_node(self, lab: Lab) -> None:
        over, running = lab.add(), lab.add()
        answer = lab.claim()
        lab.add()
        lab.claim()
        lab.finish(over, answer.claim)
        assert [task.id for task in ask(lab.repo.held(NODE, answer.claim)).tasks] == [running]
        assert ask(lab.repo.held(OTHER_NODE, answer.claim)).tasks == []


def _drain(lab: Lab, repo: DurableRepository, number: int) -> list[str]:
    """Claim a few at a time until nothing is left."""
    won: list[str] = []
    for turn in range(200):
        request = lab.request(slots=7, nonce=f"{number:04x}{turn:028x}", node_id=(NODE, OTHER_NODE)[number % 2])
        tasks = ask(repo.claim(request)).tasks
        if not tasks:
            break
        won += [task.id for task in tasks]
    return won


def _race(repos: Sequence[DurableRepository], run: Callable[[DurableRepository, int], list[str]]) -> list[str]:
    """Run in a thread for each repository, at once, and return all that they won."""
    with ThreadPoolExecutor(len(repos)) as pool:
        parts = [pool.submit(run, repo, number) for number, repo in enumerate(repos)]
        return [task_id for part in parts for task_id in part.result()]
