"""How calls become statements: together where they can, each with its own answer, and none left without one."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from kokugen.clock import SystemClock
from kokugen.errors import InvalidEntryError, NoEntryError, RepositoryUnavailableError
from kokugen.ids import IdSource, system_random
from kokugen.repository.postgres import PostgresRepository, actions
from kokugen.repository.postgres.lane import ROWS_MAX
from kokugen.repository.postgres.session import Session
from kokugen.repository.postgres.store import Store
from kokugen.repository.rows import AddResult, ClaimRequest, Finish, Finished, NewTask
from kokugen.task import TaskQuery, TaskState
from kokugen.testing.suite.lab import ANSWER_MAX_S, NODE, ask
from tests.servers.stores import emptied_store

IDS = IdSource(SystemClock(), system_random())


UNFIT = {"nul": {"work_id": "\0"}, "half a character": {"work_id": "\ud800"}, "id": {"task_id": "\0"}}


def new_task(task_id: str | None = None, *, param: str = "{}", work_id: str = "w") -> NewTask:
    now = SystemClock().wall_us()
    return NewTask(id=task_id or IDS.task_id(), work_id=work_id, due_at=now, scheduled_time=now, param=param)


@pytest.fixture
def repo(postgres: str) -> Iterator[PostgresRepository]:
    one = PostgresRepository(emptied_store(postgres, timeout="30"))
    one.open()
    yield one
    one.close()


@pytest.fixture
def statements(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the statements that were sent."""
    sent: list[str] = []
    row = Session.row

    async def noting(session: Session, name: str, values: object) -> object:
        sent.append(name)
        return await row(session, name, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "row", noting)
    return sent


def test_calls_that_come_while_one_is_under_way_become_one_statement(
    repo: PostgresRepository, statements: list[str]
) -> None:
    tasks = [new_task() for _ in range(1000)]
    replies = [repo.add([task]) for task in tasks]
    assert {ask(reply)[0].result for reply in replies} == {AddResult.ADDED}
    assert 1 <= statements.count("add") < 100
    assert ask(repo.count(TaskQuery())) == 1000


def test_much_goes_beside_a_statement_under_way(repo: PostgresRepository, monkeypatch: pytest.MonkeyPatch) -> None:
    """The server is asked for the first only once the second is there, too."""
    row, both = Session.row, asyncio.Barrier(2)

    async def together(session: Session, name: str, values: object) -> object:
        if name == "add":
            await both.wait()
        return await row(session, name, values)  # type: ignore[arg-type]

    monkeypatch.setattr(Session, "row", together)
    replies = [repo.add([new_task() for _ in range(ROWS_MAX)]) for _ in range(4)]
    assert {one.result for reply in replies for one in ask(reply)} == {AddResult.ADDED}


def test_each_call_of_a_batch_has_its_own_answer(repo: PostgresRepository) -> None:
    same = new_task()
    replies = [repo.add([new_task(), same, new_task()]) for _ in range(20)]
    answers = [ask(reply) for reply in replies]
    assert [len(answer) for answer in answers] == [3] * 20
    assert [answer[1].result for answer in answers] == [AddResult.ADDED] + [AddResult.EXISTED] * 19
    assert {answer[place].result for answer in answers for place in (0, 2)} == {AddResult.ADDED}


@pytest.mark.parametrize("bad", UNFIT.values(), ids=UNFIT)
def test_a_call_that_the_store_cannot_hold_is_refused_and_its_neighbours_are_not(
    repo: PostgresRepository, bad: dict[str, str]
) -> None:
    good = [repo.add([new_task()]) for _ in range(10)]
    refused = repo.add([new_task(), new_task(**bad)])
    more = [repo.add([new_task()]) for _ in range(10)]
    assert {ask(reply)[0].result for reply in (*good, *more)} == {AddResult.ADDED}
    with pytest.raises(InvalidEntryError):
        ask(refused)
    assert ask(repo.count(TaskQuery())) == 20


