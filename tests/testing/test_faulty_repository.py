"""The repository that fails on purpose: as good as the one it wraps while it works, and honest about what it did."""

from __future__ import annotations

from collections.abc import Awaitable
from pathlib import Path
from random import Random

import pytest

from kokugen.clock import Clock
from kokugen.errors import RepositoryUnavailableError, UnknownOutcomeError
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import NewTask
from kokugen.task import TaskQuery
from kokugen.testing import Fault, FaultyRepository, ManualClock, RandomFaults, RepositorySuite
from kokugen.testing.suite.lab import ask

TASK = NewTask(id="one", work_id="work", due_at=0, scheduled_time=0)
ALL = TaskQuery()


class TestWhileItWorks(RepositorySuite):
    keeps = False

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return FaultyRepository(MemoryRepository(namespace=namespace, clock=clock))


@pytest.fixture
def faulty() -> FaultyRepository:
    return FaultyRepository(MemoryRepository(clock=ManualClock()))


def test_a_refused_call_changes_nothing(faulty: FaultyRepository) -> None:
    faulty.fail("add", Fault.REFUSED)
    with pytest.raises(RepositoryUnavailableError, match="add"):
        ask(faulty.add([TASK]))
    assert ask(faulty.count(ALL)) == 0


def test_an_unanswered_call_was_done(faulty: FaultyRepository) -> None:
    faulty.fail("add", Fault.UNANSWERED)
    with pytest.raises(UnknownOutcomeError, match="add"):
        ask(faulty.add([TASK]))
    assert ask(faulty.count(ALL)) == 1


def test_the_seeds_methods_fail_so_too(faulty: FaultyRepository) -> None:
    ask(faulty.add([TASK]))
    faulty.fail("mark_as_done", Fault.REFUSED, Fault.UNANSWERED)
    with pytest.raises(RepositoryUnavailableError):
        ask(faulty.mark_as_done("one"))
    with pytest.raises(UnknownOutcomeError):
        ask(faulty.mark_as_done("one"))
    assert ask(faulty.mark_as_done("one")) is False


def test_only_the_calls_that_were_named_fail_and_are_counted(faulty: FaultyRepository) -> None:
    faulty.fail("count", None, Fault.REFUSED)
    assert ask(faulty.count(ALL)) == 0
    with pytest.raises(RepositoryUnavailableError):
        ask(faulty.count(ALL))
    assert ask(faulty.count(ALL)) == 0
    assert faulty.faults == {("count", Fault.REFUSED): 1}


def test_while_it_is_down_every_call_is_refused(faulty: FaultyRepository) -> None:
    faulty.down = True
    calls: list[Awaitable[object]] = [faulty.health(), faulty.nodes(), faulty.page(ALL), faulty.get_by_id("one")]
    for call in calls:
        with pytest.raises(RepositoryUnavailableError):
            ask(call)
    with pytest.raises(RepositoryUnavailableError):
        faulty.open()
    faulty.down = False
    assert ask(faulty.nodes()) == []


@pytest.mark.parametrize("only", [(), ("add",)])
def test_a_seeded_plan_fails_the_same_calls_every_time(only: tuple[str, ...]) -> None:
    def drawn() -> list[Fault | None]:
        plan = RandomFaults(Random(7), refused=0.3, unanswered=0.3, only=only)
        return [plan(verb) for verb in ("add", "get") * 100]

    first = drawn()
    assert first == drawn()
    assert set(first) == {None, *Fault}
    assert only == () or set(first[1::2]) == {None}


def test_what_was_wrong_in_the_first_place_is_told_as_it_is(faulty: FaultyRepository) -> None:
    faulty.fail("get_by_id", Fault.UNANSWERED)
    with pytest.raises(LookupError, match="nobody"):
        ask(faulty.get_by_id("nobody"))
