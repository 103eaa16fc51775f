"""Connections of users' own, as the statements need them: opened elsewhere, and never committed or closed here."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from typing import Any

import apsw

from kokugen.errors import TransactionError
from kokugen.repository.sqlite.library import Values

LEGACY = -1
"""`sqlite3.LEGACY_TRANSACTION_CONTROL`, and how every connection was before Python 3.12."""

OPEN_FIRST = (
    "no transaction is open on this connection, so each statement would be committed by itself: "
    "execute BEGIN IMMEDIATE first, and schedule in it"
)


class BorrowedApsw:
    """A connection of apsw's that does as `Connection` says, whatever it traces or makes of rows."""

    def __init__(self, db: apsw.Connection) -> None:
        self._db = db
        self.close = db.close
        self.changes = db.changes

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def begun(self) -> None:
        """Raise TransactionError where no transaction is open."""
        if not self.in_transaction:
            raise TransactionError(OPEN_FIRST)

    def execute(self, sql: str, values: Values = (), /) -> Iterable[tuple[Any, ...]]:
        cursor = apsw.Cursor(self._db)
        cursor.row_trace = None
        return cursor.execute(sql, values)


class BorrowedStandard:
    """A connection of the standard library's that does as `Connection` says, whatever it makes of rows and text."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.close = db.close

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def begun(self) -> None:
        """Begin a transaction where `sqlite3` itself would before an INSERT. Raises TransactionError elsewhere."""
        if self.in_transaction:
            return
        level = self._db.isolation_level
        if level is None or getattr(self._db, "autocommit", LEGACY) != LEGACY:
            raise TransactionError(OPEN_FIRST)
        self._db.execute(f"BEGIN {level}")

    def execute(self, sql: str, values: Values = (), /) -> Iterable[tuple[Any, ...]]:
        cursor = self._db.cursor(sqlite3.Cursor)
        cursor.row_factory = None
        return (tuple(map(_text, row)) for row in cursor.execute(sql, values))

    def changes(self) -> int:
        ((changed,),) = self.execute("SELECT changes()")
        return int(changed)


def _text(value: Any) -> Any:
    return value.decode() if isinstance(value, bytes) else value
