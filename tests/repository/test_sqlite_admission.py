"""Who is told that limits let tasks go: those who may claim them, but not where the same commit did."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from kokugen.repository.rows import ClaimAnswer, ClaimRequest, Finish, NewTask
from kokugen.repository.sqlite import limits, runs, tasks
from kokugen.repository.sqlite.library import Apsw
from kokugen.repository.sqlite.tasks import Scope
from kokugen.repository.sqlite.writer import Writer
from kokugen.task import TaskState
from kokugen.testing import ManualClock
from tests.repository.test_sqlite_writer import PATIENCE_S, Blocked, ask
from tests.repository.test_sqlite_writer import path as path  # noqa: PLC0414 - a fixture

KEYED = [NewTask(id=name, work_id="w", due_at=0, scheduled_time=0, limit_key="ann") for name in "abc"]


class Told:
    """A writer, and how often it told of tasks that were let go."""

    def __init__(self, path: Path) -> None:
        self.times = 0
        waits = dict.fromkeys(("waits", "changed"), lambda *_: None)
        self.writer = Writer(Apsw(), path, "default", ManualClock(), **waits, admitted=self._hear)

    def _hear(self) -> None:
        self.times += 1

    def settled(self) -> int:
        """Return how often it told, once it has dealt with all that was asked for."""
        ask(self.writer, lambda _: None).result(PATIENCE_S)
        return self.times


@pytest.fixture
def told(path: Path) -> Iterator[Told]:
    one = Told(path)
    yield one
    one.writer.close()


def claim(scope: Scope, nonce: str) -> ClaimAnswer:
    return tasks.claim(scope, ClaimRequest(node_id="n", nonce=nonce, slots=10))


def end(answer: ClaimAnswer) -> Finish:
    return Finish(id=answer.tasks[0].id, claim=answer.claim, state=TaskState.DONE, outcome="done")


def test_those_who_may_claim_are_told_of_tasks_that_were_let_go(told: Told) -> None:
    ask(told.writer, limits.add, rows=KEYED).result(PATIENCE_S)
    assert told.settled() == 1
    first: ClaimAnswer = ask(told.writer, claim, arguments=("first",)).result(PATIENCE_S)
    assert told.settled() == 1
    ask(told.writer, runs.finish, rows=[end(first)]).result(PATIENCE_S)
    assert told.settled() == 2


def test_nobody_is_told_of_what_the_same_commit_claimed(told: Told) -> None:
    ask(told.writer, limits.add, rows=KEYED).result(PATIENCE_S)
    first: ClaimAnswer = ask(told.writer, claim, arguments=("first",)).result(PATIENCE_S)
    before = told.settled()
    blocked = Blocked(told.writer)
    ask(told.writer, runs.finish, rows=[end(first)])
    second = ask(told.writer, claim, arguments=("second",))
    blocked.leave.set()
    assert [task.id for task in second.result(PATIENCE_S).tasks] == ["b"]
    assert told.settled() == before
