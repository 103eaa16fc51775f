"""Which connections are taken, and why others are not; what their owners have set on them is of no matter."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import apsw
import asyncpg
import django.db
import psycopg
import psycopg2
import psycopg2.extensions
import psycopg2.extras
import pytest
import sqlalchemy
from psycopg.rows import dict_row

from kokugen import AsyncScheduler, Scheduler, TaskParam
from kokugen.errors import TransactionError
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.testing import FaultyRepository
from tests.servers.pooler import Pooler
from tests.servers.postgres import PostgresServer
from tests.servers.stores import emptied_store, query, with_options
from tests.within.conftest import MakeStore
from tests.within.places import configure_django, engine_of, file_of, server_of

LATER = datetime.now(UTC) + timedelta(days=1)
PARAM = TaskParam(work_id="remind", scheduled_time=LATER)


@contextmanager
def scheduling(url: str) -> Iterator[Scheduler]:
    with closing(Scheduler(url)) as scheduler:
        scheduler.open()
        yield scheduler


def refused(url: str, connection: Any) -> str:
    """Return why a connection is refused; nothing was scheduled."""
    with scheduling(url) as scheduler:
        with pytest.raises(TransactionError) as why:
            scheduler.within(connection).schedule(PARAM)
        assert scheduler.count() == 0
    return str(why.value)


# -- No transaction


def autocommit_of_psycopg(url: str) -> Any:
    return psycopg.connect(server_of(url), autocommit=True)


@contextmanager
def autocommit_of_psycopg2(url: str) -> Iterator[Any]:
    with closing(psycopg2.connect(server_of(url))) as link:
        link.autocommit = True
        yield link


@contextmanager
def autocommit_of_sqlalchemy(url: str) -> Iterator[Any]:
    with engine_of(url, "psycopg", isolation_level="AUTOCOMMIT") as engine, engine.connect() as link:
        yield link


@contextmanager
def autocommit_of_django(url: str) -> Iterator[Any]:
    configure_django(url)
    yield django.db.connection
    django.db.connection.close()


@pytest.mark.parametrize(
    "opens", [autocommit_of_psycopg, autocommit_of_psycopg2, autocommit_of_sqlalchemy, autocommit_of_django]
)
def test_a_connection_that_commits_each_statement_is_refused(
    opens: Callable[[str], AbstractContextManager[Any]], postgres_store: str
) -> None:
    with opens(postgres_store) as connection:
        assert "no transaction is open" in refused(postgres_store, connection)


async def test_asyncpg_outside_of_a_transaction_is_refused(postgres_store: str) -> None:
    link = await asyncpg.connect(server_of(postgres_store))
    scheduler = AsyncScheduler(postgres_store)
    with pytest.raises(TransactionError, match=r"connection\.transaction\(\)"):
        await scheduler.within(link).schedule(PARAM)
    assert await scheduler.count() == 0
    await scheduler.close()
    await link.close()


def test_apsw_outside_of_a_transaction_is_refused(store: MakeStore) -> None:
    url = store("sqlite")
    with closing(apsw.Connection(str(file_of(url)))) as db:
        assert "BEGIN IMMEDIATE" in refused(url, db)


def test_sqlite3_outside_of_a_transaction_is_refused_in_autocommit(store: MakeStore) -> None:
    url = store("sqlite+sqlite3")
    with closing(sqlite3.connect(file_of(url), isolation_level=None)) as db:
        assert "BEGIN IMMEDIATE" in refused(url, db)


def test_a_transaction_that_failed_is_refused(postgres_store: str) -> None:
    with psycopg.connect(server_of(postgres_store)) as link:
        with pytest.raises(psycopg.errors.DivisionByZero):
            link.execute("SELECT 1 / 0")
        assert "has failed: roll it back" in refused(postgres_store, link)
        link.rollback()


def test_what_the_driver_raises_comes_as_it_is(postgres_store: str) -> None:
    """It may be told from another by the code that repeats the user's transaction."""
    with psycopg.connect(server_of(postgres_store)) as link, scheduling(postgres_store) as scheduler:
        link.execute("SET TRANSACTION READ ONLY")
        with pytest.raises(psycopg.errors.ReadOnlySqlTransaction):
            scheduler.within(link).schedule(PARAM)
        link.rollback()


