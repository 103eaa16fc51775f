"""The one writer of a process: a thread that takes all that is queued and commits it as one transaction.

While a commit is under way the next batch gathers: many concurrent calls become one statement, and an idle store
answers at once. What is queued while a batch is carried out joins its transaction: so a task that is due at once is
added and claimed by one commit. An operation that fails, whatever it raises, is undone alone; the rest of its batch
is not touched.
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from itertools import groupby
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Thread
from typing import Any

from msgspec import Struct

from kokugen.clock import Clock
from kokugen.errors import KokugenError, RepositoryUnavailableError
from kokugen.reply import Reply, resolve_all
from kokugen.repository.sqlite.connection import explain, one
from kokugen.repository.sqlite.library import FAULTS, REFUSALS, Connection, Library
from kokugen.repository.sqlite.line import Line
from kokugen.repository.sqlite.tasks import Scope

logger = logging.getLogger("kokugen")

ROWS_MAX = 5000
LOOK_S = 0.5


class Operation(Struct, eq=False):
    """One call. `rows` of neighbours with the same `run` are put together, and the answers dealt out again.

    An `urgent` one goes before all that is queued: a beat must not wait for the rows of a whole import. `due_us` is
    when tasks are due that it makes wait (0: unknown); None where it makes none.
    """

    reply: Reply[Any]
    run: Callable[..., Any]
    rows: list[Any] | None = None
    arguments: tuple[Any, ...] = ()
    urgent: bool = False
    due_us: int | None = None


class Writer:
    """Owns the writing connection. `submit` may be called from any thread.

    After a commit it calls `waits(due_us)` where tasks wait now, and `changed()` when another process has committed.
    """

    def __init__(
        self,
        library: Library,
        path: Path,
        namespace: str,
        clock: Clock,
        *,
        waits: Callable[[int], object],
        changed: Callable[[], object],
    ) -> None:
        self._path = path
        self._namespace = namespace
        self._clock = clock
        self._waits = waits
        self._changed = changed
        self._queue: SimpleQueue[Operation | None] = SimpleQueue()
        self._urgent: deque[Operation] = deque()
        self._line = Line(library, path)
        with self._line as self._db:
            self._seen = self._version()
        self._closed = self._ended = self._last = False
        self.watching = False
        self._thread = Thread(target=self._work, name="kokugen-sqlite", daemon=True)
        self._thread.start()

    def submit(self, operation: Operation) -> None:
        """Queue an operation; its reply is answered once it is durable."""
        if self._closed:
            operation.reply.fail(self._was_closed())
            return
        if operation.urgent:
            self._urgent.append(operation)
        self._queue.put(operation)
        if self._ended:
            self._refuse_rest()

    def close(self) -> None:
        """Write what was accepted, then close the connection."""
        self._closed = True
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while not self._last:
            batch = self._gather()
            if batch:
                resolve_all(self._committed(batch))
                self._hint(batch)
        self._line.close()
        self._ended = True
        self._refuse_rest()

    def _gather(self) -> list[Operation]:
        """Wait for an operation and return all that are queued, up to a bound."""
        try:
            first = self._queue.get(timeout=LOOK_S if self.watching else None)
        except Empty:
            with suppress(KokugenError, *FAULTS), self._line as self._db:
                self._look()
            return []
        return self._queued(first, ROWS_MAX)

    def _queued(self, operation: Operation | None, room: int) -> list[Operation]:
        """Return this operation and those that are queued behind it, about as many as there is room for."""
        batch = self._hurried()
        with suppress(Empty):
            while operation is not None:
                if operation.urgent:
                    batch += self._hurried()  # it is among these, or was in an earlier batch
                else:
                    batch.append(operation)
                    room -= _size(operation)
                if room <= 0:
                    return batch
                operation = self._queue.get_nowait()
            self._last = True
        return batch

    def _late(self, batch: list[Operation]) -> list[Operation]:
        """Return what was queued meanwhile, if there is room for it beside this batch."""
        room = ROWS_MAX - sum(map(_size, batch))
        if room <= 0 or self._last:
            return []
        try:
            return self._queued(self._queue.get_nowait(), room)
        except Empty:
            return []

    def _hint(self, batch: list[Operation]) -> None:
        hinted = [one.due_us for one in batch if one.due_us is not None]
        times = [due_us for due_us in hinted if due_us >= 0]
        for due_us in {due_us for due_us in hinted if due_us < 0}:  # these are no times: each says something else
            self._tell(self._waits, due_us)
        if times:
            self._tell(self._waits, min(times))

    def _tell(self, listener: Callable[..., object], *heard: int) -> None:
        try:
            listener(*heard)
        except Exception:
            logger.exception("a listener of the store %s raised; a poll finds what it was told", self._path)

    def _hurried(self) -> list[Operation]:
        """Take out the urgent operations; each is in the queue too, which wakes the thread."""
        return [self._urgent.popleft() for _ in range(len(self._urgent))]

    def _refuse_rest(self) -> None:
        """Answer what was queued while the writer closed. The thread and late callers may do so at once."""
        self._urgent.clear()
        with suppress(Empty):
            while True:
                operation = self._queue.get_nowait()
                if operation is not None and not operation.reply.done():  # an urgent one may have been carried out
                    operation.reply.fail(self._was_closed())

    def _was_closed(self) -> RepositoryUnavailableError:
        return RepositoryUnavailableError(f"the store {self._path} was closed: open it again")

    def _look(self) -> None:
        """Notice that another process has committed."""
        seen = self._version()
        if seen != self._seen:
            self._seen = seen
            self._tell(self._changed)

    def _version(self) -> tuple[Connection, int]:
        """Return what changes as others commit, or as the file is opened again."""
        return self._db, one(self._db, "PRAGMA data_version")

    def _committed(self, batch: list[Operation]) -> list[tuple[Reply[Any], Any]]:
        """Return the answers to operations, once they are committed or refused."""
        try:
            with self._line as self._db:
                return self._answers(batch)
        except Exception as error:  # noqa: BLE001 - it cannot be used, and whatever it is, it is the answer
            return self._refused(batch, error)

    def _answers(self, batch: list[Operation], *, shared: bool = True) -> list[tuple[Reply[Any], Any]]:
        """Commit operations, and those that join them while they are carried out, and return their answers.

        Where that fails, each is committed alone, so that one spoils no other.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
        except Exception as error:  # noqa: BLE001 - it keeps all of them waiting: one by one, each would wait for it
            return self._refused(batch, error)
        try:
            answers = self._run(batch)
            while shared and (late := self._late(batch)):
                batch += late
                answers += self._run(late)
            self._db.execute("COMMIT")
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer, and the thread goes on
            self._undo()
            if len(batch) == 1:
                return [(batch[0].reply, self._told(error))]
            return [answer for operation in batch for answer in self._answers([operation], shared=False)]
        return answers

    def _run(self, batch: list[Operation]) -> list[tuple[Reply[Any], Any]]:
        scope = Scope(self._db, self._namespace, self._clock.wall_us())
        answers: list[tuple[Reply[Any], Any]] = []
        for _, neighbours in groupby(batch, key=_merge_key):
            group = list(neighbours)
            answers += _merged(scope, group) if group[0].rows is not None else _single(scope, group[0])
        return answers

    def _undo(self) -> None:
        with suppress(*FAULTS):
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def _refused(self, batch: list[Operation], error: Exception) -> list[tuple[Reply[Any], Any]]:
        return [(operation.reply, self._told(error)) for operation in batch]

    def _told(self, error: Exception) -> Exception:
        return explain(error, self._path) if isinstance(error, REFUSALS) else error


def _size(operation: Operation) -> int:
    return len(operation.rows) if operation.rows else 1


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
