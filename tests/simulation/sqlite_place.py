"""A file of SQLite in the simulated world: the real repository of each process, with no thread of its own.

What is queued is committed by the real writer when the world says so; whoever finds the file locked waits in
the world's time. The file is in a directory that lives in memory, where there is one.
"""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import apsw
import msgspec

from kokugen.clock import Clock
from kokugen.reply import resolve_all
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.bell import Bell
from kokugen.repository.sqlite.library import Apsw, Connection
from kokugen.repository.sqlite.writer import LOOK_S, ROWS_MAX, Operation, Writer
from tests.simulation.judge import Judge
from tests.simulation.places import Change, Row
from tests.simulation.world import StoreClock, World

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

IN_MEMORY = Path("/dev/shm")
PATIENCE_S = 10.0
"""How long the writer's busy handler waits."""
COLUMNS = Row.__struct_fields__
WITNESS = """
    CREATE TABLE effect (task_id TEXT NOT NULL) STRICT;
    CREATE TABLE witness (n INTEGER PRIMARY KEY, before TEXT, after TEXT) STRICT;
    CREATE TRIGGER seen_new AFTER INSERT ON task WHEN new.namespace = 'default' BEGIN
      INSERT INTO witness (before, after) VALUES (NULL, {new});
    END;
    CREATE TRIGGER seen_change AFTER UPDATE ON task WHEN old.rev <> new.rev BEGIN
      INSERT INTO witness (before, after) VALUES ({old}, {new});
    END;
    CREATE TRIGGER seen_gone AFTER DELETE ON task WHEN old.namespace = 'default' BEGIN
      INSERT INTO witness (before, after) VALUES ({old}, NULL);
    END;
""".format(**{one: f"json_array({', '.join(f'{one}.{name}' for name in COLUMNS)})" for one in ("old", "new")})


class Impatient(Apsw):
    """Finds a locked file locked at once: the world waits, not the library."""

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        db = super().connect(path, read_only=read_only)
        assert isinstance(db, apsw.Connection)
        db.set_busy_handler(None)
        return db


class NoThread:
    """A thread that never runs: somebody else does its work."""

    def __init__(self, **_: object) -> None:
        pass

    def start(self) -> None:
        pass

    def join(self) -> None:
        pass


class _Queue(SimpleQueue[Any]):
    """Tells of what is put into it."""

    told: Callable[[], object]

    def put(self, item: Any, block: bool = True, timeout: float | None = None) -> None:
        super().put(item)
        self.told()


def telling_queue(told: Callable[[], object]) -> _Queue:
    """Return a queue that tells of what is put into it."""
    queue = _Queue()
    queue.told = told
    return queue


class WorldBell(Bell):
    """Rings in the other processes of the world."""

    def __init__(self, place: SqlitePlace, name: str) -> None:
        super().__init__(place.path, name)
        self._place = place

    def listen(self, heard: Callable[[int], object]) -> None:
        self._place.ears[self._name] = heard

    def ring(self, due_us: int) -> None:
        for name, heard in list(self._place.ears.items()):
            if name != self._name:
                self._place.world.after(0.001, partial(heard, due_us))

    def close(self) -> None:
        self._place.ears.pop(self._name, None)


