"""A completion that is not committed yet, and what others do meanwhile: nothing is lost, done twice, or held up."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import psycopg
import pytest

from kokugen.errors import SupersededError
from kokugen.registry.functions import FunctionRegistry
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.rows import Beaten, Claimed, Finish, Finished, Lease
from kokugen.run import Run, Signal
from kokugen.task import TaskState
from kokugen.task_storage.completion import Completer
from kokugen.testing import ManualClock
from kokugen.testing.suite.lab import OTHER_NODE, Lab, ask
from tests.servers.stores import query, with_options
from tests.within.conftest import noted
from tests.within.places import note_of, server_of

works = FunctionRegistry()


@works.work
def work() -> None: ...


@pytest.fixture
def url(postgres_store: str) -> str:
    return postgres_store


@pytest.fixture
def lab(url: str) -> Iterator[Lab]:
    clock = ManualClock()
    opened: list[PostgresRepository] = []

    def open_store(namespace: str) -> PostgresRepository:
        opened.append(PostgresRepository(with_options(url, timeout="1"), namespace=namespace, clock=clock))
        opened[-1].open()
        return opened[-1]

    yield Lab(clock, open_store)
    for one in opened:
        one.close()


@pytest.fixture
def link(url: str) -> Iterator[psycopg.Connection[Any]]:
    with psycopg.connect(server_of(url)) as one:
        yield one


@pytest.fixture
def other(url: str) -> Iterator[psycopg.Connection[Any]]:
    """Somebody else's session."""
    with psycopg.connect(server_of(url)) as one:
        yield one


def claimed(lab: Lab) -> Run:
    """Add a task, claim it, and return its run."""
    task_id = lab.add()
    answer = lab.claim()
    return run_of(lab, next(task for task in answer.tasks if task.id == task_id), answer.claim)


def run_of(lab: Lab, task: Claimed, claim: str) -> Run:
    run = Run(task, claim, work, stopping=Signal(), trusted_until_s=1e12, not_before_us=0)
    run.completer = Completer(lab.repo)
    return run


def effect_of(run: Run, link: psycopg.Connection[Any], url: str) -> None:
    """Do what the work of a run does in its transaction."""
    link.execute(f"INSERT INTO {note_of(url)} VALUES ('fence {run.fence}')".encode())
    run.complete(link)


# -- Both orders


def test_a_run_that_completes_first_cannot_be_taken_over(lab: Lab, link: psycopg.Connection[Any], url: str) -> None:
    run = claimed(lab)
    seen = lab.watch()
    effect_of(run, link, url)
    assert lab.recover(*seen) == []
    link.commit()
    assert lab.recover(*seen) == []
    assert (lab.info(run.task_id).state, noted(url)) == (TaskState.DONE, ["fence 1"])


def test_a_run_that_was_taken_over_first_cannot_complete(lab: Lab, link: psycopg.Connection[Any], url: str) -> None:
    stale = claimed(lab)
    assert lab.recover(*lab.watch()) == [(stale.task_id, TaskState.INITIALIZED)]
    with pytest.raises(SupersededError) as refused:
        effect_of(stale, link, url)
    assert (refused.value.task_id, refused.value.fence) == (stale.task_id, 1)
    link.rollback()
    answer = lab.claim()
    with pytest.raises(SupersededError):
        effect_of(stale, link, url)
    link.rollback()
    fresh = run_of(lab, answer.tasks[0], answer.claim)
    effect_of(fresh, link, url)
    link.commit()
    assert (lab.info(fresh.task_id).state, noted(url)) == (TaskState.DONE, ["fence 2"])


def test_a_run_that_was_rolled_back_can_be_taken_over_and_then_cannot_complete(
    lab: Lab, link: psycopg.Connection[Any], url: str
) -> None:
    run = claimed(lab)
    effect_of(run, link, url)
    link.rollback()
    assert lab.recover(*lab.watch()) == [(run.task_id, TaskState.INITIALIZED)]
    with pytest.raises(SupersededError):
        effect_of(run, link, url)
    link.rollback()
    assert noted(url) == []


def test_a_run_that_was_cancelled_by_force_cannot_complete(lab: Lab, link: psycopg.Connection[Any], url: str) -> None:
    run = claimed(lab)
    lab.cancel(run.task_id, force=True)
    with pytest.raises(SupersededError):
        effect_of(run, link, url)


def test_a_run_that_was_asked_to_stop_may_still_complete(lab: Lab, link: psycopg.Connection[Any], url: str) -> None:
    run = claimed(lab)
    lab.cancel(run.task_id)
    effect_of(run, link, url)
    link.commit()
    assert lab.info(run.task_id).state is TaskState.DONE


# -- At the same time

