"""The repository in one SQLite file, shared by any number of processes of one machine.

`library` has the two libraries that can open it; `connection` opens and migrates it, and a `line` keeps it closed while
the process forks. `writer` commits batches, `bell` wakes other processes; `tasks`, `runs`, `changes` and `operations`
hold the writer's statements, `reading` the queries, which a `reader` carries out.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from msgspec import Struct

from kokugen.clock import Clock, SystemClock
from kokugen.errors import KokugenError
from kokugen.ids import IdSource, system_random
from kokugen.reply import Reply
from kokugen.repository.ends import Ends
from kokugen.repository.joining import Joined
from kokugen.repository.protocol import AWAITED, ENDED, STOP_ASKED
from kokugen.repository.rows import (
    Added,
    Beaten,
    CancelAnswer,
    CancelRequest,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Observed,
    Recovered,
    Report,
    Retention,
    Revision,
    StoreHealth,
    may_wait,
)
from kokugen.repository.schedule_rows import (
    AuditRow,
    Changed,
    Ledger,
    LedgerQuery,
    ScheduleChange,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.repository.seed_methods import SeedMethods
from kokugen.repository.sqlite import changes, decisions, operations, reading, runs, schedules, tasks
from kokugen.repository.sqlite.bell import Bell
from kokugen.repository.sqlite.connection import explain, file_identity, newest_version, open_store, stored_version
from kokugen.repository.sqlite.guest import SOON_US, Host, guest_of
from kokugen.repository.sqlite.library import FAULTS, Apsw, Library, Occupancy
from kokugen.repository.sqlite.line import Line
from kokugen.repository.sqlite.reader import Reader
from kokugen.repository.sqlite.tasks import Scope
from kokugen.repository.sqlite.writer import Operation, Writer
from kokugen.repository.versions import Schema
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery, TaskState

T = TypeVar("T")

_occupancy = Occupancy()
_abandoned: list[Bell] = []
"""What a parent process listens with: a forked child leaves it as it is."""


def _wake(scope: Scope) -> None:
    """Do nothing: the writer looks at its queue, and from then on at other processes' commits."""


def _nodes(scope: Scope) -> list[NodeInfo]:
    return reading.nodes(scope.db)


class Readers(Struct, frozen=True):
    """Two connections that read, so that a look at a few tasks, which the engine takes too, waits behind no list."""

    lists: Reader
    looks: Reader


