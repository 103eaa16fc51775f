"""How the libraries of users ask PostgreSQL: psycopg, psycopg2, asyncpg, SQLAlchemy on one of these, and Django.

Each class is one kind of connection. `ready` looks whether a transaction is open there, and returns the driver's own
connection beneath it; `row` runs one statement and returns the first row of its answer.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any, Protocol

from kokugen.errors import TransactionError
from kokugen.repository.joining import Kind, kinds, named
from kokugen.repository.postgres.statement import Statement

IDLE, FAILED, CLOSED = 0, 3, 4
NUMBERED = re.compile(r"\$([0-9]+)")
TAKEN = "psycopg, psycopg2, asyncpg, SQLAlchemy (on one of these) or Django"
OPEN_FIRST = (
    "no transaction is open on this connection, so each statement would be committed by itself: "
    "begin one ({how}), and schedule in it"
)
FAILED_FIRST = "the transaction on this connection has failed: roll it back, then begin again"


class Link(Protocol):
    """A sync connection."""

    def ready(self) -> object:
        """Return the driver's connection. Raises TransactionError where no transaction is open there."""
        ...

    def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        """Run a statement; return the first row, or None."""
        ...


class AsyncLink(Protocol):
    """An async connection."""

    async def ready(self) -> object:
        """Return the driver's connection. Raises TransactionError where no transaction is open there."""
        ...

    async def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        """Run a statement; return the first row, or None."""
        ...


@lru_cache(maxsize=256)
def pyformat(statement: Statement) -> str:
    """Return a statement with its parameters as DB-API drivers name them: %(name)s."""
    return NUMBERED.sub(lambda n: f"%({statement.names[int(n[1]) - 1]})s", statement.sql.replace("%", "%%"))


def _check_psycopg(connection: Any) -> object:
    """Return a connection of psycopg or psycopg2 where a transaction is open, or begins by itself."""
    status = connection.info.transaction_status
    if status == FAILED:
        raise TransactionError(FAILED_FIRST)
    if status == IDLE and connection.autocommit:
        raise TransactionError(OPEN_FIRST.format(how="with connection.transaction(): …"))
    return connection


class Psycopg:
    """psycopg's `Connection`. A plain cursor, whatever the connection makes: rows are tuples, parameters are named."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ready(self) -> object:
        return _check_psycopg(self._connection)

    def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        psycopg = sys.modules["psycopg"]
        with psycopg.Cursor(self._connection, row_factory=sys.modules["psycopg.rows"].tuple_row) as cursor:
            return cursor.execute(pyformat(statement), values).fetchone()


class AsyncPsycopg:
    """psycopg's `AsyncConnection`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ready(self) -> object:
        return _check_psycopg(self._connection)

    async def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        psycopg = sys.modules["psycopg"]
        rows = sys.modules["psycopg.rows"].tuple_row
        async with psycopg.AsyncCursor(self._connection, row_factory=rows) as cursor:
            await cursor.execute(pyformat(statement), values)
            return await cursor.fetchone()


class Psycopg2:
    """psycopg2's `connection`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ready(self) -> object:
        if self._connection.closed:
            raise TransactionError("this connection is closed: give one that is open")
        return _check_psycopg(self._connection)

    def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        plain = sys.modules["psycopg2.extensions"].cursor
        with self._connection.cursor(cursor_factory=plain) as cursor:
            cursor.execute(pyformat(statement), values)
            return cursor.fetchone()


class Asyncpg:
    """asyncpg's `Connection`, or one that a pool lent."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    async def ready(self) -> object:
        if not self._connection.is_in_transaction():
            raise TransactionError(OPEN_FIRST.format(how="async with connection.transaction(): …"))
        return getattr(self._connection, "_con", None) or self._connection

    async def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        return await self._connection.fetchrow(statement.sql, *statement.values(values))


class Sqlalchemy:
    """SQLAlchemy's `Connection` or `Session`. It begins a transaction by itself."""

    def __init__(self, connection: Any) -> None:
        self._given = connection

    @property
    def _connection(self) -> Any:
        return self._given if _is_connection(self._given) else self._given.connection()

    def ready(self) -> object:
        return _check_sqlalchemy(self._connection)

    def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        connection = self._connection
        return connection.exec_driver_sql(*_bound(connection.dialect.driver, statement, values)).first()


