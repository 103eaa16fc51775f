"""Cases of two processes on one store, and the other process: a bench like ours, told step by step what to do."""

from __future__ import annotations

import multiprocessing
import sys
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any, Protocol

from kokugen.clock import Clock
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import AddResult, Finished
from kokugen.task import TaskState
from kokugen.testing.clock import ManualClock
from kokugen.testing.suite.lab import ANSWER_MAX_S, NODE, OTHER_NODE, Lab, params

FIRST_NUMBER = 1_000_000
"""From where on the other process counts, so that none of its ids and claims is one of ours."""
spawning = multiprocessing.get_context("spawn")


class Maker(Protocol):
    """The subclass of the suite, which says how to make its repository."""

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        """Return a new repository on the store in the folder."""
        ...


class OtherProcess:
    """A bench in a process of its own. Its clock stands still where ours stood when it was made."""

    def __init__(self, maker: Maker, clock: ManualClock, folder: Path) -> None:
        self._line, its = spawning.Pipe()
        self._process = spawning.Process(target=_live, args=(its, maker, clock, folder), daemon=True)
        self._process.start()
        its.close()
        self.answer()

    def do(self, step: str, *values: Any, **asked: Any) -> Any:
        """Have it carry out a step of the bench, and return the answer."""
        self.begin(step, *values, **asked)
        return self.answer()

    def begin(self, step: str, *values: Any, **asked: Any) -> None:
        """Have it carry out a step, and do not wait."""
        self._line.send((step, values, asked))

    def answer(self) -> Any:
        """Return the answer to the step that was begun."""
        assert self._line.poll(ANSWER_MAX_S), "the other process does not answer"
        return self._line.recv()

    def kill(self) -> None:
        """End it as a crash does."""
        self._process.kill()
        self.close()

    def close(self) -> None:
        """Let it end, and wait until it has."""
        self._line.close()
        self._process.join(ANSWER_MAX_S)


def root_of(maker: Maker) -> Path:
    """Return the folder from which the other process can import the tests, however pytest imported them."""
    module = sys.modules[type(maker).__module__]
    assert module.__file__ is not None
    return Path(module.__file__).parents[module.__name__.count(".")]


def _live(line: Connection, maker: Maker, clock: ManualClock, folder: Path) -> None:
    """Be the other process: carry out what is asked for until nobody asks any more."""
    bench = Lab(clock, _opener(maker, clock, folder), FIRST_NUMBER)
    line.send("ready")
    with suppress(EOFError):
        while True:
            step, values, asked = line.recv()
            line.send(getattr(bench, step)(*values, **asked))
    bench.repo.close()


def _opener(maker: Maker, clock: Clock, folder: Path) -> Callable[[str], DurableRepository]:
    def open_store(namespace: str) -> DurableRepository:
        repository = maker.repository(clock, folder, namespace)
        repository.open()
        return repository

    return open_store


class ApartCases:
    """I1, I3 and I4 between processes, which share nothing but the store."""

    def test_each_process_reads_what_the_other_added_and_refuses_it_when_it_comes_again(
        self, kept: Lab, other: OtherProcess
    ) -> None:
        task = kept.new(param=params("x" * 2000), unique_key="u")
        kept.add_all(task)
        ids = [task.id, other.do("add", param=params("y" * 2000))]
        assert [info.id for info in kept.infos()] == ids
        assert [other.do("info", task_id) for task_id in ids] == kept.infos()
        answers = other.do("add_all", task, kept.new(unique_key="u"))
        assert [answer.result for answer in answers] == [AddResult.EXISTED, AddResult.DUPLICATE]

    def test_two_processes_that_claim_at_once_share_the_tasks_out(self, kept: Lab, other: OtherProcess) -> None:
        tasks = [kept.new() for _ in range(200)]
        kept.add_all(*tasks)
        other.begin("drained", 1, node_id=OTHER_NODE)
        won = kept.drained(1, node_id=NODE) + other.answer()
        assert sorted(won) == [task.id for task in tasks]

    def test_what_a_killed_process_held_is_recovered_and_all_that_it_was_answered_is_there(
        self, kept: Lab, other: OtherProcess
    ) -> None:
        added = other.do("add")
        claim = other.do("start", added)
        other.kill()
        (seen,) = kept.watch()
        assert (seen.id, seen.claim) == (added, claim)
        assert kept.recover(seen) == [(added, TaskState.INITIALIZED)]
        assert kept.finish(added, claim) == Finished.FENCED
        kept.start(added)
        assert (kept.info(added).fence, kept.info(added).lost) == (2, 1)
