"""What a store does in a user's transaction on its file: the writer's statements, on the user's connection.

Only the library that has the file open here can be let in: POSIX locks belong to the process, so that another copy of
SQLite in it would let go of this one's locks, and two writers could damage the file.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from msgspec import Struct

from kokugen.clock import Clock
from kokugen.errors import TransactionError
from kokugen.repository.joining import Kind, kinds, named
from kokugen.repository.rows import Added, AddResult, Finish, Finished, NewTask, may_wait
from kokugen.repository.sqlite import limits, runs
from kokugen.repository.sqlite.borrowed import BorrowedApsw, BorrowedStandard
from kokugen.repository.sqlite.connection import file_identity
from kokugen.repository.sqlite.library import Apsw, Connection, Standard
from kokugen.repository.sqlite.tasks import Scope

SOON_US = 2_000_000
"""Others need no hint of what is due later than this: their own poll finds it in time."""


class Host(Struct, frozen=True, kw_only=True):
    """The store as its guests know it."""

    path: Path
    file: tuple[int, int] | None
    namespace: str
    clock: Clock
    knock: Callable[[int], object]
    """Have those who wait for tasks told of one that is due then, as soon as nobody has the file locked: the writer
    stands in line for that behind the transaction that added it. If it was rolled back, that is a false alarm."""


class Guest:
    """On a connection of the store's own library."""

    is_async = False

    def __init__(self, host: Callable[[], Host], connection: BorrowedApsw | BorrowedStandard) -> None:
        self._host = host
        self._connection = connection

    def add(self, tasks_: Sequence[NewTask]) -> list[Added]:
        host = self._host()
        scope = self._scope(host)
        answers = limits.add(scope, tasks_)
        pairs = zip(tasks_, answers, strict=True)
        due_us = min((task.due_at for task, one in pairs if one.result is AddResult.ADDED), default=None)
        if due_us is not None and due_us < scope.now + SOON_US:
            host.knock(due_us)
        return answers

    def finish(self, row: Finish) -> Finished:
        """Write how a run ends, once: what an earlier transaction wrote of it is no success of this one."""
        host = self._host()
        if not runs.end(self._scope(host), [row]):
            return Finished.FENCED
        if may_wait(row):
            host.knock(0)
        return Finished.APPLIED

    def _scope(self, host: Host) -> Scope:
        connection = self._connection
        connection.begun()
        self._check_file(host, connection)
        return Scope(connection, host.namespace, host.clock.wall_us())

    @staticmethod
    def _check_file(host: Host, connection: Connection) -> None:
        """Refuse another file, and the store's where it is only attached: such a transaction is not one in a crash."""
        attached = {row[1]: row[2] for row in connection.execute("PRAGMA database_list")}
        main = attached.get("main") or ""
        if host.file is None or not main or file_identity(Path(main)) != host.file:
            raise TransactionError(
                f"this connection is to {main or 'a database in memory'}, which is not the store {host.path}: one "
                "transaction cannot safely write in both, also where one is attached; open the store's own file"
            )


GUESTS: Mapping[Kind, tuple[str, Callable[[Any], BorrowedApsw | BorrowedStandard]]] = {
    ("apsw", "Connection"): (Apsw.scheme, BorrowedApsw),
    ("sqlite3", "Connection"): (Standard.scheme, BorrowedStandard),
}


def guest_of(connection: object, scheme: str, host: Callable[[], Host]) -> Guest:
    """Return what a store of this scheme does on a connection. Raises TransactionError for one it cannot write in."""
    for kind in kinds(connection):
        if kind in GUESTS:
            library, make = GUESTS[kind]
            if library != scheme:
                raise _other_library(kind[0], scheme)
            return Guest(host, make(connection))
    raise TransactionError(
        f"{named(connection)} is no connection that a {scheme}:// store can be written in: give one of "
        f"{'apsw' if scheme == Apsw.scheme else 'sqlite3'}, to the store's file"
    )


def _other_library(library: str, scheme: str) -> TransactionError:
    other = Standard.scheme if scheme == Apsw.scheme else Apsw.scheme
    return TransactionError(
        f"this connection is of {library}, and the {scheme}:// store has its file open with another SQLite: two "
        "copies in one process release each other's locks, which can damage the file; open the store as "
        f"{other}:///…, or connect with {'apsw' if scheme == Apsw.scheme else 'sqlite3'}"
    )
