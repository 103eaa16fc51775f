"""The one writer of a process: a thread that takes all that is queued and commits it as one transaction.

While a commit is under way the next batch gathers: many concurrent calls become one statement, and an idle store
answers at once. An operation that fails is undone alone; the rest of its batch is not touched.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

import apsw
from msgspec import Struct

from kokugen.clock import Clock
from kokugen.errors import KokugenError, RepositoryUnavailableError
from kokugen.reply import Reply, resolve_all
from kokugen.repository.sqlite.connection import connect, explain, one
from kokugen.repository.sqlite.tasks import Scope

ROWS_MAX = 5000
LOOK_S = 0.25


class Operation(Struct, eq=False):
    """One call. `rows` of neighbours with the same `run` are put together, and the answers dealt out again."""

    reply: Reply[Any]
    run: Callable[..., Any]
    rows: list[Any] | None = None
    arguments: tuple[Any, ...] = ()


class Writer:
    """Owns the writing connection. `submit` may be called from any thread."""

    def __init__(self, path: Path, namespace: str, clock: Clock, changed: Callable[[], object]) -> None:
        self._path = path
        self._namespace = namespace
        self._clock = clock
        self._changed = changed
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._db = connect(path)
        self._version = one(self._db, "PRAGMA data_version")
        self._closed = False
        self.watching = False
        self._thread = Thread(target=self._work, name="kokugen-sqlite", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Queue an operation; its reply is answered once it is durable."""
        if self._closed:
            operation.reply.fail(RepositoryUnavailableError(f"the store {self._path} was closed: open it again"))
            return
        self._queue.put(operation)

    def close(self) -> None:
        """Write what was accepted, then close the connection."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while True:
            batch, last = self._gather()
            if batch:
                self._commit(batch)
            if last:
                self._db.close()
                return

    def _gather(self) -> tuple[list[Operation], bool]:
        """Wait for an operation and return all that are queued, up to a bound; whether it is the end, too."""
        batch: list[Operation] = []
        size = 0
        try:
            operation = self._queue.get(timeout=LOOK_S if self.watching else None)
            while operation is not None:
                batch.append(operation)
                size += len(operation.rows or ())
                if size >= ROWS_MAX:
                    return batch, False
                operation = self._queue.get_nowait()
        except Empty:
            if not batch:
                self._look()
            return batch, False
        return batch, True

    def _look(self) -> None:
        """Notice that another process has committed."""
        try:
            version = one(self._db, "PRAGMA data_version")
        except apsw.Error:
            return
        if version != self._version:
            self._version = version
            self._changed()

    def _commit(self, batch: list[Operation]) -> None:
        try:
            answers = self._transaction(batch)
        except (KokugenError, apsw.Error):
            answers = [answer for operation in batch for answer in self._alone(operation)]
        resolve_all(answers)

    def _alone(self, operation: Operation) -> list[tuple[Reply[Any], Any]]:
        try:
            return self._transaction([operation])
        except apsw.Error as error:
            return [(operation.reply, explain(error, self._path))]
        except KokugenError as error:
            return [(operation.reply, error)]

    def _transaction(self, batch: list[Operation]) -> list[tuple[Reply[Any], Any]]:
        answers: list[tuple[Reply[Any], Any]] = []
        self._db.execute("BEGIN IMMEDIATE")
        try:
            scope = Scope(self._db, self._namespace, self._clock.wall_us())
            for _, neighbours in groupby(batch, key=_merge_key):
                group = list(neighbours)
                answers += _merged(scope, group) if group[0].rows is not None else _single(scope, group[0])
            self._db.execute("COMMIT")
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        return answers


def _merge_key(operation: Operation) -> object:
    """Return a number that neighbours to be merged share; others stand alone."""
    return id(operation.run) if operation.rows is not None else operation


def _single(scope: Scope, operation: Operation) -> list[tuple[Reply[Any], Any]]:
    return [(operation.reply, operation.run(scope, *operation.arguments))]


def _merged(scope: Scope, group: list[Operation]) -> list[tuple[Reply[Any], Any]]:
    answers = group[0].run(scope, [row for operation in group for row in operation.rows or ()])
    dealt, start = [], 0
    for operation in group:
        end = start + len(operation.rows or ())
        dealt.append((operation.reply, answers[start:end]))
        start = end
    return dealt
