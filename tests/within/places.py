"""Users' connections of every kind that is taken, each opened in the way its manual says, with a transaction begun.

A `Place` is one such connection: what tests do on it besides kokugen is `execute`, `commit` and `rollback`. A library
that is missing fails the tests.
"""

from __future__ import annotations

import sqlite3
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    asynccontextmanager,
    closing,
    contextmanager,
)
from pathlib import Path
from typing import Any, NamedTuple

import apsw
import asyncpg
import django
import django.conf
import django.db
import django.db.transaction
import psycopg
import psycopg2
import sqlalchemy
from sqlalchemy.ext.asyncio import AsyncSession, async_scoped_session, async_sessionmaker, create_async_engine
from sqlalchemy.orm import Session, scoped_session, sessionmaker
from sqlalchemy.pool import NullPool


class Place(NamedTuple):
    """A sync connection in a transaction."""

    connection: Any
    execute: Callable[[str], object]
    commit: Callable[[], object]
    rollback: Callable[[], object]


class AsyncPlace(NamedTuple):
    """An async connection in a transaction."""

    connection: Any
    execute: Callable[[str], Any]
    commit: Callable[[], Any]
    rollback: Callable[[], Any]


Opens = Callable[[str], AbstractContextManager[Place]]
OpensAsync = Callable[[str], AbstractAsyncContextManager[AsyncPlace]]


def server_of(url: str) -> str:
    """Return the URL of a store's server, without what is kokugen's own in it."""
    return url.partition("&schema=")[0].partition("?schema=")[0]


def file_of(url: str) -> Path:
    """Return the file of a store."""
    return Path(url.partition(":///")[2])


def note_of(url: str) -> str:
    """Return the name of the user's table; on a server it is in the store's schema, which each test empties."""
    return f"{url.partition('schema=')[2]}.note" if url.startswith("postgresql") else "note"


# -- PostgreSQL, sync


@contextmanager
def by_psycopg(url: str) -> Iterator[Place]:
    with psycopg.connect(server_of(url)) as link:
        yield Place(link, link.execute, link.commit, link.rollback)


@contextmanager
def by_psycopg_in_autocommit(url: str) -> Iterator[Place]:
    with psycopg.connect(server_of(url), autocommit=True) as link:
        link.execute("BEGIN")
        yield Place(link, link.execute, link.commit, link.rollback)


@contextmanager
def by_psycopg2(url: str) -> Iterator[Place]:
    with closing(psycopg2.connect(server_of(url))) as link:
        yield Place(link, link.cursor().execute, link.commit, link.rollback)


@contextmanager
def engine_of(url: str, driver: str, **options: Any) -> Iterator[sqlalchemy.Engine]:
    engine = sqlalchemy.create_engine(dialect(url, driver), poolclass=NullPool, **options)
    yield engine
    engine.dispose()


def dialect(url: str, driver: str) -> str:
    return server_of(url).replace("postgresql://", f"postgresql+{driver}://")


@contextmanager
def by_core(url: str, driver: str = "psycopg") -> Iterator[Place]:
    with engine_of(url, driver) as engine, engine.connect() as link:
        yield Place(link, lambda sql: link.execute(sqlalchemy.text(sql)), link.commit, link.rollback)


@contextmanager
def by_core_on_psycopg2(url: str) -> Iterator[Place]:
    with by_core(url, "psycopg2") as place:
        yield place


@contextmanager
def by_session(url: str) -> Iterator[Place]:
    with engine_of(url, "psycopg") as engine, Session(engine) as session:
        yield Place(session, lambda sql: session.execute(sqlalchemy.text(sql)), session.commit, session.rollback)


@contextmanager
def by_scoped_session(url: str) -> Iterator[Place]:
    with engine_of(url, "psycopg") as engine:
        session = scoped_session(sessionmaker(engine))
        yield Place(session, lambda sql: session.execute(sqlalchemy.text(sql)), session.commit, session.rollback)
        session.remove()


def configure_django(url: str) -> None:
    """Point Django, which has settings once a process, at the server of these tests."""
    if not django.conf.settings.configured:
        known = psycopg.conninfo.conninfo_to_dict(server_of(url))
        names = {"dbname": "NAME", "user": "USER", "password": "PASSWORD", "host": "HOST", "port": "PORT"}
        given = {names[key]: str(value) for key, value in known.items() if key in names}
        default = {"ENGINE": "django.db.backends.postgresql", **given}
        lite = {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}
        django.conf.settings.configure(DATABASES={"default": default, "lite": lite}, USE_TZ=True)
        django.setup()


@contextmanager
def by_django(url: str) -> Iterator[Place]:
    configure_django(url)
    atomic = django.db.transaction.atomic()
    atomic.__enter__()
    ended = False

    def end(error: type[Exception] | None) -> None:
        nonlocal ended
        ended = True
        atomic.__exit__(error, error() if error else None, None)

    def execute(sql: str) -> None:
        with django.db.connection.cursor() as cursor:
            cursor.execute(sql)

    yield Place(django.db.connection, execute, lambda: end(None), lambda: end(ValueError))
    if not ended:
        end(ValueError)
    django.db.connection.close()