def test_a_refused_outcome_does_not_keep_its_neighbours_from_being_written(repo: PostgresRepository) -> None:
    tasks = [new_task() for _ in range(5)]
    ask(repo.add(tasks))
    claim = ask(repo.claim(ClaimRequest(node_id=NODE, nonce=IDS.nonce(), slots=9))).claim
    states = [TaskState.DONE, TaskState.WORKING, TaskState.DONE, TaskState.FAILED, TaskState.DONE]
    replies = [
        repo.finish([Finish(id=task.id, claim=claim, state=state, outcome="done")])
        for task, state in zip(tasks, states, strict=True)
    ]
    for reply, state in zip(replies, states, strict=True):
        if state == TaskState.WORKING:
            with pytest.raises(InvalidEntryError):
                ask(reply)
        else:
            assert ask(reply) == [Finished.APPLIED]


@pytest.mark.parametrize("text", ["a\0b", "\ud800", "\\u0000", "ok"])
def test_an_error_of_any_text_can_be_written(repo: PostgresRepository, text: str) -> None:
    """An outcome that could not be written would be tried again for ever, and its task never end."""
    task = new_task()
    ask(repo.add([task]))
    claim = ask(repo.claim(ClaimRequest(node_id=NODE, nonce=IDS.nonce(), slots=9))).claim
    row = Finish(id=task.id, claim=claim, state=TaskState.FAILED, outcome="failed", error=text, reason=text)
    assert ask(repo.finish([row])) == [Finished.APPLIED]
    (info,) = ask(repo.get([task.id]))
    assert info.state == TaskState.FAILED
    assert info.error == text.replace("\0", "␀").replace("\ud800", "?")


def test_large_bodies_do_not_make_too_large_a_batch(repo: PostgresRepository, statements: list[str]) -> None:
    tasks = [new_task(param='{"args":["' + "x" * 1_000_000 + '"]}') for _ in range(40)]
    replies = [repo.add([task]) for task in tasks]
    assert {ask(reply)[0].result for reply in replies} == {AddResult.ADDED}
    assert statements.count("add") >= 2


def test_many_threads_may_ask_at_once(repo: PostgresRepository) -> None:
    def live(_: int) -> bool:
        task = new_task()
        ask(repo.add([task]))
        (info,) = ask(repo.get([task.id]))
        with pytest.raises(NoEntryError):
            ask(repo.mark_as_done("nobody"))
        return bool(ask(repo.mark_as_done(info.id)))

    with ThreadPoolExecutor(16) as pool:
        assert all(pool.map(live, range(160)))


def test_a_store_nobody_opened_is_opened_by_the_first_call(postgres: str) -> None:
    repo = PostgresRepository(emptied_store(postgres))
    assert ask(repo.count(TaskQuery())) == 0
    repo.close()


def test_calls_that_race_with_the_closing_of_a_store_are_all_answered(postgres: str) -> None:
    for _ in range(5):
        repo = PostgresRepository(emptied_store(postgres))
        repo.open()
        store = repo._store
        assert store is not None
        closing = ThreadPoolExecutor(5)
        asking = [closing.submit(keep_asking, store) for _ in range(4)]
        closing.submit(repo.close).result()
        for one in asking:
            one.result()
        closing.shutdown()


def keep_asking(store: Store) -> None:
    """Ask a store until it is closed; every call is answered."""
    while True:
        replies = [store.submit(actions.ADD, [new_task()]) for _ in range(20)]
        for reply in replies:
            try:
                reply.result(ANSWER_MAX_S)
            except RepositoryUnavailableError:
                return


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_forked_child_connects_anew_and_leaves_the_parents_connections_alone(repo: PostgresRepository) -> None:
    task = new_task()
    ask(repo.add([task]))
    child = os.fork()
    if child == 0:
        status = 1
        try:
            found = repo.get([task.id]).result(ANSWER_MAX_S)
            repo.add([new_task("from the child")]).result(ANSWER_MAX_S)
            repo.close()
            status = 0 if [info.id for info in found] == [task.id] else 2
        finally:
            os._exit(status)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert ask(repo.count(TaskQuery())) == 2