class AsyncSqlalchemy:
    """SQLAlchemy's `AsyncConnection` or `AsyncSession`."""

    def __init__(self, connection: Any) -> None:
        self._given = connection

    async def _connection(self) -> Any:
        return self._given if _is_connection(self._given) else await self._given.connection()

    async def ready(self) -> object:
        return _check_sqlalchemy((await self._connection()).sync_connection)

    async def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        connection = await self._connection()
        return (await connection.exec_driver_sql(*_bound(connection.dialect.driver, statement, values))).first()


def _is_connection(given: object) -> bool:
    return any(name in {"Connection", "AsyncConnection"} for _, name in kinds(given))


def _bound(driver: str, statement: Statement, values: Mapping[str, Any]) -> tuple[str, Any]:
    """Return a statement and its parameters as the driver beneath SQLAlchemy takes them."""
    if driver == "asyncpg":
        return statement.sql, tuple(statement.values(values))
    return pyformat(statement), {name: values[name] for name in statement.names}


def _check_sqlalchemy(connection: Any) -> object:
    dialect = connection.dialect
    if dialect.name != "postgresql" or dialect.driver not in {"psycopg", "psycopg_async", "psycopg2", "asyncpg"}:
        raise TransactionError(
            f"this connection is one of SQLAlchemy on {dialect.name}+{dialect.driver}: "
            "for a postgresql:// store use postgresql+psycopg, +psycopg2 or +asyncpg"
        )
    lent = connection.connection
    if dialect.driver != "asyncpg":
        return _check_psycopg(lent.driver_connection)
    if lent.dbapi_connection.autocommit:
        raise TransactionError(OPEN_FIRST.format(how="without isolation_level='AUTOCOMMIT'"))
    driver: object = lent.driver_connection
    return driver


class Django:
    """Django's `connection`."""

    def __init__(self, connection: Any) -> None:
        self._connection = connection

    def ready(self) -> object:
        connection = self._connection
        if connection.vendor != "postgresql":
            raise TransactionError(
                f"this connection is one of Django to {connection.vendor}: for a postgresql:// store name the alias "
                "of its database, django.db.connections['…']"
            )
        if not connection.in_atomic_block and connection.get_autocommit():
            raise TransactionError(OPEN_FIRST.format(how="with transaction.atomic(): …"))
        connection.ensure_connection()
        driver: object = connection.connection
        return driver

    def row(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        with self._connection.cursor() as cursor:
            cursor.execute(pyformat(statement), {name: values[name] for name in statement.names})
            return cursor.fetchone()


SyncKind = Psycopg | Psycopg2 | Sqlalchemy | Django
AsyncKind = AsyncPsycopg | Asyncpg | AsyncSqlalchemy
ASYNC_LINKS = (AsyncPsycopg, Asyncpg, AsyncSqlalchemy)
LINKS: Mapping[Kind, Callable[[Any], SyncKind | AsyncKind]] = {
    ("psycopg", "Connection"): Psycopg,
    ("psycopg", "AsyncConnection"): AsyncPsycopg,
    ("psycopg2", "connection"): Psycopg2,
    ("asyncpg", "Connection"): Asyncpg,
    ("asyncpg", "PoolConnectionProxy"): Asyncpg,
    ("sqlalchemy", "Connection"): Sqlalchemy,
    ("sqlalchemy", "Session"): Sqlalchemy,
    ("sqlalchemy", "scoped_session"): Sqlalchemy,
    ("sqlalchemy", "AsyncConnection"): AsyncSqlalchemy,
    ("sqlalchemy", "AsyncSession"): AsyncSqlalchemy,
    ("sqlalchemy", "async_scoped_session"): AsyncSqlalchemy,
    ("django", "ConnectionProxy"): Django,
    ("django", "BaseDatabaseWrapper"): Django,
}


def link_of(connection: object, url: str) -> SyncKind | AsyncKind:
    """Return the link that asks on a connection. Raises TransactionError for one of an unknown kind."""
    for kind in kinds(connection):
        if kind in LINKS:
            return LINKS[kind](connection)
    raise TransactionError(
        f"{named(connection)} is no connection that the store {url} can be written in: give one of {TAKEN}"
    )
