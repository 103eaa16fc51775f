"""What a crew stands on: a store, the faulty way to it and the straight one, and the witness in it.

The witness is two triggers in the store itself, which write down every change of state that is ever committed, whoever
makes it. It is read, and the history of attempts with it, by statements of our own.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

import apsw
from msgspec import Struct

from kokugen.clock import from_us
from kokugen.task import Attempt
from tests.servers.stores import query, store_url, with_options

TIMEOUT_S = 2.0
"""Within this each call of a PostgreSQL store is to be answered."""

SQLITE_WITNESS = """
    CREATE TABLE witness (
      n INTEGER PRIMARY KEY, id TEXT, old INTEGER, new INTEGER, claim TEXT, old_fence INTEGER, new_fence INTEGER
    ) STRICT;
    CREATE TRIGGER witness_change AFTER UPDATE ON task WHEN old.state <> new.state OR old.fence <> new.fence BEGIN
      INSERT INTO witness (id, old, new, claim, old_fence, new_fence)
      VALUES (new.id, old.state, new.state, new.claim, old.fence, new.fence);
    END;
    CREATE TRIGGER witness_removal AFTER DELETE ON task BEGIN
      INSERT INTO witness (id, old, new, claim, old_fence, new_fence)
      VALUES (old.id, old.state, -1, NULL, old.fence, old.fence);
    END;
"""
POSTGRES_WITNESS = (
    """CREATE TABLE {schema}.witness (
      n bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, id text, old integer, new integer, claim text,
      old_fence bigint, new_fence bigint)""",
    """CREATE FUNCTION {schema}.witness_change() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO {schema}.witness (id, old, new, claim, old_fence, new_fence)
      VALUES (new.id, old.state, new.state, new.claim, old.fence, new.fence);
      RETURN NULL; END $$""",
    """CREATE FUNCTION {schema}.witness_removal() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
      INSERT INTO {schema}.witness (id, old, new, claim, old_fence, new_fence)
      VALUES (old.id, old.state, -1, NULL, old.fence, old.fence);
      RETURN NULL; END $$""",
    """CREATE TRIGGER witness_change AFTER UPDATE ON {schema}.task FOR EACH ROW
      WHEN (old.state <> new.state OR old.fence <> new.fence) EXECUTE FUNCTION {schema}.witness_change()""",
    """CREATE TRIGGER witness_removal AFTER DELETE ON {schema}.task FOR EACH ROW
      EXECUTE FUNCTION {schema}.witness_removal()""",
)
STEPS = "SELECT id, old, new, claim, old_fence, new_fence FROM {schema}witness ORDER BY n"
ATTEMPTS = "SELECT task_id, fence, attempt, outcome, finished_at FROM {schema}attempt ORDER BY fence"


class Step(Struct, frozen=True):
    """One change of state as the witness saw it; `claim` is the one after it."""

    task_id: str
    old: int
    new: int
    claim: str | None
    old_fence: int
    new_fence: int


class Ground(Protocol):
    """A store, empty until a crew opens it."""

    url: str
    """The way that workers and clients take."""
    direct: str
    """The way past all faults of the network."""

    def call_witness(self) -> None:
        """Have the opened store write down every change of state from now on."""

    def testimony(self) -> list[Step]:
        """Return what the witness saw."""

    def history(self) -> dict[str, list[Attempt]]:
        """Return the attempts that did not simply succeed, by task."""

    def is_held_up(self) -> bool:
        """Return whether someone holds all others up, and goes on doing so."""


class SqliteGround:
    """A file."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "tasks.db"
        self.url = self.direct = f"sqlite:///{self._path}"

    def call_witness(self) -> None:
        with opened(self._path) as db:
            db.execute(SQLITE_WITNESS)

    def testimony(self) -> list[Step]:
        return [Step(*row) for row in self._rows(STEPS)]

    def history(self) -> dict[str, list[Attempt]]:
        return _history(self._rows(ATTEMPTS))

    def _rows(self, sql: str) -> list[Any]:
        with opened(self._path) as db:
            return db.execute(sql.format(schema="")).fetchall()

    def is_held_up(self) -> bool:
        with opened(self._path, busy_ms=200) as db:
            try:
                db.execute("BEGIN IMMEDIATE; ROLLBACK")
            except apsw.BusyError:
                return True
        return False


class PostgresGround:
    """A schema on a server; `way` is the URL of the server as the crew reaches it, through a network that may fail."""

    def __init__(self, server: str, name: object, way: str | None = None, timeout_s: float = TIMEOUT_S) -> None:
        self._server = server
        self.direct = store_url(server, name)
        self.schema = self.direct.rpartition("schema=")[2]
        self.url = with_options(way or server, schema=self.schema, timeout=str(timeout_s))

    def call_witness(self) -> None:
        for statement in POSTGRES_WITNESS:
            query(self._server, statement.format(schema=self.schema))

    def testimony(self) -> list[Step]:
        return [Step(*row) for row in self.rows(STEPS)]

    def history(self) -> dict[str, list[Attempt]]:
        return _history(self.rows(ATTEMPTS))

    def rows(self, sql: str) -> list[Any]:
        """Return what a statement of the checker's own answers with; `{schema}` stands before each table."""
        return query(self._server, sql.format(schema=f"{self.schema}."))

    def is_held_up(self) -> bool:
        return False  # a statement that was sent needs its client no more


def _history(rows: Sequence[Sequence[Any]]) -> dict[str, list[Attempt]]:
    found: dict[str, list[Attempt]] = defaultdict(list)
    for task_id, fence, attempt, outcome, at in rows:
        found[task_id].append(Attempt(fence=fence, attempt=attempt, outcome=outcome, finished_at=from_us(at)))
    return dict(found)


@contextmanager
def opened(path: Path, busy_ms: int = 30_000) -> Iterator[apsw.Connection]:
    """A connection of our own to a file."""
    db = apsw.Connection(str(path))
    db.set_busy_timeout(busy_ms)
    try:
        yield db
    finally:
        db.close()
