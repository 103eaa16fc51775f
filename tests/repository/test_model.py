"""Any sequence of calls: a repository and a simple model of one agree on every answer, and on every task after it.

KOKUGEN_EXAMPLES is how many sequences to try on each repository (100), KOKUGEN_STEPS how long each is (50).
"""

from __future__ import annotations

import os
import tempfile
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import HealthCheck, Phase, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from kokugen.clock import Clock
from kokugen.errors import NoEntryError
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import (
    NO_AGEING_US,
    CancelRequest,
    ClaimRequest,
    Finish,
    Lease,
    NewTask,
    Observed,
    Retention,
    Revision,
)
from kokugen.task import Mode, TaskInfo, TaskQuery, TaskState, replace
from kokugen.testing import ManualClock
from kokugen.testing.suite.lab import NODE, OTHER_NODE, OUTCOMES, SECOND_US, ask, params
from tests.repository.model import WAITING, WORKING, Model

IDS = st.integers(1, 12).map(lambda number: f"00000000-0000-7000-8000-{number:012d}")
OFFSETS = st.sampled_from([-5, -1, 0, 0, 1, 2, 5]).map(lambda seconds: seconds * SECOND_US)
WORKS = st.sampled_from(["a", "b", "c"])
QUEUES = st.sampled_from(["default", "default", "default", "q"])
NODES = st.sampled_from([NODE, OTHER_NODE])
ENDS = st.sampled_from([TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED])
SWAPS = st.sampled_from([(old, new) for old in (WAITING, WORKING) for new in TaskState if new != old])
SETTINGS = settings(
    max_examples=int(os.environ.get("KOKUGEN_EXAMPLES", "100")),
    stateful_step_count=int(os.environ.get("KOKUGEN_STEPS", "50")),
    deadline=None,
    phases=[phase for phase in Phase if phase is not Phase.explain],
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


class Comparison(RuleBasedStateMachine):
    """The rules. Every one asks the repository and the model the same, and compares the answers."""

    keeps: ClassVar[bool] = False

    def make(self, clock: Clock, folder: Path) -> DurableRepository:
        raise NotImplementedError

    @initialize()
    def begin(self) -> None:
        self.open = ExitStack()
        self.folder = Path(self.open.enter_context(tempfile.TemporaryDirectory()))
        self.clock = ManualClock()
        self.model = Model()
        self.claims: list[tuple[str, str]] = []
        self.seen: list[Observed] = []
        self.nonces = 0
        self.repo = self.make(self.clock, self.folder)
        self.repo.open()

    def teardown(self) -> None:
        if hasattr(self, "repo"):
            self.repo.close()
            self.open.close()

    @property
    def now(self) -> int:
        return self.clock.wall_us()

    # -- The life of a task

    @rule(
        tasks=st.lists(
            st.fixed_dictionaries(
                {"id": IDS, "work_id": WORKS, "queue": QUEUES, "due_at": OFFSETS},
                optional={
                    "rank": st.integers(-3, 0),
                    "mode": st.sampled_from(Mode),
                    "max_lost": st.integers(1, 3),
                    "unique_key": st.sampled_from(["u", "v"]),
                    "start_deadline": OFFSETS,
                    "param": st.sampled_from([params(1), params("x" * 3000)]),
                },
            ),
            min_size=1,
            max_size=4,
        )
    )
    def add(self, tasks: list[dict[str, Any]]) -> None:
        rows = [_new_task(task, self.now) for task in tasks]
        answers = ask(self.repo.add(rows))
        assert [(one.id, one.result) for one in answers] == [self.model.add(row, self.now) for row in rows]

    @rule(seconds=st.sampled_from([0.000001, 1, 3]))
    def pass_time(self, seconds: float) -> None:
        self.clock.advance(timedelta(seconds=seconds))

    @rule(
        node_id=NODES,
        slots=st.integers(0, 4),
        buffer=st.integers(0, 3),
        lost_max=st.integers(0, 2),
        queues=st.sampled_from([("default",), ("q", "default"), ("q",)]),
        only=st.none() | st.frozensets(WORKS),
        skip=st.frozensets(WORKS, max_size=1),
        strict=st.frozensets(WORKS, max_size=1),
        ahead_us=st.sampled_from([0, SECOND_US]),
        ageing_us=st.sampled_from([0, SECOND_US, 2 * SECOND_US, NO_AGEING_US]),
    )
    def claim(self, slots: int, buffer: int, only: frozenset[str] | None, skip: frozenset[str], **asked: Any) -> None:
        self.nonces += 1
        nonce = f"{self.nonces:032x}"
        request = ClaimRequest(nonce=nonce, slots=slots, buffer=buffer, only=only, skip=skip, **asked)
        answer = ask(self.repo.claim(request))
        ids, next_due = self.model.claim(request, self.now)
        assert [task.id for task in answer.tasks] == ids
        assert answer.more or len(ids) < slots + buffer
        if only is None and not skip:
            assert answer.next_due == next_due
        self.claims += [(task_id, nonce) for task_id in ids]

    @precondition(lambda self: self.claims)
    @rule(
        data=st.data(),
        state=st.sampled_from(list(OUTCOMES)),
        back=st.booleans(),
        hold=st.sampled_from([None, None, "undecodable"]),
        due=st.none() | OFFSETS,
    )
    def finish(self, data: st.DataObject, state: TaskState, back: bool, hold: str | None, due: int | None) -> None:
        # One row a task: of two runs of one task, the later answer decides what is known of the earlier one.
        runs = st.lists(st.sampled_from(self.claims), min_size=1, max_size=3, unique_by=lambda run: run[0])
        picked = data.draw(runs)
        waiting = state == WAITING
        told: dict[str, Any] = {
            "state": state,
            "outcome": OUTCOMES[state],
            "due_at": None if due is None or not waiting else self.now + due,
            "attempt_back": int(back and waiting),
            "hold": hold if waiting else None,
            "started_at": self.now,
            "reason": "raised" if back else None,
            "error": "Oops" if state != TaskState.DONE else None,
            "result": '"' + "y" * 2000 + '"' if state == TaskState.DONE else None,
        }
        rows = [Finish(id=task_id, claim=claim, **told) for task_id, claim in picked]
        answers = ask(self.repo.finish(rows))
        assert answers == [self.model.finish(row, self.now) for row in rows]

    @precondition(lambda self: self.claims)
    @rule(data=st.data())
    def beat(self, data: st.DataObject) -> None:
        picked = data.draw(st.lists(st.sampled_from(self.claims), min_size=1, max_size=4, unique=True))
        beaten = ask(self.repo.beat([Lease(*lease) for lease in picked]))
        alive = [lease for lease in picked if self._is_run(*lease)]
        flags = [(*lease, self.model.entries[lease[0]].info.cancel_requested) for lease in alive]
        assert sorted((one.id, one.claim, one.cancel_requested) for one in beaten) == sorted(flags)
        for task_id, _ in alive:
            self.model.entries[task_id].beat += 1

    def _is_run(self, task_id: str, claim: str) -> bool:
        entry = self.model.entries.get(task_id)
        return entry is not None and entry.claim == claim

    @rule(node_id=NODES)
    def watch(self, node_id: str) -> None:
        seen = sorted(ask(self.repo.watch(node_id)), key=lambda one: one.id)
        leased = [e for e in self.model.entries.values() if e.leased and e.info.owner != node_id]
        expected = sorted((e.info.id, e.claim, e.beat, e.info.owner) for e in leased)
        assert [(one.id, one.claim, one.beat, one.owner) for one in seen] == expected
        self.seen = seen

    @rule()
    def recover(self) -> None:
        recovered = ask(self.repo.recover(self.seen))
        lost = [one for one in self.seen if self._is_run(one.id, one.claim)]
        lost = [one for one in lost if self.model.entries[one.id].beat == one.beat]
        for one in lost:
            self.model.lose(self.model.entries[one.id], self.now)
        expected = [(one.id, self.model.entries[one.id].state) for one in lost]
        assert sorted((one.id, one.state) for one in recovered) == expected

    @rule(node_id=NODES)
    def retire(self, node_id: str) -> None:
        ask(self.repo.retire(node_id))
        for entry in self.model.entries.values():
            if entry.info.owner == node_id:
                self.model.lose(entry, self.now)

    # -- Steering

    @rule(ids=st.lists(IDS, min_size=1, max_size=3, unique=True), force=st.booleans())
    def cancel(self, ids: list[str], force: bool) -> None:
        answers = ask(self.repo.cancel(CancelRequest(ids=tuple(ids), reason="not needed", force=force)))
        expected = [(task_id, self.model.cancel(task_id, "not needed", force, self.now)) for task_id in ids]
        assert [(one.id, one.result) for one in answers] == expected

    @rule(
        task_id=IDS,
        changes=st.fixed_dictionaries(
            {},
            optional={
                "due_at": OFFSETS,
                "rank": st.integers(-3, 0),
                "work_id": WORKS,
                "hold": st.just("paused"),
                "release": st.booleans(),
            },
        ),
        rev=st.sampled_from([None, 0, 1]),
    )
    def revise(self, task_id: str, changes: dict[str, Any], rev: int | None) -> None:
        current = next((info.rev for info in ask(self.repo.get([task_id]))), 0)
        if "due_at" in changes:
            changes = {**changes, "due_at": self.now + changes["due_at"]}
        revision = Revision(**changes, rev=None if rev is None else current + rev)
        refusal = self.model.revise(task_id, revision, current, self.now)
        if refusal is None:
            assert ask(self.repo.revise(task_id, revision)) > current
            return
        with pytest.raises(refusal):
            ask(self.repo.revise(task_id, revision))

    @rule(ids=st.lists(IDS, min_size=1, max_size=3, unique=True), due=OFFSETS)
    def revive(self, ids: list[str], due: int) -> None:
        revived = ask(self.repo.revive(ids, due_at=self.now + due))
        note(f"revived {revived}")
        # Which of two with one unique key wins is the repository's choice.
        chosen = [*revived, *(task_id for task_id in ids if task_id not in revived)]
        expected = [task_id for task_id in chosen if self.model.revive(task_id, self.now + due, self.now)]
        assert revived == expected

    @rule(ages=st.tuples(*[st.integers(-1, 5)] * 3))
    def prune(self, ages: tuple[int, int, int]) -> None:
        done, cancelled, failed = (self.now - age * SECOND_US for age in ages)
        retention = Retention(done_before=done, cancelled_before=cancelled, failed_before=failed)
        before = {TaskState.DONE: done, TaskState.CANCELLED: cancelled, TaskState.FAILED: failed}
        assert ask(self.repo.prune(retention)) == self.model.prune(before)

    @rule(task_id=IDS, swap=SWAPS)
    def update_state(self, task_id: str, swap: tuple[TaskState, TaskState]) -> None:
        old, new = swap
        swapped = self.model.swap(task_id, frozenset({old}), new, self.now)
        if swapped is None:
            with pytest.raises(NoEntryError):
                ask(self.repo.update_state(task_id, old, new))
            return
        assert ask(self.repo.update_state(task_id, old, new)) is swapped

    @precondition(lambda self: self.model.entries)
    @rule(data=st.data(), end=ENDS)
    def mark(self, data: st.DataObject, end: TaskState) -> None:
        task_id = data.draw(st.sampled_from(sorted(self.model.entries)))
        marked = ask(getattr(self.repo, f"mark_as_{end.label.lower()}")(task_id))
        assert marked is self.model.swap(task_id, frozenset({WAITING, WORKING}), end, self.now)

    @precondition(lambda self: self.keeps)
    @rule()
    def reopen(self) -> None:
        self.repo.close()
        self.repo = self.make(self.clock, self.folder)
        self.repo.open()

    # -- What can be seen

    @invariant()
    def every_task_is_as_the_model_says(self) -> None:
        shown = ask(self.repo.page(TaskQuery(limit=1000)))
        expected = sorted((e.info for e in self.model.entries.values()), key=_by_due)
        assert [_plain(info) for info in shown] == [_plain(info) for info in expected]

    @invariant()
    def every_history_is_as_the_model_says(self) -> None:
        for task_id, entry in self.model.entries.items():
            assert ask(self.repo.attempts(task_id)) == entry.attempts[-100:]

    @invariant()
    def updates_are_complete(self) -> None:
        since = self.clock.now - timedelta(seconds=1)
        updated = [(e.info.last_modified, e.info.id) for e in self.model.entries.values()]
        shown = [(info.last_modified, info.id) for info in ask(self.repo.get_updated_since(since))]
        assert shown == sorted((when, task_id) for when, task_id in updated if when and when >= since)


def _new_task(task: dict[str, Any], now: int) -> NewTask:
    due_at = now + task["due_at"]
    deadline = task.get("start_deadline")
    late = {} if deadline is None else {"start_deadline": due_at + deadline}
    return NewTask(**{**task, "due_at": due_at, "scheduled_time": due_at, **late})


def _by_due(info: TaskInfo) -> tuple[Any, str]:
    return info.due_at, info.id


def _plain(info: TaskInfo) -> TaskInfo:
    """Return what every repository shows alike: when a task that waits again was claimed last is not among it."""
    if info.state == WAITING:
        info = replace(info, claimed_at=None, started_at=None)
    plain: TaskInfo = replace(info, rev=0)
    return plain


class MemoryComparison(Comparison):
    def make(self, clock: Clock, folder: Path) -> DurableRepository:
        return MemoryRepository(clock=clock)


class SQLiteComparison(Comparison):
    keeps = True

    def make(self, clock: Clock, folder: Path) -> DurableRepository:
        from kokugen.repository.sqlite import SQLiteRepository

        return SQLiteRepository(folder / "tasks.db", clock=clock)


class StandardSQLiteComparison(Comparison):
    keeps = True

    def make(self, clock: Clock, folder: Path) -> DurableRepository:
        from kokugen.repository.sqlite import SQLiteRepository
        from kokugen.repository.sqlite.library import Standard

        return SQLiteRepository(folder / "tasks.db", clock=clock, library=Standard())


TestMemoryComparison = MemoryComparison.TestCase
TestMemoryComparison.settings = SETTINGS
TestSQLiteComparison = SQLiteComparison.TestCase
TestSQLiteComparison.settings = SETTINGS
TestStandardSQLiteComparison = StandardSQLiteComparison.TestCase
TestStandardSQLiteComparison.settings = SETTINGS