@contextmanager
def by_django_alias(url: str) -> Iterator[Place]:
    with by_django(url) as place:
        yield place._replace(connection=django.db.connections["default"])


@contextmanager
def by_django_without_autocommit(url: str) -> Iterator[Place]:
    configure_django(url)
    transaction = django.db.transaction
    transaction.set_autocommit(False)

    def execute(sql: str) -> None:
        with django.db.connection.cursor() as cursor:
            cursor.execute(sql)

    yield Place(django.db.connection, execute, transaction.commit, transaction.rollback)
    transaction.rollback()
    transaction.set_autocommit(True)
    django.db.connection.close()


# -- PostgreSQL, async


@asynccontextmanager
async def by_asyncpg(url: str) -> AsyncIterator[AsyncPlace]:
    link = await asyncpg.connect(server_of(url))
    async with _begun(link) as place:
        yield place
    await link.close()


@asynccontextmanager
async def by_asyncpg_pool(url: str) -> AsyncIterator[AsyncPlace]:
    async with (
        asyncpg.create_pool(server_of(url), min_size=1, max_size=1) as pool,
        pool.acquire() as link,
        _begun(link) as place,
    ):
        yield place


@asynccontextmanager
async def _begun(link: Any) -> AsyncIterator[AsyncPlace]:
    transaction = link.transaction()
    await transaction.start()
    yield AsyncPlace(link, link.execute, transaction.commit, transaction.rollback)
    if link.is_in_transaction():
        await transaction.rollback()


@asynccontextmanager
async def by_async_psycopg(url: str) -> AsyncIterator[AsyncPlace]:
    async with await psycopg.AsyncConnection.connect(server_of(url)) as link:
        yield AsyncPlace(link, link.execute, link.commit, link.rollback)


@asynccontextmanager
async def by_async_session(url: str, driver: str = "asyncpg") -> AsyncIterator[AsyncPlace]:
    engine = create_async_engine(dialect(url, driver), poolclass=NullPool)
    async with AsyncSession(engine) as session:
        yield AsyncPlace(session, lambda sql: session.execute(sqlalchemy.text(sql)), session.commit, session.rollback)
    await engine.dispose()


@asynccontextmanager
async def by_async_session_on_psycopg(url: str) -> AsyncIterator[AsyncPlace]:
    async with by_async_session(url, "psycopg") as place:
        yield place


@asynccontextmanager
async def by_async_scoped_session(url: str) -> AsyncIterator[AsyncPlace]:
    engine = create_async_engine(dialect(url, "asyncpg"), poolclass=NullPool)
    session = async_scoped_session(async_sessionmaker(engine), scopefunc=lambda: 1)
    yield AsyncPlace(session, lambda sql: session.execute(sqlalchemy.text(sql)), session.commit, session.rollback)
    await session.remove()
    await engine.dispose()


@asynccontextmanager
async def by_async_core(url: str, driver: str = "asyncpg") -> AsyncIterator[AsyncPlace]:
    engine = create_async_engine(dialect(url, driver), poolclass=NullPool)
    async with engine.connect() as link:
        yield AsyncPlace(link, lambda sql: link.execute(sqlalchemy.text(sql)), link.commit, link.rollback)
    await engine.dispose()


@asynccontextmanager
async def by_async_core_on_psycopg(url: str) -> AsyncIterator[AsyncPlace]:
    async with by_async_core(url, "psycopg") as place:
        yield place


# -- SQLite


@contextmanager
def by_apsw(url: str) -> Iterator[Place]:
    with closing(apsw.Connection(str(file_of(url)))) as db:
        db.set_busy_timeout(10_000)
        db.execute("BEGIN IMMEDIATE")
        yield Place(db, db.execute, lambda: db.execute("COMMIT"), lambda: db.execute("ROLLBACK"))


@contextmanager
def by_sqlite3(url: str) -> Iterator[Place]:
    with closing(sqlite3.connect(file_of(url))) as db:
        yield Place(db, db.execute, db.commit, db.rollback)


@contextmanager
def by_sqlite3_in_autocommit(url: str) -> Iterator[Place]:
    with closing(sqlite3.connect(file_of(url), isolation_level=None)) as db:
        db.execute("BEGIN IMMEDIATE")
        yield Place(db, db.execute, db.commit, db.rollback)


SYNC: dict[str, tuple[Opens, ...]] = {
    "postgresql": (
        by_psycopg,
        by_psycopg_in_autocommit,
        by_psycopg2,
        by_core,
        by_core_on_psycopg2,
        by_session,
        by_scoped_session,
        by_django,
        by_django_alias,
        by_django_without_autocommit,
    ),
    "sqlite": (by_apsw,),
    "sqlite+sqlite3": (by_sqlite3, by_sqlite3_in_autocommit),
}
ASYNC: tuple[OpensAsync, ...] = (
    by_asyncpg,
    by_asyncpg_pool,
    by_async_psycopg,
    by_async_session,
    by_async_session_on_psycopg,
    by_async_scoped_session,
    by_async_core,
    by_async_core_on_psycopg,
)
