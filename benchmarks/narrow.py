"""The limit of SQLite itself: the same loop as `bare`, on a fixed table of 7 columns and one index.

It has no retries, priorities, queues, leases or history: what those cost is the difference to `bare`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from msgspec.json import decode

from benchmarks.bare import BATCH, bare_file, batches, transaction
from benchmarks.measure import Stopwatch
from kokugen.repository.rows import NewTask
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.library import Connection
from kokugen.repository.sqlite.tasks import encode

_CREATE = (
    "CREATE TABLE job (id TEXT PRIMARY KEY, work TEXT NOT NULL, due INTEGER NOT NULL, state INTEGER NOT NULL,"
    " claim TEXT, param TEXT, finished INTEGER) STRICT, WITHOUT ROWID"
)
_INDEX = "CREATE INDEX job_waiting ON job (due, id) WHERE state = 0"
_ADD = (
    "INSERT INTO job (id, work, due, state, param)"
    " SELECT value->>0, value->>1, value->>2, 0, value->>3 FROM json_each(?)"
)
_PICK = (
    "SELECT json_group_array(json_array(id, work, param)) FROM"
    " (SELECT * FROM job WHERE state = 0 AND due <= ? ORDER BY due, id LIMIT ?)"
)
_TAKE = "UPDATE job SET state = 1, claim = ? WHERE id IN (SELECT value FROM json_each(?))"
_FINISH = (
    "UPDATE job SET state = 2, finished = ? WHERE id IN (SELECT value FROM json_each(?)) AND state = 1 AND claim = ?"
)


@contextmanager
def table(path: Path) -> Iterator[Connection]:
    """Make the table in a new file, opened with the settings that kokugen uses."""
    with bare_file(path) as db:
        db.execute(_CREATE)
        db.execute(_INDEX)
        yield db


def add_batches(db: Connection, rows: Sequence[NewTask]) -> None:
    """Add tasks, a transaction a batch."""
    for batch in batches(rows):
        with transaction(db):
            db.execute(_ADD, (encode([(row.id, row.work_id, row.due_at, row.param) for row in batch]),))


def drain(db: Connection, call: Callable[[], object]) -> Stopwatch:
    """Call what is due: each transaction finishes a batch and claims the next."""
    ended: list[str] = []
    claim = ""
    with Stopwatch() as watch:
        while True:
            with transaction(db) as scope:
                if ended:
                    db.execute(_FINISH, (scope.now, encode(ended), claim))
                claim = f"bare-{scope.now}"
                picked: list[tuple[str, str, str]] = decode(one(db, _PICK, (scope.now, BATCH)))
                ended = [task[0] for task in picked]
                db.execute(_TAKE, (claim, encode(ended)))
            if not picked:
                return watch
            for _ in picked:
                call()
