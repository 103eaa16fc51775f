"""Cases of reading: `get`, `page`, `count`, `attempts`, `health`. Known tasks are asked for in every way."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from kokugen.clock import from_us
from kokugen.repository.rows import ATTEMPTS_KEPT
from kokugen.task import Attempt, TaskQuery, TaskState, replace
from kokugen.testing.clock import START
from kokugen.testing.suite.lab import ENDED, NOBODY, NODE, OTHER_NODE, SECOND_US, Lab, ask

FILTERS: dict[str, dict[str, Any]] = {
    "all": {},
    "waiting": {"states": frozenset({TaskState.INITIALIZED})},
    "working": {"states": frozenset({TaskState.WORKING})},
    "ended": {"states": frozenset({TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED})},
    "no_state": {"states": frozenset[TaskState]()},
    "work": {"work_id": "w1"},
    "no_work": {"work_id": "w"},
    "queue": {"queue": "b"},
    "tag": {"tag": "t1"},
    "part_of_a_tag": {"tag": "t"},
    "wild_tag": {"tag": "%"},
    "unique": {"unique": "u7"},
    "owner": {"owner": NODE},
    "other_owner": {"owner": OTHER_NODE},
    "held": {"held": True},
    "not_held": {"held": False},
    "due_before": {"due_before": START + timedelta(seconds=3)},
    "due_from": {"due_from": START + timedelta(seconds=3)},
    "due_between": {"due_from": START + timedelta(seconds=1), "due_before": START + timedelta(seconds=4)},
    "several": {"states": frozenset({TaskState.INITIALIZED}), "work_id": "w1", "queue": "a", "tag": "t0"},
}


class QueryingCases:
    """What is read is what was asked for, whole, in order, and once."""

    def test_get_returns_what_exists_in_the_order_asked(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(6)]
        asked = [ids[4], ids[1], NOBODY, ids[5], ids[0]]
        assert [info.id for info in ask(lab.repo.get(asked))] == [ids[4], ids[1], ids[5], ids[0]]

    def test_get_of_nothing_is_nothing(self, lab: Lab) -> None:
        lab.add()
        assert ask(lab.repo.get([])) == []

    def test_what_is_over_is_told_of_and_what_is_not_there(self, lab: Lab) -> None:
        ids = {state: lab.in_state(state) for state in TaskState}
        assert set(ask(lab.repo.over([*ids.values(), NOBODY]))) == {*(ids[state] for state in ENDED), NOBODY}
        assert ask(lab.repo.over([])) == []

    def test_get_returns_more_than_a_page(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(1500)]
        lab.add_all(*tasks)
        ids = [task.id for task in reversed(tasks)]
        assert [info.id for info in ask(lab.repo.get(ids))] == ids

    @pytest.mark.parametrize("name", FILTERS)
    def test_a_query_finds_the_tasks_that_fit_and_no_others(self, lab: Lab, name: str) -> None:
        facts = _population(lab)
        query = TaskQuery(**FILTERS[name], limit=1000)
        expected = [fact["id"] for fact in facts if _fits(fact, FILTERS[name])]
        assert [info.id for info in ask(lab.repo.page(query))] == expected

    @pytest.mark.parametrize("name", FILTERS)
    def test_a_count_is_as_large_as_its_pages_together(self, lab: Lab, name: str) -> None:
        facts = _population(lab)
        query = TaskQuery(**FILTERS[name], limit=4)
        expected = sum(1 for fact in facts if _fits(fact, FILTERS[name]))
        assert ask(lab.repo.count(query)) == len(lab.pages(query)) == expected
        assert ask(lab.repo.count(replace(query, limit=1, after=(START.year, NOBODY)))) == expected

    @pytest.mark.parametrize("size", [1, 2, 3, 7, 100])
    def test_pages_of_any_size_are_complete_and_in_order_without_duplicates(self, lab: Lab, size: int) -> None:
        tasks = [lab.new(due_at=lab.now + number // 8) for number in range(24)]
        lab.add_all(*(tasks[(5 * i) % 24] for i in range(24)))
        assert [info.id for info in lab.pages(TaskQuery(limit=size))] == [task.id for task in tasks]

    def test_a_page_goes_on_behind_a_task_that_is_gone(self, lab: Lab) -> None:
        ids = [lab.add() for _ in range(6)]
        after = (lab.now, ids[2])
        lab.revise(ids[2], due_at=lab.now + SECOND_US)
        page = ask(lab.repo.page(TaskQuery(after=after)))
        assert [info.id for info in page] == [*ids[3:], ids[2]]

    def test_a_page_holds_a_hundred_unless_told_and_a_thousand_at_most(self, lab: Lab) -> None:
        tasks = [lab.new() for _ in range(1005)]
        lab.add_all(*tasks)
        sizes = [len(ask(lab.repo.page(query))) for query in (TaskQuery(), TaskQuery(limit=5000))]
        assert sizes == [100, 1000]

    @pytest.mark.parametrize("limit", [0, -1])
    def test_a_page_of_no_size_is_empty(self, lab: Lab, limit: int) -> None:
        lab.add()
        assert ask(lab.repo.page(TaskQuery(limit=limit))) == []

    def test_a_page_behind_the_last_task_is_empty(self, lab: Lab) -> None:
        task_id = lab.add()
        assert ask(lab.repo.page(TaskQuery(after=(lab.now, task_id)))) == []

    # -- History

    def test_a_task_that_simply_succeeded_has_no_history(self, lab: Lab) -> None:
        assert lab.attempts(lab.in_state(TaskState.DONE)) == []
        assert lab.attempts(NOBODY) == []

    def test_every_other_attempt_is_remembered_oldest_first(self, lab: Lab) -> None:
        task_id = lab.add(max_attempts=5)
        claimed = from_us(lab.now)
        claim = lab.start(task_id)
        lab.pass_time()
        told = {"started_at": lab.now - 3, "error": "Oops"}
        lab.finish(task_id, claim, TaskState.INITIALIZED, **told)
        lab.finish(task_id, lab.start(task_id), TaskState.FAILED, started_at=lab.now, error="Again")
        now = from_us(lab.now)
        assert lab.attempts(task_id) == [
            Attempt(
                fence=1,
                attempt=1,
                outcome="retry",
                node=NODE,
                claimed_at=claimed,
                started_at=from_us(lab.now - 3),
                finished_at=now,
                error="Oops",
            ),
            Attempt(
                fence=2,
                attempt=2,
                outcome="failed",
                node=NODE,
                claimed_at=now,
                started_at=now,
                finished_at=now,
                error="Again",
            ),
        ]

    def test_a_history_keeps_the_latest_attempts(self, lab: Lab) -> None:
        task_id = lab.add()
        for _ in range(ATTEMPTS_KEPT + 5):
            lab.finish(task_id, lab.start(task_id), TaskState.INITIALIZED, outcome="snooze", attempt_back=1)
        fences = [attempt.fence for attempt in lab.attempts(task_id)]
        assert fences == list(range(6, ATTEMPTS_KEPT + 6))

    # -- Health

    def test_health_counts_the_tasks_by_state(self, lab: Lab) -> None:
        for number, state in enumerate(TaskState):
            for _ in range(number + 1):
                lab.in_state(state)
        counts = ask(lab.repo.health()).counts
        assert counts == {"Initialized": 1, "Working": 2, "Done": 3, "Cancelled": 4, "Failed": 5}

    def test_health_tells_of_what_is_held_and_what_is_late(self, lab: Lab) -> None:
        lab.revise(lab.add(), hold="paused")
        late = lab.now
        lab.add_all(*(lab.new() for _ in range(3)))
        lab.pass_time()
        lab.add(due_at=lab.now + 5)
        health = ask(lab.repo.health())
        assert (health.held, health.overdue, health.oldest_due_us) == (1, 3, late)

    def test_an_empty_store_is_healthy(self, lab: Lab) -> None:
        health = ask(lab.repo.health())
        assert (health.held, health.overdue, health.oldest_due_us) == (0, 0, None)
        assert (set(health.counts.values()), health.url) == ({0}, lab.repo.url)


def _population(lab: Lab) -> list[dict[str, Any]]:
    """Add 30 tasks of all kinds, and return what was done to each, in order of due time, then id."""
    states = [TaskState(number % 5) for number in range(30)]
    facts = [_fact(lab, number, state) for number, state in enumerate(states)]
    return sorted(facts, key=lambda fact: (fact["due_at"], fact["id"]))


def _fact(lab: Lab, number: int, state: TaskState) -> dict[str, Any]:
    waits = state == TaskState.INITIALIZED
    node_id = (NODE, OTHER_NODE)[number % 2]
    tags = [f"t{number % 2}", f"u{number % 3}"][: number % 4]
    asked: dict[str, Any] = {
        "work_id": f"w{number % 3}" if waits else f"only-{number}",
        "queue": "ab"[number % 2],
        "unique_key": f"u{number}",
        "due_at": lab.now + number // 6 * SECOND_US if waits else lab.now - SECOND_US,
    }
    task_id = lab.add(**asked, tags=json.dumps(tags) if tags else None)
    if not waits:
        claim = lab.start(task_id, node_id=node_id)
        if state.terminal:
            lab.finish(task_id, claim, state)
    held = waits and number % 3 == 0
    if held:
        lab.revise(task_id, hold="paused")
    owner = node_id if state == TaskState.WORKING else None
    return {**asked, "id": task_id, "state": state, "tags": tags, "owner": owner, "held": held}


def _fits(fact: dict[str, Any], wanted: dict[str, Any]) -> bool:
    due = from_us(fact["due_at"])
    equal = {"work_id": "work_id", "queue": "queue", "unique": "unique_key", "owner": "owner", "held": "held"}
    return (
        all(fact[equal[name]] == value for name, value in wanted.items() if name in equal)
        and fact["state"] in wanted.get("states", TaskState)
        and ("tag" not in wanted or wanted["tag"] in fact["tags"])
        and wanted.get("due_from", due) <= due
        and ("due_before" not in wanted or due < wanted["due_before"])
    )
