"""The limits: kokugen's own statements on its own schema, from a plain loop with no engine around it.

One connection, one thread, batches of one size, nothing to coordinate. How near kokugen comes to it is the engine's
efficiency. `narrow` has the same loop on a table that holds no more than it must.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.measure import Stopwatch, wall_us
from kokugen.clock import SystemClock
from kokugen.ids import IdSource, system_random
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import Claimed, ClaimRequest, Finish, NewTask
from kokugen.repository.sqlite import runs, tasks
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw, Connection
from kokugen.repository.sqlite.tasks import Scope
from kokugen.task import TaskState

T = TypeVar("T")

BATCH = 1000
NAMESPACE = "default"
NODE = "bare"
TTL_S = 30.0


def new_tasks(count: int, work_id: str, due_us: int) -> list[NewTask]:
    """Return rows of tasks, due one microsecond after the other."""
    ids = IdSource(SystemClock(), system_random())
    times = range(due_us, due_us + count)
    return [NewTask(id=ids.task_id(), work_id=work_id, due_at=us, scheduled_time=us) for us in times]


def batches(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    return (rows[start : start + BATCH] for start in range(0, len(rows), BATCH))


@contextmanager
def bare_store(path: Path) -> Iterator[Connection]:
    """Open a store as kokugen does; closing it empties its write-ahead log."""
    with bare_file(path) as db:
        migrate(db, path, "benchmark")
        yield db


@contextmanager
def bare_file(path: Path) -> Iterator[Connection]:
    """Open a file with apsw and the settings that kokugen uses."""
    db = connect(Apsw(), path)
    try:
        yield db
    finally:
        db.close()


@contextmanager
def transaction(db: Connection) -> Iterator[Scope]:
    """Run a block in one durable transaction, as the writer does."""
    db.execute("BEGIN IMMEDIATE")
    yield Scope(db, NAMESPACE, wall_us())
    db.execute("COMMIT")


# -- Adding


def fill(path: Path, rows: Sequence[NewTask]) -> None:
    """Put tasks into a store."""
    with bare_store(path) as db:
        add_batches(db, rows)


def add_batches(db: Connection, rows: Sequence[NewTask]) -> None:
    """Add tasks, a transaction a batch."""
    for batch in batches(rows):
        with transaction(db) as scope:
            tasks.add(scope, batch)


def add_singly(db: Connection, rows: Sequence[NewTask]) -> None:
    """Add tasks, a transaction each."""
    for row in rows:
        with transaction(db) as scope:
            tasks.add(scope, [row])


def fill_repository(repository: DurableRepository, rows: Sequence[NewTask]) -> None:
    """Put tasks into a repository of whatever kind."""
    for batch in batches(rows):
        repository.add(batch).result()


# -- Claim, call, finish


def drain_store(path: Path, call: Callable[[], object]) -> Stopwatch:
    """Call what is due: each transaction finishes a batch and claims the next, as the engine's do."""
    ended: list[Finish] = []
    with bare_store(path) as db, Stopwatch() as watch:
        while True:
            with transaction(db) as scope:
                if ended:
                    runs.finish(scope, ended)
                answer = tasks.claim(scope, request(call, scope.now))
            if not answer.tasks:
                return watch
            ended = [call_and_end(task, answer.claim, call) for task in answer.tasks]


def drain_memory(repository: MemoryRepository, call: Callable[[], object]) -> Stopwatch:
    """Call what is due in memory."""
    with Stopwatch() as watch:
        while (answer := repository.claim(request(call, wall_us())).result()).tasks:
            ended = [call_and_end(task, answer.claim, call) for task in answer.tasks]
            repository.finish(ended).result()
    return watch


def request(call: Callable[..., object], now_us: int) -> ClaimRequest:
    """Return the request for a batch of tasks whose work is named as the function."""
    only = frozenset({call.__name__})
    return ClaimRequest(node_id=NODE, nonce=f"{NODE}-{now_us}", slots=BATCH, only=only, ttl_s=TTL_S)


def call_and_end(task: Claimed, claim: str, call: Callable[[], object]) -> Finish:
    started_us = wall_us()
    call()
    return Finish(id=task.id, claim=claim, state=TaskState.DONE, outcome="done", started_at=started_us)