class InlineSQLite(SQLiteRepository):
    """The repository of one process, whose writer takes its turns from the world."""

    def __init__(self, place: SqlitePlace, name: str) -> None:
        self._place = place
        self._name = name
        self._gone = self._pumping = self._looking = False
        super().__init__(place.path, clock=place.clock, library=Impatient())

    def _new_bell(self) -> Bell:
        return WorldBell(self._place, self._name)

    def _connected(self) -> Writer:
        with patch.multiple(
            "kokugen.repository.sqlite.writer", Thread=NoThread, SimpleQueue=partial(telling_queue, self._soon)
        ):
            return super()._connected()

    def _watch(self, writer: Writer) -> None:
        super()._watch(writer)
        if not self._looking:
            self._looking = True
            self._place.world.after(LOOK_S, partial(self._look, writer))

    def _look(self, writer: Writer) -> None:
        if not self._gone:
            writer._look()
            self._place.world.after(LOOK_S, partial(self._look, writer))

    def _soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            self._place.world.after(self._place.world.random.uniform(0, 0.003), self._pump)

    def _pump(self) -> None:
        """Take what is queued by now, as the writer's thread would."""
        self._pumping = False
        writer = self._writer
        if self._gone or writer is None:
            return
        try:
            batch = writer._queued(writer._queue.get_nowait(), ROWS_MAX)
        except Empty:
            return
        if batch:
            self._pumping = True
            self._carry_out(writer, batch, self._place.world.now_s + PATIENCE_S)

    def _carry_out(self, writer: Writer, batch: list[Operation], until_s: float) -> None:
        """Commit a batch once nobody has the file locked, or tell that somebody has for too long."""
        world = self._place.world
        if self._gone:
            return
        if world.now_s < until_s and _is_locked(writer._db):
            self._place.judge.happened["file locked"] += 1
            world.after(world.random.uniform(0.002, 0.02), partial(self._carry_out, writer, batch, until_s))
            return
        resolve_all(writer._answers(batch))
        writer._hint(batch)
        self._pumping = False
        self._soon()

    def vanish(self) -> None:
        """The process is gone: what it had not committed is undone, and what it had locked is free."""
        self._gone = True
        if (writer := self._writer) is not None:
            self._writer = None
            writer._db.close()
            self._bell.close()
            self._leave(self._readers)


def _is_locked(db: Connection) -> bool:
    try:
        db.execute("BEGIN IMMEDIATE")
    except apsw.BusyError:
        return True
    db.execute("ROLLBACK")
    return False


class SqlitePlace:
    """One file, and the processes that have it open."""

    judge: Judge

    def __init__(self, world: World, clock: StoreClock) -> None:
        self.world = world
        self.clock: Clock = clock
        self.ears: dict[str, Callable[[int], object]] = {}
        self._folder = Path(tempfile.mkdtemp(dir=IN_MEMORY if IN_MEMORY.is_dir() else None))
        self.path = self._folder / "tasks.db"
        self._open: dict[str, InlineSQLite] = {}
        self.enter("founder").open()
        self._eye = apsw.Connection(str(self.path))
        self._eye.execute(WITNESS)
        self._seen = 0

    def enter(self, name: str) -> DurableRepository:
        self._open[name] = repository = InlineSQLite(self, name)
        return repository

    def leave(self, name: str) -> None:
        if (repository := self._open.pop(name, None)) is not None:
            repository.vanish()

    def connect(self) -> apsw.Connection:
        """Return a connection of a user's."""
        return apsw.Connection(str(self.path))

    def transaction(self, machine: Machine) -> UserTransaction:
        return UserTransaction(self, machine)

    def changes(self) -> Iterator[Change]:
        sql = "SELECT n, before, after FROM witness WHERE n > ? ORDER BY n"
        seen: list[Any] = self._eye.execute(sql, (self._seen,)).fetchall()
        for number, before, after in seen:
            self._seen = number
            yield _row(before), _row(after)

    def effects(self) -> list[str]:
        """Return what transactions of users wrote: the task of each effect."""
        return [str(task_id) for (task_id,) in self._eye.execute("SELECT task_id FROM effect").fetchall()]

    def close(self) -> None:
        for name in list(self._open):
            self.leave(name)
        self._eye.close()
        shutil.rmtree(self._folder)


def _row(text: str | None) -> Row | None:
    return (
        None
        if text is None
        else msgspec.convert(dict(zip(COLUMNS, msgspec.json.decode(text), strict=True)), Row, strict=False)
    )


class UserTransaction:
    """A transaction of work's own on the file, on a connection that ends with its process."""

    def __init__(self, place: SqlitePlace, machine: Machine) -> None:
        self.connection = place.connect()
        self._machine = machine
        machine.held.append(self)

    async def begin(self) -> None:
        while _is_locked(self.connection):  # noqa: ASYNC110 - as a busy handler waits
            await asyncio.sleep(0.01)
        self.connection.execute("BEGIN IMMEDIATE")
        self._machine.judge.happened["transaction left open"] += 1

    def write(self, task_id: str) -> None:
        self.connection.execute("INSERT INTO effect VALUES (?)", (task_id,))

    def end(self, *, commit: bool) -> None:
        self.connection.execute("COMMIT" if commit else "ROLLBACK")
        self._machine.wire.look("committed")

    def abandon(self) -> None:
        """Let go of it: what is not committed is undone."""
        self.connection.close()