# -- Not the store's


def test_another_database_is_refused(postgres_server: PostgresServer, postgres_store: str) -> None:
    """Also where a store of the same schema is in it."""
    query(postgres_server.url, "DROP DATABASE IF EXISTS elsewhere")
    query(postgres_server.url, "CREATE DATABASE elsewhere")
    elsewhere = postgres_server.url.replace("/postgres?", "/elsewhere?")
    schema = postgres_store.partition("schema=")[2]
    with psycopg.connect(elsewhere) as link:
        assert "to the database 'elsewhere', which is not the one of the store" in refused(postgres_store, link)
    with scheduling(with_options(elsewhere, schema=schema)), psycopg.connect(elsewhere) as link:
        assert "to the database 'elsewhere', which is not the one of the store" in refused(postgres_store, link)


def test_another_file_is_refused(store: MakeStore, tmp_path: Path) -> None:
    url = store("sqlite")
    with closing(apsw.Connection(str(tmp_path / "other.db"))) as db:
        db.execute("BEGIN")
        assert "other.db, which is not the store" in refused(url, db)


def test_a_database_in_memory_is_refused(store: MakeStore) -> None:
    url = store("sqlite")
    with closing(apsw.Connection(":memory:")) as db:
        db.execute("BEGIN")
        assert "in memory" in refused(url, db)


def test_a_store_that_is_only_attached_is_refused(store: MakeStore, tmp_path: Path) -> None:
    """A commit of two files in WAL mode is not one when the machine fails."""
    url = store("sqlite")
    with closing(apsw.Connection(str(tmp_path / "other.db"))) as db:
        db.execute("ATTACH ? AS store", (str(file_of(url)),))
        db.execute("BEGIN")
        assert "one is attached" in refused(url, db)


def test_the_other_library_of_sqlite_is_refused_with_the_reason(store: MakeStore) -> None:
    url = store("sqlite")
    with closing(sqlite3.connect(":memory:")) as db:
        why = refused(url, db)
    assert "of sqlite3" in why
    assert "release each other's locks" in why
    assert "sqlite+sqlite3:///" in why
    other = store("sqlite").replace("sqlite:", "sqlite+sqlite3:").replace("store.db", "lite.db")
    with closing(apsw.Connection(":memory:")) as db_of_apsw:
        assert "of apsw" in refused(other, db_of_apsw)


@pytest.mark.parametrize("connection", [None, "postgresql://", object(), sqlite3])
def test_what_is_no_connection_is_refused_with_what_is_taken(connection: object, store: MakeStore) -> None:
    assert "psycopg, psycopg2, asyncpg, SQLAlchemy" in refused(store("postgresql"), connection)
    assert "give one of apsw" in refused(store("sqlite"), connection)


def test_a_framework_on_another_database_is_refused(postgres_store: str) -> None:
    engine = sqlalchemy.create_engine("sqlite://")
    with engine.connect() as link:
        assert "SQLAlchemy on sqlite+pysqlite" in refused(postgres_store, link)
    engine.dispose()
    configure_django(postgres_store)
    assert "one of Django to sqlite" in refused(postgres_store, django.db.connections["lite"])


def test_a_store_in_memory_takes_part_in_no_transaction() -> None:
    with pytest.raises(TransactionError, match="takes part in no transaction"):
        Scheduler("memory://").within(object())


def test_a_repository_that_is_wrapped_takes_part_as_it_does(store: MakeStore) -> None:
    url = store("sqlite")
    with closing(Scheduler(repository=FaultyRepository(SQLiteRepository(file_of(url))))) as scheduler:
        with closing(apsw.Connection(str(file_of(url)))) as db:
            db.execute("BEGIN IMMEDIATE")
            scheduler.within(db).schedule(PARAM)
            db.execute("COMMIT")
        assert scheduler.count() == 1
    with pytest.raises(TransactionError, match="takes part in no transaction"):
        Scheduler(repository=FaultyRepository(MemoryRepository())).within(object())


async def test_an_async_connection_is_refused_by_the_sync_scheduler(postgres_store: str) -> None:
    link = await asyncpg.connect(server_of(postgres_store))
    with pytest.raises(TransactionError, match="use AsyncScheduler"):
        Scheduler(postgres_store).within(link)
    await link.close()


