"""A PostgreSQL server that is away, hangs, or is cut off: every call is answered in time, and no answer is a lie."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Event
from typing import Any, TypeVar

import pytest

from kokugen.clock import SystemClock
from kokugen.errors import RepositoryError, RepositoryUnavailableError, UnknownOutcomeError
from kokugen.ids import IdSource, system_random
from kokugen.reply import Reply
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.rows import (
    AddResult,
    CancelRequest,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Observed,
    Retention,
    Revision,
)
from kokugen.task import TaskQuery, TaskState
from kokugen.testing.suite.keeping import node
from kokugen.testing.suite.lab import ANSWER_MAX_S, NODE, OTHER_NODE, ask
from tests.servers.postgres import PostgresServer, newest, running
from tests.servers.proxy import Fault, Proxy, failing
from tests.servers.stores import emptied_store, query, store_url

TIMEOUT_S = "0.5"
T = TypeVar("T")
IDS = IdSource(SystemClock(), system_random())


def new_task(**asked: Any) -> NewTask:
    now = SystemClock().wall_us()
    return NewTask(**{"id": IDS.task_id(), "work_id": "w", "due_at": now, "scheduled_time": now, **asked})


def request(slots: int = 10) -> ClaimRequest:
    return ClaimRequest(node_id=NODE, nonce=IDS.nonce(), slots=slots)


def done(task_id: str, claim: str) -> Finish:
    return Finish(id=task_id, claim=claim, state=TaskState.DONE, outcome="done")


@pytest.fixture
def proxy(postgres_server: PostgresServer) -> Iterator[Proxy]:
    with failing(postgres_server.socket) as one:
        yield one


@pytest.fixture
def repo(proxy: Proxy, postgres_server: PostgresServer) -> Iterator[PostgresRepository]:
    """An open store behind the proxy, whose calls are to be answered within half a second."""
    one = PostgresRepository(emptied_store(proxy.url, postgres_server.url, timeout=TIMEOUT_S))
    until_answered(lambda: one.count(TaskQuery()))
    yield one
    proxy.fail(Fault.NONE)
    one.close()


@pytest.fixture
def direct(postgres_server: PostgresServer) -> Iterator[PostgresRepository]:
    """The same store without the proxy."""
    one = PostgresRepository(emptied_store(postgres_server.url))
    yield one
    one.close()


Ask = Callable[[PostgresRepository], Reply[Any]]

WRITES: dict[str, Ask] = {
    "add": lambda repo: repo.add([new_task()]),
    "claim": lambda repo: repo.claim(request()),
    "finish": lambda repo: repo.finish([done("a", "c")]),
    "beat": lambda repo: repo.beat([Lease("a", "c")]),
    "recover": lambda repo: repo.recover([Observed("a", "c", 0, 6.0, NODE)]),
    "cancel": lambda repo: repo.cancel(CancelRequest(ids=("a",))),
    "revise": lambda repo: repo.revise("a", Revision(due_at=5)),
    "revive": lambda repo: repo.revive(["a"]),
    "prune": lambda repo: repo.prune(Retention(done_before=0, cancelled_before=0, failed_before=0)),
    "register": lambda repo: repo.register(node(NODE)),
    "retire": lambda repo: repo.retire(NODE),
    "mark": lambda repo: repo.mark_as_done("a"),
}
READS: dict[str, Ask] = {
    "get": lambda repo: repo.get(["a"]),
    "attempts": lambda repo: repo.attempts("a"),
    "watch": lambda repo: repo.watch(NODE),
    "held": lambda repo: repo.held(NODE, "c"),
    "nodes": lambda repo: repo.nodes(),
}


def refusal(reply: Reply[Any]) -> RepositoryError:
    """Return the error that a call is answered with, in time."""
    with pytest.raises(RepositoryError) as refused:
        ask(reply)
    return refused.value


# -- Silence


@pytest.mark.parametrize("name", WRITES)
def test_a_write_that_nobody_answers_may_have_happened(repo: PostgresRepository, proxy: Proxy, name: str) -> None:
    warm_up(repo)
    proxy.fail(Fault.BLACK_HOLE)
    assert isinstance(refusal(WRITES[name](repo)), UnknownOutcomeError)


@pytest.mark.parametrize("name", READS)
def test_a_read_that_nobody_answers_is_to_be_tried_again_later(
    repo: PostgresRepository, proxy: Proxy, name: str
) -> None:
    warm_up(repo)
    proxy.fail(Fault.BLACK_HOLE)
    assert type(refusal(READS[name](repo))) is RepositoryUnavailableError


def warm_up(repo: PostgresRepository) -> None:
    """Have a connection of every kind on which the statements are known, so that what is tried next goes out whole."""
    task = new_task(due_at=0)
    until_answered(lambda: repo.add([task]))
    claim = until_answered(lambda: repo.claim(request())).claim
    until_answered(lambda: repo.finish([done(task.id, claim)]))
    until_answered(lambda: repo.get(["a"]))
    until_answered(lambda: repo.watch(NODE))
    until_answered(lambda: repo.count(TaskQuery()))


def test_an_unanswered_write_names_its_tasks(repo: PostgresRepository, proxy: Proxy) -> None:
    task = new_task()
    proxy.fail(Fault.BLACK_HOLE)
    told = refusal(repo.add([task]))
    assert isinstance(told, UnknownOutcomeError)
    assert told.task_ids == (task.id,)
    assert task.id in str(told)


def test_a_store_that_cannot_be_reached_at_all_did_nothing(repo: PostgresRepository, proxy: Proxy) -> None:
    proxy.fail(Fault.REFUSE)
    refusal(repo.get(["a"]))
    replies = [ask_it(repo) for ask_it in (*WRITES.values(), *READS.values())]
    assert {type(refusal(reply)) for reply in replies} == {RepositoryUnavailableError}


def test_calls_that_wait_behind_one_without_an_answer_are_answered_in_time_too(
    repo: PostgresRepository, proxy: Proxy
) -> None:
    proxy.fail(Fault.BLACK_HOLE)
    replies = [repo.claim(request()) for _ in range(20)]
    assert {type(refusal(reply)) for reply in replies} <= {UnknownOutcomeError, RepositoryUnavailableError}


@pytest.mark.parametrize("fault", [Fault.BLACK_HOLE, Fault.REFUSE, Fault.LOSE_ANSWERS], ids=lambda fault: fault.name)
def test_once_the_store_is_back_everything_works_as_before(
    repo: PostgresRepository, proxy: Proxy, fault: Fault
) -> None:
    proxy.fail(fault)
    refusal(repo.claim(request()))
    proxy.fail(Fault.NONE)
    task = new_task()
    until_answered(lambda: repo.add([task]))
    assert [info.id for info in ask(repo.get([task.id]))] == [task.id]


def until_answered(call: Callable[[], Reply[T]]) -> T:
    """Repeat a call until the store is back."""
    for _ in range(60):
        try:
            return ask(call())
        except RepositoryError:
            continue
    raise AssertionError("the store did not come back")


# -- Lost answers


def test_a_task_whose_answer_was_lost_is_there_and_adding_it_again_says_so(
    repo: PostgresRepository, proxy: Proxy
) -> None:
    warm_up(repo)
    task = new_task(unique_key="u")
    proxy.fail(Fault.LOSE_ANSWERS)
    assert isinstance(refusal(repo.add([task])), UnknownOutcomeError)
    proxy.fail(Fault.NONE)
    (answer,) = until_answered(lambda: repo.add([task]))
    assert answer.result is AddResult.EXISTED
    assert ask(repo.count(TaskQuery(unique="u"))) == 1


def test_a_claim_whose_answer_was_lost_is_found_again(
    repo: PostgresRepository, direct: PostgresRepository, proxy: Proxy
) -> None:
    warm_up(repo)
    tasks = [new_task() for _ in range(3)]
    ask(direct.add(tasks))
    asked = request()
    proxy.fail(Fault.LOSE_ANSWERS)
    assert isinstance(refusal(repo.claim(asked)), UnknownOutcomeError)
    proxy.fail(Fault.NONE)
    until_answered(lambda: repo.watch(OTHER_NODE))
    held = ask(repo.held(NODE, asked.nonce))
    assert sorted(run.id for run in held.tasks) == sorted(task.id for task in tasks)
    assert ask(repo.claim(request())).tasks == []


def test_a_claim_that_the_server_is_still_at_is_waited_for(
    repo: PostgresRepository, direct: PostgresRepository, proxy: Proxy, postgres: str
) -> None:
    """Else its node would be told that it holds nothing, and beat for ever for runs that it does not know of."""
    warm_up(repo)
    task, asked, schema = new_task(), request(), repo.url.partition("schema=")[2].partition("&")[0]
    ask(direct.add([task]))
    body = "BEGIN PERFORM pg_sleep(0.2); RETURN new; END"
    query(postgres, f"CREATE FUNCTION {schema}.slow() RETURNS trigger LANGUAGE plpgsql AS '{body}'")
    query(postgres, f"CREATE TRIGGER slow BEFORE UPDATE ON {schema}.task FOR EACH ROW EXECUTE FUNCTION {schema}.slow()")
    try:
        claiming = repo.claim(asked)
        until_at_it(postgres)
        proxy.fail(Fault.REFUSE)
        assert isinstance(refusal(claiming), UnknownOutcomeError)
        proxy.fail(Fault.NONE)
        held = until_answered(lambda: repo.held(NODE, asked.nonce))
        assert [run.id for run in held.tasks] == [task.id]
    finally:
        query(postgres, f"DROP FUNCTION {schema}.slow() CASCADE")


def until_at_it(postgres: str) -> None:
    """Wait until a claim has come to the trigger."""
    for _ in range(2000):
        if query(postgres, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'")[0][0]:
            return
    raise AssertionError("no claim came so far")


def test_an_outcome_whose_answer_was_lost_is_found_written_and_told_once(
    repo: PostgresRepository, direct: PostgresRepository, proxy: Proxy
) -> None:
    warm_up(repo)
    task = new_task(max_attempts=5)
    ask(direct.add([task]))
    claim = ask(direct.claim(request())).claim
    failed = Finish(id=task.id, claim=claim, state=TaskState.INITIALIZED, outcome="retry", started_at=1, error="Oops")
    proxy.fail(Fault.LOSE_ANSWERS)
    assert isinstance(refusal(repo.finish([failed])), UnknownOutcomeError)
    proxy.fail(Fault.NONE)
    assert until_answered(lambda: repo.finish([failed])) == [Finished.APPLIED]
    assert [attempt.outcome for attempt in ask(repo.attempts(task.id))] == ["retry"]


# -- A server that crashes


@pytest.fixture(scope="module")
def breakable() -> Iterator[PostgresServer]:
    with running(newest) as server:
        yield server


def test_nothing_that_was_acknowledged_is_lost_when_the_server_crashes(
    breakable: PostgresServer, tmp_path: Path
) -> None:
    repo = PostgresRepository(store_url(breakable.url, tmp_path, timeout="5"))
    repo.open()
    stop = Event()
    with ThreadPoolExecutor(4) as pool:
        adding = [pool.submit(keep_adding, repo, stop) for _ in range(2)]
        running_ = [pool.submit(keep_running, repo, stop) for _ in range(2)]
        for _ in range(3):
            until_answered(lambda: repo.add([new_task()]))
            breakable.restart()
        until_answered(lambda: repo.add([new_task()]))
        stop.set()
        added = [task_id for part in adding for task_id in part.result()]
        finished = [task_id for part in running_ for task_id in part.result()]
    infos = {info.id: info for info in ask(repo.get(added + finished))}
    assert added
    assert finished
    assert set(added) <= infos.keys()
    assert {infos[task_id].state for task_id in finished} == {TaskState.DONE}
    repo.close()


def keep_adding(repo: PostgresRepository, stop: Event) -> list[str]:
    """Add tasks, and return those that were acknowledged."""
    acknowledged: list[str] = []
    while not stop.is_set():
        task = new_task()
        try:
            ask(repo.add([task]))
        except RepositoryError:
            continue
        acknowledged.append(task.id)
    return acknowledged


def keep_running(repo: PostgresRepository, stop: Event) -> list[str]:
    """Claim and finish tasks, and return those whose end was acknowledged."""
    acknowledged: list[str] = []
    while not stop.is_set():
        try:
            answer = ask(repo.claim(request(50)))
            ended = ask(repo.finish([done(run.id, answer.claim) for run in answer.tasks]))
        except RepositoryError:
            continue
        acknowledged += [run.id for run, end in zip(answer.tasks, ended, strict=True) if end is Finished.APPLIED]
    return acknowledged


def test_a_server_that_is_not_there_is_refused_at_once_and_in_plain_words(tmp_path: Path) -> None:
    repo = PostgresRepository(f"postgresql://ann:secret@/db?host={tmp_path}&timeout=60")
    with pytest.raises(RepositoryUnavailableError) as refused:
        repo.open()
    assert "check that the server runs" in str(refused.value)
    assert "secret" not in str(refused.value)
    assert isinstance(refusal(repo.add([new_task()])), RepositoryUnavailableError)
    repo.close()


@pytest.mark.parametrize("who", ["nobody_here@/postgres", "postgres@/no_such_database"])
def test_a_server_that_does_not_let_us_in_says_what_to_do(postgres_server: PostgresServer, who: str) -> None:
    url = postgres_server.url.replace("postgres@/postgres", who)
    with pytest.raises(RepositoryError, match=r"check the user|make the database"):
        PostgresRepository(url).open()


def test_a_closed_store_opens_again(direct: PostgresRepository) -> None:
    direct.open()
    direct.close()
    assert ask(direct.add([new_task()]))[0].result is AddResult.ADDED


def test_what_was_accepted_is_written_before_a_store_is_closed(
    repo: PostgresRepository, direct: PostgresRepository
) -> None:
    tasks = [new_task() for _ in range(500)]
    replies = [repo.add([task]) for task in tasks]
    repo.close()
    assert all(reply.result(ANSWER_MAX_S)[0].result is AddResult.ADDED for reply in replies)
    assert ask(direct.count(TaskQuery())) == 500
