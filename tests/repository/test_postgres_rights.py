"""The SQL of the manual grants all that kokugen needs: set up as it says, applications do everything, and no more."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from pathlib import Path
from queue import SimpleQueue
from typing import Any

import asyncpg
import psycopg
import pytest

from kokugen import After, Scheduler, TaskParam, TaskState, Then, current_run
from kokugen.clock import Clock
from kokugen.errors import RepositoryError
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.testing import RepositorySuite
from tests.servers.postgres import PostgresServer
from tests.servers.stores import emptied_store, query

MANUAL = Path(__file__).resolve().parents[2] / "docs" / "how-to"
SCHEMA = "kokugen"
WITHIN = timedelta(seconds=60)
NOW = timedelta(0)
LATER = datetime.now(UTC) + timedelta(days=1)


def sql_of(page: str) -> list[str]:
    """Return the blocks of SQL on a page of the manual."""
    text = (MANUAL / page).read_text(encoding="utf-8")
    return re.findall(r"^ *```sql\n(.*?)^ *```$", text, re.DOTALL | re.MULTILINE)


def execute(server: str, sql: str) -> None:
    for statement in re.sub(r"--.*", "", sql).split(";"):
        if statement.strip():
            query(server, statement)


def as_role(url: str, role: str) -> str:
    return url.replace("postgres@", f"{role}@")


@pytest.fixture(scope="module")
def database(postgres_server: PostgresServer) -> Iterator[str]:
    """Yield the URL, for a superuser, of a database that was set up as `cluster.md` says."""
    query(postgres_server.url, "CREATE DATABASE shop")
    admin = postgres_server.url.replace("/postgres?", "/shop?")
    (block,) = sql_of("cluster.md")
    before, migrate, after = re.split(r"^(-- as kokugen_owner: kokugen migrate .*)$", block, flags=re.MULTILINE)
    assert migrate
    execute(admin, before)
    with closing(PostgresRepository(as_role(admin, "kokugen_owner"))) as owner:
        owner.open()
    execute(admin, after)
    yield admin
    query(postgres_server.url, "DROP DATABASE shop WITH (FORCE)")
    for role in ("kokugen_owner", "app"):
        query(postgres_server.url, f"DROP ROLE {role}")


@pytest.mark.once
class TestAsAnApplication(RepositorySuite):
    """The contract, for the role `app` of the manual."""

    url: str

    @pytest.fixture(autouse=True)
    def _empty_store(self, database: str) -> None:
        self.url = emptied_store(as_role(database, "app"), database, schema=SCHEMA)

    def repository(self, clock: Clock, folder: Path, namespace: str) -> DurableRepository:
        return PostgresRepository(self.url, namespace=namespace, clock=clock)


@pytest.fixture
def url(database: str) -> str:
    """The URL of the empty store, for the role `app`."""
    return emptied_store(as_role(database, "app"), database, schema=SCHEMA)


def test_an_application_may_use_the_tables_of_later_versions_and_change_none(database: str) -> None:
    query(as_role(database, "kokugen_owner"), "CREATE TABLE kokugen.later (a integer)")
    app = as_role(database, "app")
    query(app, "INSERT INTO kokugen.later VALUES (1)")
    query(app, "UPDATE kokugen.later SET a = 2")
    query(app, "DELETE FROM kokugen.later")
    for refused in ("ALTER TABLE kokugen.task ADD COLUMN mine text", "CREATE TABLE kokugen.mine (a text)"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            query(app, refused)
    query(as_role(database, "kokugen_owner"), "DROP TABLE kokugen.later")


def test_a_role_that_only_looks_sees_everything_and_changes_nothing(database: str, url: str) -> None:
    query(database, "CREATE ROLE viewer LOGIN")
    query(database, "GRANT USAGE ON SCHEMA kokugen TO viewer")
    query(database, "GRANT SELECT ON ALL TABLES IN SCHEMA kokugen TO viewer")
    try:
        with closing(Scheduler(url)) as app, closing(Scheduler(url.replace("app@", "viewer@"))) as viewer:
            remind = app.work(id="remind")(lambda: None)
            task = app.schedule(TaskParam(work_id="remind", scheduled_time=LATER))
            app.every(timedelta(hours=1), remind.options(name="hourly"))
            assert task.id in {info.id for info in viewer.tasks()}
            assert (viewer.attempts(task.id), viewer.nodes()) == ([], [])
            assert viewer.schedule_of("hourly").name == "hourly"
            with pytest.raises(RepositoryError):
                viewer.cancel(task.id)
            assert app.get(task.id).state is TaskState.INITIALIZED
    finally:
        query(database, "DROP OWNED BY viewer")
        query(database, "DROP ROLE viewer")


# -- In the user's own transaction

SCHEDULING, REPLACING, COMPLETING = 1, 2, 3
"""How many of the blocks of `transactions.md` it takes."""

Connect = Callable[[int], "psycopg.Connection[Any]"]


@pytest.fixture
def connect(database: str) -> Iterator[Connect]:
    """Returns a connection of a role with the rights of so many blocks of `transactions.md`."""
    query(database, "CREATE ROLE shop LOGIN")
    links: list[psycopg.Connection[Any]] = []

    def connect(blocks: int) -> psycopg.Connection[Any]:
        for block in sql_of("transactions.md")[:blocks]:
            execute(database, block)
        links.append(psycopg.connect(as_role(database, "shop")))
        return links[-1]

    yield connect
    for link in links:
        link.close()
    query(database, "DROP OWNED BY shop")
    query(database, "DROP ROLE shop")


@pytest.fixture
def scheduler(url: str) -> Iterator[Scheduler]:
    with closing(Scheduler(url)) as one:
        yield one


def test_a_role_may_schedule_with_no_more_than_the_manual_says(scheduler: Scheduler, connect: Connect) -> None:
    @scheduler.work
    def remind() -> None: ...

    link = connect(SCHEDULING)
    transaction = scheduler.within(link)
    first = transaction.at(LATER, remind.options(unique="ann", then=Then(remind)))
    kept = transaction.at(LATER, remind.options(unique="ann", on_duplicate="keep"))
    limited = [transaction.at(LATER, remind.options(limit_key="ann")) for _ in range(2)]
    link.commit()
    assert kept.id == first.id
    assert {first.id, *(task.id for task in limited)} < {info.id for info in scheduler.tasks()}
    assert scheduler.count() == 4


def test_a_role_may_replace_what_waits_with_no_more_than_the_manual_says(
    scheduler: Scheduler, connect: Connect
) -> None:
    @scheduler.work(unique="one", on_duplicate="replace")
    def remind(who: str) -> None: ...

    link = connect(REPLACING)
    scheduler.within(link).at(LATER, remind, "Ann")
    scheduler.within(link).at(LATER, remind, "Bob")
    link.commit()
    assert [info.param.args for info in scheduler.tasks()] == [("Bob",)]


@pytest.mark.parametrize("options", [{}, {"then": True}, {"limit_key": "ann"}], ids=str)
def test_a_role_may_complete_runs_with_no_more_than_the_manual_says(
    scheduler: Scheduler, connect: Connect, options: dict[str, Any]
) -> None:
    link = connect(COMPLETING)

    @scheduler.work
    def note() -> None:
        current_run().complete(link)
        link.commit()

    if "then" in options:
        options = {"then": Then(scheduler.work(id="next")(lambda: None))}
    with scheduler:
        tasks = [scheduler.after(NOW, note.options(**options)) for _ in range(3)]
        assert [task.wait(WITHIN).error for task in tasks] == [None] * 3


@pytest.mark.parametrize(
    ("when", "options"),
    [
        (timedelta(seconds=1), {"overlap": "skip"}),
        (timedelta(seconds=1), {"failures_max": 3}),
        (After(timedelta(seconds=1)), {}),
    ],
    ids=str,
)
def test_a_role_may_complete_runs_of_schedules_with_no_more_than_the_manual_says(
    scheduler: Scheduler, connect: Connect, when: Any, options: dict[str, Any]
) -> None:
    link, begun, count = connect(COMPLETING), SimpleQueue[str](), itertools.count()

    @scheduler.work
    def note() -> None:
        begun.put(current_run().task_id)
        if next(count) == 0:
            raise OSError("its schedule counts that, and a success after it")
        current_run().complete(link)
        link.commit()

    with scheduler:
        scheduler.every(when, note.options(name="often", **options))
        ended = [scheduler.wait(begun.get(timeout=WITHIN.total_seconds()), WITHIN) for _ in range(2)]
        scheduler.pause("often")
    assert [info.state for info in ended] == [TaskState.FAILED, TaskState.DONE]
