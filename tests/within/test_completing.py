"""`run.complete`: what the work writes is there exactly if its task is Done; on every kind of connection."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import apsw
import psycopg
import pytest

from kokugen import AsyncScheduler, Retry, Scheduler, Settings, TaskInfo, TaskParam, TaskState, current_run
from kokugen.engine.hooks import RunEvent
from kokugen.errors import CodecError, SupersededError, TransactionError
from tests.servers.stores import with_options
from tests.within.conftest import MakeStore, noted
from tests.within.places import ASYNC, SYNC, Opens, OpensAsync, Place, file_of, note_of, server_of

PATIENCE = timedelta(seconds=60)
PATIENT = Settings(ttl_s=120.0, rpc_s=30.0)
NOW = timedelta(0)
RETRY = Retry(5, initial=timedelta(milliseconds=1))
KINDS = [(scheme, opens) for scheme, kinds in SYNC.items() for opens in kinds]
NAMES = [f"{scheme}-{opens.__name__}" for scheme, opens in KINDS]
Ends = Callable[[Place, int], object]


class Shop:
    """A scheduler whose work notes what it did, and completes itself in the same transaction."""

    def __init__(self, url: str, opens: Opens) -> None:
        self.url = url
        self.opens = opens
        patient = with_options(url, timeout="30") if url.startswith("postgresql") else url
        self.scheduler = Scheduler(patient, settings=PATIENT)
        self.told: list[tuple[str, str | None]] = []
        self.scheduler.on_failed(self._tell("failed"))
        self.scheduler.on_dead(self._tell("dead"))
        self.scheduler.on_superseded(self._tell("superseded"))

    def _tell(self, name: str) -> Callable[[RunEvent], None]:
        return lambda event: self.told.append((name, event.error))

    def run(self, ends: Ends, *, retry: Retry | None = RETRY) -> TaskInfo:
        """Have a run end its transaction so, `ends(place, attempt)`, and return the task once it is over."""

        @self.scheduler.work(retry=retry)
        def note(text: str) -> str:
            run = current_run()
            with self.opens(self.url) as place:
                place.execute(f"INSERT INTO {note_of(self.url)} VALUES ('{text}')")
                run.complete(place.connection, {"attempt": run.attempt})
                ends(place, run.attempt)
            return "what the work returns"

        with self.scheduler:
            task = self.scheduler.after(NOW, note, "mine")
            ended = task.wait(PATIENCE)
        self.attempts = self.scheduler.attempts(task.id)
        self.scheduler.close()
        return ended


@pytest.fixture(params=KINDS, ids=NAMES)
def shop(request: pytest.FixtureRequest, store: MakeStore) -> Shop:
    scheme, opens = request.param
    return Shop(store(scheme), opens)


def commit(place: Place, attempt: int) -> None:
    place.commit()


def roll_back_first(place: Place, attempt: int) -> None:
    place.rollback() if attempt == 1 else place.commit()


def test_a_committed_run_is_done_with_its_result_and_its_effect(shop: Shop) -> None:
    ended = shop.run(commit)
    assert (ended.state, ended.result, ended.fence) == (TaskState.DONE, '{"attempt":1}', 1)
    assert (noted(shop.url), shop.attempts, shop.told) == (["mine"], [], [])


def test_a_run_that_was_rolled_back_is_tried_again_though_its_work_returned(shop: Shop) -> None:
    ended = shop.run(roll_back_first)
    assert (ended.state, ended.result, ended.attempt) == (TaskState.DONE, '{"attempt":2}', 2)
    assert noted(shop.url) == ["mine"]
    assert [(one.outcome, "was rolled back" in (one.error or "")) for one in shop.attempts] == [("retry", True)]
    assert [name for name, _ in shop.told] == ["failed"]


@pytest.fixture
def on_sqlite(store: MakeStore) -> Shop:
    return Shop(store("sqlite"), SYNC["sqlite"][0])


@pytest.fixture
def on_postgres(store: MakeStore) -> Shop:
    return Shop(store("postgresql"), SYNC["postgresql"][0])


@pytest.fixture(params=["sqlite", "postgres"])
def either(request: pytest.FixtureRequest) -> Shop:
    found: Shop = request.getfixturevalue(f"on_{request.param}")
    return found


def test_a_run_that_never_commits_has_failed(either: Shop) -> None:
    ended = either.run(lambda place, attempt: place.rollback(), retry=None)
    assert (ended.state, noted(either.url)) == (TaskState.FAILED, [])
    assert "was rolled back or never committed" in (ended.error or "")
    assert [name for name, _ in either.told] == ["failed", "dead"]


def test_work_that_raises_before_its_commit_is_tried_again(either: Shop) -> None:
    def power_fails_first(place: Place, attempt: int) -> None:
        if attempt == 1:
            raise OSError("the power fails")
        place.commit()

    ended = either.run(power_fails_first)
    assert (ended.state, ended.attempt, noted(either.url)) == (TaskState.DONE, 2, ["mine"])
    assert ["the power fails" in (one.error or "") for one in either.attempts] == [True]


def test_work_that_raises_after_its_commit_has_done_it_all_the_same(
    either: Shop, caplog: pytest.LogCaptureFixture
) -> None:
    def stumble(place: Place, attempt: int) -> None:
        place.commit()
        raise OSError("too late")

    ended = either.run(stumble)
    assert (ended.state, ended.attempt, ended.error, noted(either.url)) == (TaskState.DONE, 1, None, ["mine"])
    assert (either.attempts, either.told) == ([], [])
    assert "Done by its own completion" in caplog.text


def again(place: Place) -> bool:
    """Complete the run once more where it is completed already; return whether that is refused."""
    try:
        current_run().complete(place.connection, "another result")
    except SupersededError:
        return True
    return False


def test_a_second_end_in_one_transaction_changes_nothing(on_postgres: Shop) -> None:
    refused: list[bool] = []

    def twice(place: Place, attempt: int) -> None:
        refused.append(again(place))
        place.commit()

    ended = on_postgres.run(twice)
    assert (ended.state, ended.result, refused) == (TaskState.DONE, '{"attempt":1}', [False])


def test_a_second_end_in_one_transaction_is_refused_by_sqlite(on_sqlite: Shop) -> None:
    refused: list[bool] = []

    def twice(place: Place, attempt: int) -> None:
        refused.append(again(place))
        place.commit()

    ended = on_sqlite.run(twice)
    assert (ended.state, ended.result, refused) == (TaskState.DONE, '{"attempt":1}', [True])


def test_a_transaction_that_is_repeated_after_its_commit_is_refused(shop: Shop) -> None:
    """The answer to the commit was lost, so the work does it all once more: the effect is there once."""
    refused: list[bool] = []

    def commit_and_repeat(place: Place, attempt: int) -> None:
        place.commit()
        with shop.opens(shop.url) as second:
            second.execute(f"INSERT INTO {note_of(shop.url)} VALUES ('mine')")
            refused.append(again(second))
            second.rollback() if refused[-1] else second.commit()

    ended = shop.run(commit_and_repeat)
    assert (ended.state, ended.result, ended.fence) == (TaskState.DONE, '{"attempt":1}', 1)
    assert (refused, noted(shop.url), shop.attempts, shop.told) == ([True], ["mine"], [], [])


def test_a_repeated_transaction_that_passes_its_refusal_on_leaves_the_first_one_standing(either: Shop) -> None:
    def commit_and_repeat(place: Place, attempt: int) -> None:
        place.commit()
        with either.opens(either.url) as second:
            second.execute(f"INSERT INTO {note_of(either.url)} VALUES ('mine')")
            current_run().complete(second.connection)
            second.commit()

    ended = either.run(commit_and_repeat)
    assert (ended.state, ended.result, ended.fence) == (TaskState.DONE, '{"attempt":1}', 1)
    assert (noted(either.url), either.attempts, either.told) == (["mine"], [], [])


def test_an_end_in_a_savepoint_is_not_taken_for_one_of_the_transaction(on_postgres: Shop) -> None:
    """PostgreSQL gives a savepoint an id of its own: where it cannot be told whose the end is, it is refused."""
    scheduler, refused = on_postgres.scheduler, list[bool]()

    @scheduler.work
    def note() -> str:
        with psycopg.connect(server_of(on_postgres.url)) as link:
            with link.transaction():
                current_run().complete(link, "first")
            try:
                with link.transaction():
                    current_run().complete(link, "second")
            except SupersededError:
                refused.append(True)
        return "what the work returns"

    with closing(scheduler), scheduler:
        task = scheduler.after(NOW, note)
        assert task.wait(PATIENCE).state is TaskState.DONE
        assert task.result() == "first"
    assert refused == [True]  # the work is over


def test_what_cannot_be_a_result_is_refused_and_the_transaction_is_usable(either: Shop) -> None:
    refused: list[Exception] = []

    def bad(place: Place, attempt: int) -> None:
        try:
            current_run().complete(place.connection, object())
        except CodecError as error:
            refused.append(error)
        place.commit()

    assert either.run(bad).state is TaskState.DONE
    assert len(refused) == 1


@contextmanager
def without_transaction(url: str) -> Iterator[Any]:
    """Open a connection on which each statement is committed by itself."""
    if url.startswith("postgresql"):
        with psycopg.connect(server_of(url), autocommit=True) as link:
            yield link
    else:
        with closing(apsw.Connection(str(file_of(url)))) as db:
            yield db


def test_work_that_goes_on_after_a_refused_connection_ends_as_it_returns(either: Shop) -> None:
    scheduler, refused = either.scheduler, list[bool]()

    @scheduler.work
    def note() -> str:
        run = current_run()
        with without_transaction(either.url) as link, pytest.raises(TransactionError):
            run.complete(link)
        refused.append(run.completing)
        return "done without"

    with closing(scheduler), scheduler:
        task = scheduler.after(NOW, note)
        assert (task.wait(PATIENCE).state, task.result(), refused) == (TaskState.DONE, "done without", [False])
    assert either.told == []


def test_a_refused_connection_undoes_no_completion_before_it(either: Shop) -> None:
    def roll_back(place: Place, attempt: int) -> None:
        with without_transaction(either.url) as link, pytest.raises(TransactionError):
            current_run().complete(link)
        place.rollback()

    ended = either.run(roll_back, retry=None)
    assert (ended.state, "was rolled back" in (ended.error or "")) == (TaskState.FAILED, True)


def test_a_savepoint_that_is_rolled_back_takes_the_end_with_it(on_postgres: Shop) -> None:
    scheduler, url = on_postgres.scheduler, on_postgres.url

    @scheduler.work
    def note() -> None:
        with psycopg.connect(server_of(url)) as link:
            with link.transaction(force_rollback=True):
                current_run().complete(link)
            link.execute(f"INSERT INTO {note_of(url)} VALUES ('something else')")

    with closing(scheduler), scheduler:
        assert scheduler.after(NOW, note).wait(PATIENCE).state is TaskState.FAILED
    assert noted(url) == ["something else"]


def test_work_may_leave_its_transaction_to_be_committed_later(on_postgres: Shop) -> None:
    """The outcome is offered again and again until the transaction has decided."""
    scheduler, url, kept = on_postgres.scheduler, on_postgres.url, list[Any]()

    @scheduler.work(retry=RETRY)
    def note() -> str:
        kept.append(psycopg.connect(server_of(url)))
        current_run().complete(kept[-1], "later")
        return "now"

    with closing(scheduler), scheduler:
        task = scheduler.after(NOW, note)
        while scheduler.retry_marking():
            pass  # until there is an outcome that cannot be written
        assert task.info().state is TaskState.WORKING
        with closing(kept[0]):
            kept[0].commit()
        while not scheduler.retry_marking():
            pass
        assert (task.info().state, task.result(), len(kept)) == (TaskState.DONE, "later", 1)
    assert on_postgres.told == []


def test_tasks_can_be_scheduled_where_the_run_is_completed(either: Shop) -> None:
    """The next step of a chain: it comes exactly if this one is done."""

    def and_then(place: Place, attempt: int) -> None:
        either.scheduler.within(place.connection).schedule(next_step)
        roll_back_first(place, attempt)

    next_step = TaskParam(work_id="next", scheduled_time=datetime.now(UTC) + timedelta(days=1))
    either.run(and_then)
    with closing(either.scheduler) as scheduler:
        assert [info.work_id for info in scheduler.tasks(state="Initialized")] == ["next"]


def test_a_store_in_memory_completes_no_run() -> None:
    scheduler = Scheduler("memory://")

    @scheduler.work
    def note() -> None:
        current_run().complete(object())

    with closing(scheduler), scheduler:
        ended = scheduler.after(NOW, note).wait(PATIENCE)
    assert ended.state is TaskState.FAILED
    assert TransactionError.__name__ in (ended.error or "")


@pytest.mark.parametrize("opens", ASYNC)
async def test_an_async_connection_is_as_good(opens: OpensAsync, postgres_store: str) -> None:
    scheduler = AsyncScheduler(postgres_store)

    @scheduler.work(retry=RETRY)
    async def note() -> None:
        run = current_run()
        async with opens(postgres_store) as place:
            await place.execute(f"INSERT INTO {note_of(postgres_store)} VALUES ('mine')")
            await run.complete(place.connection, run.attempt)
            await (place.rollback() if run.attempt == 1 else place.commit())

    async with scheduler:
        task = await scheduler.after(NOW, note)
        ended = await task.wait(PATIENCE)
        assert (ended.state, ended.result) == (TaskState.DONE, "2")
        assert [one.outcome for one in await scheduler.attempts(task.id)] == ["retry"]
    await scheduler.close()


async def test_work_that_goes_on_after_a_refused_async_connection_ends_as_it_returns(postgres_store: str) -> None:
    scheduler = AsyncScheduler(postgres_store)

    @scheduler.work
    async def note() -> str:
        async with await psycopg.AsyncConnection.connect(server_of(postgres_store), autocommit=True) as link:
            with pytest.raises(TransactionError):
                await current_run().complete(link)
        return "done without"

    async with scheduler:
        task = await scheduler.after(NOW, note)
        ended = await task.wait(PATIENCE)
        assert (ended.state, ended.result) == (TaskState.DONE, '"done without"')
    await scheduler.close()


async def test_an_end_that_is_not_awaited_is_none(postgres_store: str) -> None:
    scheduler = AsyncScheduler(postgres_store)

    @scheduler.work
    async def note() -> None:
        async with ASYNC[0](postgres_store) as place:
            current_run().complete(place.connection).close()
            await place.commit()

    async with scheduler:
        ended = await (await scheduler.after(NOW, note)).wait(PATIENCE)
        assert ended.state is TaskState.FAILED
    await scheduler.close()