# -- Set in other ways


def is_scheduled(url: str, connection: Any) -> bool:
    """Schedule, let a unique key be refused, and commit: so every kind of answer is read."""
    with scheduling(url) as scheduler:
        transaction = scheduler.within(connection)
        task = transaction.schedule(TaskParam(work_id="remind", scheduled_time=LATER, unique="one"))
        again = transaction.schedule(TaskParam(work_id="remind", scheduled_time=LATER, id=task.id))
        with pytest.raises(ValueError, match=f"taken by the live task {task.id}"):
            transaction.schedule(TaskParam(work_id="remind", scheduled_time=LATER, unique="one"))
        connection.execute("COMMIT") if isinstance(connection, apsw.Connection) else connection.commit()
        return again.id == task.id and scheduler.count() == 1


@pytest.mark.parametrize("cursors", [psycopg.ClientCursor, psycopg.RawCursor])
def test_psycopg_may_make_other_rows_and_cursors(cursors: Any, postgres_store: str) -> None:
    with psycopg.connect(server_of(postgres_store), row_factory=dict_row, cursor_factory=cursors) as link:
        assert is_scheduled(postgres_store, link)


def test_psycopg2_may_make_other_rows(postgres_store: str) -> None:
    cursors = psycopg2.extras.RealDictCursor
    with closing(psycopg2.connect(server_of(postgres_store), cursor_factory=cursors)) as link:
        assert is_scheduled(postgres_store, link)


def test_apsw_may_make_other_rows(store: MakeStore) -> None:
    url = store("sqlite")
    with closing(apsw.Connection(str(file_of(url)))) as db:
        db.row_trace = lambda cursor, row: {"row": row}
        db.execute("BEGIN IMMEDIATE")
        assert is_scheduled(url, db)


def test_sqlite3_may_make_other_rows_and_texts(store: MakeStore) -> None:
    url = store("sqlite+sqlite3")
    with closing(sqlite3.connect(file_of(url))) as db:
        db.row_factory = lambda cursor, row: {"row": row}
        db.text_factory = bytes
        assert is_scheduled(url, db)


async def test_asyncpg_may_have_a_codec_of_its_own_for_json(postgres_store: str) -> None:
    link = await asyncpg.connect(server_of(postgres_store))
    for name in ("json", "jsonb"):
        await link.set_type_codec(name, encoder=json.dumps, decoder=json.loads, schema="pg_catalog")
    scheduler = AsyncScheduler(postgres_store)
    async with link.transaction():
        await scheduler.within(link).schedule(PARAM)
    assert await scheduler.count() == 1
    await scheduler.close()
    await link.close()


def test_a_schema_of_the_users_own_stands_in_nobodys_way(postgres_store: str) -> None:
    """Nor does what is named like kokugen's in it."""
    with psycopg.connect(server_of(postgres_store)) as link:
        link.execute("CREATE TEMPORARY TABLE task (id text)")
        link.execute("CREATE TEMPORARY TABLE meta (key text)")
        link.execute("SET search_path TO pg_temp")
        assert is_scheduled(postgres_store, link)


def test_a_store_behind_a_pooler_takes_part_as_well(postgres_server: PostgresServer, pooler: Pooler) -> None:
    url = emptied_store(pooler.url, admin=postgres_server.url)
    with psycopg.connect(postgres_server.url) as link:
        assert is_scheduled(url, link)


def test_a_connection_is_looked_at_once(postgres_server: PostgresServer) -> None:
    url = with_options(postgres_server.url, schema="once")
    with scheduling(url) as scheduler, psycopg.connect(postgres_server.url) as known:
        scheduler.within(known).schedule(PARAM)
        known.commit()
        query(postgres_server.url, "UPDATE once.meta SET value = 'another' WHERE key = 'cluster_id'")
        scheduler.within(known).schedule(PARAM)
        known.commit()
        with psycopg.connect(postgres_server.url) as new, pytest.raises(TransactionError):
            scheduler.within(new).schedule(PARAM)
        assert scheduler.count() == 2
    query(postgres_server.url, "DROP SCHEMA once CASCADE")