CHANGES = {
    "a beat": ("beat = beat + 1", None),
    "a request to stop": ("cancel_requested = true, rev = rev + 1", None),
    "a recovery": ("state = 0, claim = NULL, owner = NULL, beat = 0, lost = 1, care = 2", SupersededError),
    "another claim": ("claim = 'another', fence = fence + 1", SupersededError),
}


@pytest.mark.parametrize("committed", [True, False])
@pytest.mark.parametrize("change", CHANGES)
def test_a_completion_waits_for_whoever_has_the_row_and_then_looks_again(
    change: str, committed: bool, lab: Lab, link: psycopg.Connection[Any], other: psycopg.Connection[Any], url: str
) -> None:
    run, (sql, refused) = claimed(lab), CHANGES[change]
    schema = url.partition("schema=")[2]
    other.execute(f"UPDATE {schema}.task SET {sql} WHERE id = '{run.task_id}'".encode())
    with ThreadPoolExecutor(1) as threads:
        completing = threads.submit(effect_of, run, link, url)
        until_waiting(other, url)
        other.commit() if committed else other.rollback()
        if refused is not None and committed:
            with pytest.raises(refused):
                completing.result(30)
            link.rollback()
        else:
            completing.result(30)
            link.commit()
    assert noted(url) == ([] if refused is not None and committed else ["fence 1"])


def until_waiting(holder: psycopg.Connection[Any], url: str) -> None:
    """Wait until somebody waits for this session."""
    sql = "SELECT FROM pg_stat_activity WHERE $1::integer = ANY (pg_blocking_pids(pid))"
    for _ in range(5000):
        if query(server_of(url), sql, holder.info.backend_pid):
            return
    raise AssertionError("nobody waits")


def test_of_two_completions_of_one_run_the_later_waits_and_is_refused(
    lab: Lab, link: psycopg.Connection[Any], other: psycopg.Connection[Any], url: str
) -> None:
    """Such as of a run that was started twice from one claim, which only a fault of kokugen's own could do."""
    run = claimed(lab)
    effect_of(run, link, url)
    with ThreadPoolExecutor(1) as threads:
        second: Future[None] = threads.submit(run.complete, other)
        until_waiting(link, url)
        link.commit()
        with pytest.raises(SupersededError):
            second.result(30)
    other.rollback()
    assert (lab.info(run.task_id).fence, noted(url)) == (1, ["fence 1"])


def test_a_stricter_isolation_is_told_of_a_beat_by_the_driver(
    lab: Lab, link: psycopg.Connection[Any], url: str
) -> None:
    run = claimed(lab)
    link.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
    link.execute("SELECT 1")
    lab.beat((run.task_id, run.claim))
    with pytest.raises(psycopg.errors.SerializationFailure):
        effect_of(run, link, url)
    link.rollback()
    effect_of(run, link, url)
    link.commit()
    assert noted(url) == ["fence 1"]


# -- Everybody else


def test_an_open_completion_delays_no_other_run(lab: Lab, link: psycopg.Connection[Any], url: str) -> None:
    open_, kept, ended, lost = (claimed(lab) for _ in range(4))
    seen = {one.id: one for one in lab.watch()}
    effect_of(open_, link, url)
    leases = [Lease(run.task_id, run.claim) for run in (open_, kept)]
    assert ask(lab.repo.beat(leases)) == [
        Beaten(open_.task_id, open_.claim, False, extended=False),
        Beaten(kept.task_id, kept.claim, False),
    ]
    row = Finish(id=ended.task_id, claim=ended.claim, state=TaskState.DONE, outcome="done")
    assert ask(lab.repo.finish([row])) == [Finished.APPLIED]
    assert lab.recover(seen[open_.task_id], seen[lost.task_id]) == [(lost.task_id, TaskState.INITIALIZED)]
    assert [one.id for one in lab.watch()] == [open_.task_id, kept.task_id]
    assert lab.claimed(node_id=OTHER_NODE) == [lost.task_id]
    link.commit()
    assert lab.info(open_.task_id).state is TaskState.DONE


def test_an_outcome_that_is_offered_beside_an_open_completion_is_not_written_over_it(
    lab: Lab, link: psycopg.Connection[Any], url: str
) -> None:
    run = claimed(lab)
    effect_of(run, link, url)
    failed = Finish(id=run.task_id, claim=run.claim, state=TaskState.FAILED, outcome="failed", error="rolled back")
    with pytest.raises(ConnectionError, match="another transaction holds its row"):
        ask(lab.repo.finish([failed]))
    link.commit()
    assert ask(lab.repo.finish([failed])) == [Finished.APPLIED]
    assert (lab.info(run.task_id).state, lab.repo.attempts(run.task_id).result(30)) == (TaskState.DONE, [])