class SQLiteRepository(SeedMethods):
    """Tasks of one namespace in one file. Any thread may call it; it is opened at first use, also after `close`.

    `library` opens the file: apsw, unless told (`kokugen.repository.sqlite.library`).
    """

    def __init__(
        self,
        path: str | os.PathLike[str],
        *,
        namespace: str = "default",
        clock: Clock | None = None,
        library: Library | None = None,
    ) -> None:
        self._path = Path(path).absolute()
        self._library = library or Apsw()
        self._namespace = namespace
        self._clock = clock or SystemClock()
        self._ids = IdSource(self._clock, system_random())
        self._hints: list[Callable[[int], object]] = []
        self._reset()

    def _reset(self) -> None:
        self._lock = Lock()
        self._pid = os.getpid()
        self._writer: Writer | None = None
        self._readers = self._new_readers()
        self._file: tuple[int, int] | None = None
        self._bell = self._new_bell()
        self._ends = Ends(self._clock)

    def _new_bell(self) -> Bell:
        return Bell(self._path, f"{self._pid}-{self._ids.nonce()[:16]}")

    @property
    def url(self) -> str:
        return f"{self._library.scheme}:///{self._path}"

    @property
    def namespace(self) -> str:
        return self._namespace

    # -- The file

    def schema(self) -> Schema:
        return Schema(stored_version(self._library, self._path), newest_version())

    def open(self) -> None:
        self._opened()

    def _opened(self) -> Writer:
        if self._pid != os.getpid():
            _abandoned.append(self._bell)
            self._hints.clear()
            self._reset()
        writer = self._writer
        if writer is None:
            with self._lock:
                writer = self._writer = self._writer or self._connect()
        return writer

    def _connect(self) -> Writer:
        _occupancy.enter(self._path, self._library.scheme)
        try:
            writer = self._connected()
        except BaseException:
            self._leave(self._readers)
            raise
        if self._hints:
            self._watch(writer)
        return writer

    def _connected(self) -> Writer:
        try:
            make = partial(open_store, cluster_id=self._ids.task_id())
            self._readers.lists.open(Line(self._library, self._path, make))
            self._readers.looks.open(Line(self._library, self._path))
            self._file = file_identity(self._path)
            where = (self._library, self._path, self._namespace, self._clock)
            return Writer(*where, waits=partial(self._on_wait, self._bell), changed=self._on_change)
        except FAULTS as error:
            raise explain(error, self._path) from error

    def _new_readers(self) -> Readers:
        return Readers(lists=Reader(self._path), looks=Reader(self._path))

    def _leave(self, readers: Readers) -> None:
        for reader in (readers.lists, readers.looks):
            reader.close()
        _occupancy.leave(self._path, self._library.scheme)

    def _watch(self, writer: Writer) -> None:
        """Hear of other processes' commits: by the bell at once, else when the writer looks."""
        self._bell.listen(self._hear)
        writer.watching = True
        writer.submit(Operation(reply=Reply(), run=_wake))

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            writer, self._writer = self._writer, None
            readers, self._readers = self._readers, self._new_readers()
            bell, self._bell = self._bell, self._new_bell()
        if writer is not None:  # without the lock: the writer's last answers may lead to calls that open it again
            writer.close()
            bell.close()
            self._leave(readers)

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        writer = self._opened()
        self._hints.append(hint)
        self._watch(writer)

        def leave() -> None:
            if hint in self._hints:
                self._hints.remove(hint)
                writer.watching = bool(self._hints)

        return leave

    def ask_for_ends(self) -> None:
        self._opened().submit(Operation(reply=Reply(), run=_wake, due_us=AWAITED))

    def _hear(self, due_us: int) -> None:
        if not self._ends.heard(due_us):
            self._hint(due_us)

    def _on_wait(self, bell: Bell, due_us: int) -> None:
        if due_us - self._clock.wall_us() < SOON_US:
            bell.ring(due_us)  # of the writer's own thread: another one may have come with another bell meanwhile

    def _on_change(self) -> None:
        self._hint(0)

    def _hint(self, due_us: int) -> None:
        if self._writer is None:  # it is being closed, and nobody is to open it again for a hint
            return
        for hint in tuple(self._hints):
            hint(due_us)

    # -- Asking

    def _submit(self, run: Callable[..., T], *arguments: Any, rows: list[Any] | None = None, **about: Any) -> Reply[T]:
        reply: Reply[T] = Reply()
        try:
            operation = Operation(reply=reply, run=run, rows=rows, arguments=arguments, **about)
            self._opened().submit(operation)
        except KokugenError as error:
            return Reply.failed(error)
        if operation.due_us is not None:  # a claim that this makes is queued behind it, and joins its transaction
            self._hint(operation.due_us)
        return reply

    def _telling(self, reply: Reply[T]) -> Reply[T]:
        """Tell those who listen here, once it is answered, that tasks may have ended."""
        if self._hints:
            reply.when_done(lambda: self._hint(ENDED))
        return reply

    def _read(self, query: Callable[..., T], *arguments: Any, briefly: bool = False) -> Reply[T]:
        try:
            self._opened()
        except KokugenError as error:
            return Reply.failed(error)
        readers = self._readers
        return (readers.looks if briefly else readers.lists).read(query, *arguments)

    # -- The life of a task

    def add(self, tasks_: Sequence[NewTask]) -> Reply[list[Added]]:
        if not tasks_:
            return Reply.of([])
        return self._submit(tasks.add, rows=list(tasks_), due_us=min(task.due_at for task in tasks_))

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        return self._submit(tasks.claim, request)

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        if not rows:
            return Reply.of([])
        due_us = min((row.due_at or 0 for row in rows if may_wait(row)), default=None)
        if due_us is None and self._ends.awaited:
            due_us = ENDED
        return self._telling(self._submit(runs.finish, rows=list(rows), due_us=due_us))

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        return self._submit(runs.beat, leases, ttl_s, urgent=True) if leases else Reply.of([])

    def report(self, rows: Sequence[Report]) -> Reply[None]:
        return self._submit(runs.report, rows) if rows else Reply.of(None)

    def watch(self, node_id: str) -> Reply[list[Observed]]:
        return self._submit(runs.watch, node_id)

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        return self._submit(runs.recover, observed, due_us=0) if observed else Reply.of([])

    def held(self, node_id: str, claim: str) -> Reply[ClaimAnswer]:
        return self._submit(tasks.held, node_id, claim)

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        return self._telling(self._submit(changes.cancel, request, due_us=STOP_ASKED))

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        return self._submit(changes.revise, task_id, revision, due_us=revision.due_at or 0)

    def within(self, connection: object) -> Joined:
        return guest_of(connection, self._library.scheme, self._host)

    def _host(self) -> Host:
        self._opened()
        return Host(path=self._path, file=self._file, namespace=self._namespace, clock=self._clock, knock=self._knock)

    def _knock(self, due_us: int) -> None:
        """Hint here and elsewhere of what this repository did not write itself, or learnt of after it did."""
        writer = self._writer
        if writer is None:  # it is being closed
            return
        passed: Reply[None] = Reply()
        passed.when_done(lambda: self._hint(due_us))
        writer.submit(Operation(reply=passed, run=_wake, due_us=due_us))

    # -- Reading

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        return self._read(reading.get, self._namespace, task_ids, briefly=True)

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        return self._read(reading.over, self._namespace, task_ids, briefly=True)

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        return self._read(reading.page, self._namespace, query)

    def count(self, query: TaskQuery) -> Reply[int]:
        return self._read(reading.count, self._namespace, query)

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        return self._read(reading.attempts, self._namespace, task_id)

    def health(self) -> Reply[StoreHealth]:
        return self._read(reading.health, self._namespace, self.url, self._clock.wall_us())

    def nodes(self) -> Reply[list[NodeInfo]]:
        return self._submit(_nodes)  # not as a reading: the engine asks, and must not wait behind a long one

    def _modified_since(self, since_us: int, limit: int) -> Reply[list[TaskInfo]]:
        return self._read(reading.modified_since, self._namespace, since_us, limit)

    # -- Operating

    def revive(self, task_ids: Sequence[str], *, due_at: int | None = None, by: str | None = None) -> Reply[list[str]]:
        return self._submit(operations.revive, task_ids, due_at, by, due_us=due_at or 0)

    def prune(self, retention: Retention) -> Reply[int]:
        return self._submit(operations.prune, retention)

    def register(self, node: NodeInfo) -> Reply[None]:
        return self._submit(operations.register, node)

    def retire(self, node_id: str) -> Reply[None]:
        return self._submit(operations.retire, node_id, due_us=0)

    # -- Schedules

    def change_schedules(self, changes_: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        if not changes_:
            return Reply.of([])
        due = [task.due_at for change in changes_ for task in change.tasks]
        due_us = 0 if any(change.drop_from is not None for change in changes_) else min(due, default=None)
        return self._submit(decisions.change, rows=list(changes_), due_us=due_us)

    def settle_overlaps(self, until_us: int, limit: int) -> Reply[int]:
        return self._submit(schedules.settle_overlaps, until_us, limit).then(self._tell_of_stops)

    def _tell_of_stops(self, changed: int) -> int:
        """Tell here and elsewhere that runs may have been asked to stop for the next occurrence."""
        if changed:
            self._knock(STOP_ASKED)
        return changed

    def forget_occurrences(self, before_us: int, limit: int) -> Reply[int]:
        return self._submit(schedules.forget, before_us, limit)

    def schedules(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        return self._read(schedules.page, self._namespace, query)

    def due_schedules(self, until_us: int, limit: int) -> Reply[list[ScheduleRow]]:
        return self._submit(schedules.due, until_us, limit)  # not as a reading, as in `nodes`

    def ledger(self, query: LedgerQuery) -> Reply[Ledger]:
        return self._read(schedules.ledger, self._namespace, query)

    def schedule_audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        return self._read(schedules.audit, self._namespace, name, limit)

    def _transition(
        self, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None
    ) -> Reply[TaskState]:
        due_us = 0 if new == TaskState.INITIALIZED else None
        return self._submit(operations.transition, task_id, old, new, reason, self._ids.nonce(), due_us=due_us)
