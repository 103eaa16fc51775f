"""Rows that another transaction holds locked: what a node does is not held up by them, and what people do waits."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Iterator
from threading import Thread
from typing import Any, TypeVar

import asyncpg
import pytest

from kokugen.errors import RepositoryUnavailableError
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.rows import Beaten, CancelRequest, CancelResult, Finish, Finished, Lease
from kokugen.task import TaskState
from kokugen.testing import ManualClock
from kokugen.testing.suite.lab import NODE, OTHER_NODE, OUTCOMES, Lab, ask
from tests.servers.stores import emptied_store

T = TypeVar("T")


class Stranger:
    """A session of somebody else, in a transaction of its own."""

    def __init__(self, url: str) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        server, _, schema = url.partition("&schema=")
        self._schema = schema.partition("&")[0]
        self._link: Any = self._run(asyncpg.connect(server))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    def lock(self, task_id: str) -> None:
        """Begin a transaction that holds this task."""
        self._run(self._link.execute("BEGIN"))
        sql = f"SELECT FROM {self._schema}.task WHERE id = $1 FOR UPDATE"
        self._run(self._link.execute(sql, task_id))

    def hold_up(self) -> None:
        """Begin a transaction that lets everyone read and nobody write."""
        self._run(self._link.execute(f"BEGIN; LOCK TABLE {self._schema}.task IN SHARE MODE"))

    def let_go(self) -> None:
        self._run(self._link.execute("ROLLBACK"))

    def see_waiting(self) -> None:
        """Return once something waits for this session."""
        self._run(self._awaited("count(*)"))

    def cancel_what_waits(self) -> None:
        """Once something waits for this session, have the server cancel that, as a time limit would."""
        self._run(self._awaited("count(*) FILTER (WHERE pg_cancel_backend(pid))"))

    async def _awaited(self, count: str) -> None:
        waiting = f"SELECT {count} FROM pg_stat_activity WHERE pg_backend_pid() = ANY (pg_blocking_pids(pid))"
        while not await self._link.fetchval(waiting):
            await self._link.execute("SELECT pg_stat_clear_snapshot()")  # a transaction sees one and the same

    def close(self) -> None:
        self._run(self._link.close())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()


@pytest.fixture
def url(postgres: str, request: pytest.FixtureRequest) -> str:
    return emptied_store(postgres, timeout=getattr(request, "param", "1"))


@pytest.fixture
def lab(url: str) -> Iterator[Lab]:
    clock = ManualClock()
    opened: list[PostgresRepository] = []

    def open_store(namespace: str) -> PostgresRepository:
        opened.append(PostgresRepository(url, namespace=namespace, clock=clock))
        opened[-1].open()
        return opened[-1]

    yield Lab(clock, open_store)
    for one in opened:
        one.close()


@pytest.fixture
def stranger(url: str, lab: Lab) -> Iterator[Stranger]:
    one = Stranger(url)
    yield one
    one.close()


def test_a_claim_takes_the_tasks_behind_a_locked_one(lab: Lab, stranger: Stranger) -> None:
    tasks = [lab.new() for _ in range(3)]
    lab.add_all(*tasks)
    stranger.lock(tasks[0].id)
    assert lab.claimed(slots=2) == [tasks[1].id, tasks[2].id]
    stranger.let_go()
    assert lab.claimed() == [tasks[0].id]


@pytest.mark.parametrize("url", ["120"], indirect=True)
def test_what_a_claim_took_is_told_once_it_is_settled_even_where_it_is_still_under_way(
    lab: Lab, stranger: Stranger
) -> None:
    task_id = lab.add()
    asked = lab.request()
    stranger.hold_up()
    claiming = lab.repo.claim(asked)
    stranger.see_waiting()
    holding = lab.repo.held(NODE, asked.nonce)
    stranger.let_go()
    assert [run.id for run in ask(holding).tasks] == [task_id]
    assert [run.id for run in ask(claiming).tasks] == [task_id]


@pytest.mark.parametrize("url", ["120"], indirect=True)
def test_a_claim_that_the_server_refused_is_not_waited_for(lab: Lab, stranger: Stranger) -> None:
    task_id = lab.add()
    asked = lab.request()
    stranger.hold_up()
    claiming = lab.repo.claim(asked)
    stranger.cancel_what_waits()
    with pytest.raises(RepositoryUnavailableError, match="did nothing"):
        ask(claiming)
    assert ask(lab.repo.held(NODE, asked.nonce)).tasks == []
    stranger.let_go()
    assert lab.claimed() == [task_id]


def test_a_run_whose_row_is_locked_keeps_its_lease_and_delays_no_other(lab: Lab, stranger: Stranger) -> None:
    locked, free = lab.add(), lab.add()
    claim = lab.claim().claim
    stranger.lock(locked)
    beaten = ask(lab.repo.beat([Lease(locked, claim), Lease(free, claim)]))
    assert beaten == [Beaten(locked, claim, False, extended=False), Beaten(free, claim, False)]
    assert {seen.id: seen.beat for seen in lab.watch()} == {locked: 0, free: 1}
    stranger.let_go()
    assert lab.beat((locked, claim)) == [(locked, False)]
    assert [seen.beat for seen in lab.watch()] == [1, 1]


def test_a_run_whose_row_is_locked_is_not_taken_over(lab: Lab, stranger: Stranger) -> None:
    locked, free = lab.add(), lab.add()
    lab.claim()
    seen = lab.watch()
    stranger.lock(locked)
    assert lab.recover(*seen) == [(free, TaskState.INITIALIZED)]
    stranger.let_go()
    assert lab.recover(*seen) == [(locked, TaskState.INITIALIZED)]


def test_an_outcome_whose_row_is_locked_is_refused_for_now_and_never_fenced(lab: Lab, stranger: Stranger) -> None:
    locked, free = lab.add(), lab.add()
    claim = lab.claim().claim
    stranger.lock(locked)
    replies = [lab.repo.finish([Finish(id=one, claim=claim, state=2, outcome="done")]) for one in (locked, free)]
    with pytest.raises(RepositoryUnavailableError, match="holds its row"):
        ask(replies[0])
    assert ask(replies[1]) == [Finished.APPLIED]
    stranger.let_go()
    assert lab.finish(locked, claim) == Finished.APPLIED


@pytest.mark.parametrize("url", ["120"], indirect=True)
def test_a_cancellation_waits_for_a_locked_row_and_then_sees_what_became_of_it(lab: Lab, stranger: Stranger) -> None:
    task_id = lab.add()
    stranger.lock(task_id)
    cancelling = lab.repo.cancel(CancelRequest(ids=(task_id,)))
    stranger.see_waiting()
    stranger.let_go()
    assert [answer.result for answer in ask(cancelling)] == [CancelResult.CANCELLED]


def test_a_cancellation_that_waits_too_long_changes_nothing(lab: Lab, stranger: Stranger) -> None:
    locked, free = lab.add(), lab.add()
    before = lab.whole(locked), lab.whole(free)
    stranger.lock(locked)
    with pytest.raises(RepositoryUnavailableError, match="holds it up"):
        ask(lab.repo.cancel(CancelRequest(ids=(free, locked))))
    stranger.let_go()
    assert (lab.whole(locked), lab.whole(free)) == before


def test_a_task_that_is_locked_is_left_by_a_prune(lab: Lab, stranger: Stranger) -> None:
    from kokugen.repository.rows import Retention

    ids = [lab.in_state(TaskState.DONE) for _ in range(3)]
    stranger.lock(ids[1])
    past = Retention(done_before=lab.now + 1, cancelled_before=0, failed_before=0)
    assert ask(lab.repo.prune(past)) == 2
    stranger.let_go()
    assert ask(lab.repo.prune(past)) == 1


@pytest.mark.parametrize("state", [TaskState.DONE, TaskState.INITIALIZED], ids=lambda state: state.label)
def test_cancellations_and_outcomes_at_once_agree(lab: Lab, state: TaskState) -> None:
    """Whatever comes first: what was answered as requested or cancelled holds, and no outcome is lost or doubled."""
    other = lab.open_store("default")
    for _ in range(15):
        ids = [lab.add(unique_key=None) for _ in range(8)]
        claim = lab.claim().claim
        rows = [Finish(id=one, claim=claim, state=state, outcome=OUTCOMES[state]) for one in ids]
        finishing = lab.repo.finish(rows)
        cancelling = other.cancel(CancelRequest(ids=tuple(ids)))
        assert set(ask(finishing)) == {Finished.APPLIED}
        for answer in ask(cancelling):
            info = lab.info(answer.id)
            if answer.result is CancelResult.REFUSED:
                assert info.state == TaskState.DONE
            elif state == TaskState.INITIALIZED:
                assert info.state == TaskState.CANCELLED
            else:
                assert (info.state, info.cancel_requested) == (TaskState.DONE, True)


def test_claims_and_changes_at_once_never_hand_out_a_task_twice(lab: Lab) -> None:
    other = lab.open_store("default")
    for turn in range(15):
        ids = [lab.add() for _ in range(8)]
        replies = [repo.claim(lab.request(node_id=node)) for repo, node in ((lab.repo, NODE), (other, OTHER_NODE))]
        cancelling = lab.repo.cancel(CancelRequest(ids=tuple(ids[:4]), force=turn % 2 == 0))
        won = [run.id for reply in replies for run in ask(reply).tasks]
        assert len(won) == len(set(won))
        ended = {answer.id for answer in ask(cancelling) if answer.result is CancelResult.CANCELLED}
        rest = lab.claimed()
        assert sorted({*won, *rest, *ended}) == ids
        assert not ended & set(rest)
        lab.cancel(*ids, force=True)
