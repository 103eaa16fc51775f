"""Which driver talks to PostgreSQL: asyncpg or psycopg? Both send kokugen's own statements, in batches of 1,000 rows.

What came out of many rounds is in docs/explanation/postgres-driver.md.
"""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Callable, Coroutine, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import asyncpg
import msgspec

from benchmarks import databases
from benchmarks.answer import Findings, Scale, series, tell
from benchmarks.measure import Contender, Values, interleave
from kokugen.clock import SystemClock
from kokugen.ids import IdSource, system_random
from kokugen.repository.limit_rows import AHEAD_US
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.migration import migrate
from kokugen.repository.postgres.session import PINNED
from kokugen.repository.postgres.statement import Statement, compiled, load
from kokugen.repository.rows import Claimed, Finish, NewTask
from kokugen.task import TaskState

ASKS = "Which driver is quicker with kokugen's statements on PostgreSQL: asyncpg or psycopg?"
SIZES = {Scale.FULL: (40, 300, 3), Scale.QUICK: (10, 100, 1), Scale.TINY: (1, 3, 1)}
"""How many batches, how many single rows, and how often."""
BATCH = 1000
SCHEMA = "kokugen"
SETTINGS = {**PINNED, "jit": "off"}
WHATS = ("add", "claim", "finish", "add an array a column")
IDS = IdSource(SystemClock(), system_random())
COLUMNS = {
    "id": "text",
    "work_id": "text",
    "due_at": "bigint",
    "scheduled_time": "bigint",
    "param": "text",
    "queue": "text",
    "rank": "smallint",
    "mode": "smallint",
    "max_attempts": "integer",
    "max_lost": "integer",
    "start_deadline": "bigint",
    "unique_key": "text",
    "tags": "text",
    "options": "text",
    "zone": "text",
    "local_time": "text",
}
NAMES = ", ".join(COLUMNS)
ADD_COLUMNS = compiled(
    f"WITH added AS (INSERT INTO kokugen.task (namespace, {NAMES}, care, created_at, modified_at)"
    f" SELECT 'default', {NAMES}, mode, 0, 0"
    f" FROM unnest({', '.join(f':{n}::{t}[]' for n, t in COLUMNS.items())}) AS n ({NAMES})"
    " ON CONFLICT DO NOTHING RETURNING id) SELECT count(*) FROM added",
    SCHEMA,
)
"""The same insert with an array for each column, instead of one JSON text."""

Run = Callable[[Statement, Mapping[str, Any]], Any]
Driver = Callable[[str, Callable[[Run, int], Coroutine[Any, Any, Values]]], Coroutine[Any, Any, Values]]


class Meter:
    """Seconds and processor seconds of the block, here and in the server's process."""

    def __init__(self, server_pid: int) -> None:
        self._server = Path(f"/proc/{server_pid}/schedstat")
        self.wall = self.client = self.server = 0.0

    @contextmanager
    def running(self) -> Iterator[None]:
        before = self._now()
        yield
        self.wall, self.client, self.server = (after - start for after, start in zip(self._now(), before, strict=True))

    def _now(self) -> tuple[float, float, float]:
        spent = int(self._server.read_text("ascii").split()[0]) / 1e9 if self._server.exists() else 0.0
        return time.perf_counter(), time.thread_time(), spent

    def per_row(self, what: str, rows: int) -> Values:
        figures = {"wall_us": self.wall, "client_us": self.client, "server_us": self.server}
        told = {f"{what}_{name}": seconds / rows * 1e6 for name, seconds in figures.items()}
        return {f"{what}_per_s": rows / self.wall, **told}


def new_tasks(count: int) -> list[NewTask]:
    now = SystemClock().wall_us() - 1_000_000
    param = '{"args":["Ann"],"kwargs":{"text":"Tea"}}'
    return [
        NewTask(id=IDS.task_id(), work_id="remind", due_at=now, scheduled_time=now, param=param) for _ in range(count)
    ]


def text(rows: Sequence[object]) -> str:
    return msgspec.json.encode(rows).decode()


def bind_add(tasks: Sequence[NewTask]) -> Mapping[str, Any]:
    return {"ns": "default", "now": None, "rows": text(tasks), "line_up": AHEAD_US}


def bind_columns(tasks: Sequence[NewTask]) -> Mapping[str, Any]:
    return {name: [getattr(task, name) for task in tasks] for name in COLUMNS}


def bind_claim(nonce: str) -> Mapping[str, Any]:
    counts = {"slots": 10, "buffer": BATCH - 10, "lost_max": 1, "ahead": 20_000, "ageing": 600_000_000, "ttl": 30.0}
    names = {"ns": "default", "now": None, "queues": ["default"], "only": ["remind"], "skip": [], "strict": []}
    return {**counts, **names, "node": "n" * 36, "nonce": nonce}


def bind_finish(tasks: Sequence[Claimed], nonce: str) -> Mapping[str, Any]:
    rows = [Finish(id=task.id, claim=nonce, state=TaskState.DONE, outcome="done", started_at=5) for task in tasks]
    return {"ns": "default", "now": None, "rows": text(rows), "kept": 100}


# -- The drivers


async def with_asyncpg(url: str, work: Callable[[Run, int], Coroutine[Any, Any, Values]]) -> Values:
    link = await asyncpg.connect(url, server_settings=SETTINGS)

    async def run(statement: Statement, names: Mapping[str, Any]) -> Any:
        return await link.fetchrow(statement.sql, *statement.values(names))

    try:
        return await work(run, link.get_server_pid())
    finally:
        await link.close()


async def with_psycopg(url: str, work: Callable[[Run, int], Coroutine[Any, Any, Values]]) -> Values:
    import psycopg

    options = " ".join(f"-c {name}={value}" for name, value in SETTINGS.items())
    link = psycopg.connect(url, options=options, autocommit=True, prepare_threshold=0)
    cursor = psycopg.RawCursor(link)

    async def run(statement: Statement, names: Mapping[str, Any]) -> Any:
        return cursor.execute(statement.sql, statement.values(names), binary=True).fetchone()

    try:
        return await work(run, link.info.backend_pid)
    finally:
        link.close()


# -- What they do


async def life(run: Run, server_pid: int, batches: int) -> Values:
    """Add, claim and finish tasks in batches."""
    meter = Meter(server_pid)
    add, claim, finish = (load(name, SCHEMA) for name in ("add", "claim", "finish"))
    parts = [new_tasks(BATCH) for _ in range(batches)]
    with meter.running():
        for part in parts:
            assert (await run(add, bind_add(part)))[0] is None
    figures = meter.per_row("add", BATCH * batches)
    claimed: list[tuple[list[Claimed], str]] = []
    with meter.running():
        for _ in range(batches):
            nonce = IDS.nonce()
            row = await run(claim, bind_claim(nonce))
            claimed.append((msgspec.json.decode(row[3], type=list[Claimed]), nonce))
    figures |= meter.per_row("claim", sum(len(tasks) for tasks, _ in claimed))
    with meter.running():
        for tasks, nonce in claimed:
            assert (await run(finish, bind_finish(tasks, nonce)))[0] == len(tasks) == BATCH
    return figures | meter.per_row("finish", BATCH * batches)


async def columns(run: Run, server_pid: int, batches: int) -> Values:
    """Add tasks with an array for each column."""
    meter = Meter(server_pid)
    parts = [new_tasks(BATCH) for _ in range(batches)]
    with meter.running():
        for part in parts:
            assert (await run(ADD_COLUMNS, bind_columns(part)))[0] == BATCH
    return meter.per_row("add an array a column", BATCH * batches)


async def singles(run: Run, _server_pid: int, count: int) -> Values:
    """Add tasks one by one."""
    took: list[float] = []
    for task in new_tasks(count):
        before = time.perf_counter()
        await run(load("add", SCHEMA), bind_add([task]))
        took.append(time.perf_counter() - before)
    return {"single_ms": statistics.median(took) * 1e3}


def trial(server: str, driver: Driver, batches: int, count: int) -> Values:
    """Do all of it with one driver, on empty tables each time."""
    values: Values = {}
    for work, size in ((life, batches), (columns, batches), (singles, count)):
        with databases.database(server) as url:
            asyncio.run(_prepare(url))
            values |= asyncio.run(driver(url, partial(_call, work, size)))
    return values


async def _call(work: Callable[[Run, int, int], Coroutine[Any, Any, Values]], size: int, run: Run, pid: int) -> Values:
    return await work(run, pid, size)


async def _prepare(url: str) -> None:
    link = await asyncpg.connect(url)
    await migrate(link, parse(url), "benchmark")
    await link.close()


def measure(scale: Scale) -> Findings:
    batches, count, repetitions = SIZES[scale]
    with databases.server() as server:
        contenders = [
            Contender(name, trial, (server, driver, batches, count))
            for name, driver in (("asyncpg", with_asyncpg), ("psycopg", with_psycopg))
        ]
        trials = interleave("postgres_driver", contenders, repetitions)
        version = databases.version(server)
    shown = [(key, unit) for what in WHATS for key, unit in _shown(what)]
    return Findings(
        figures=[
            *(one for key, unit in shown for one in series(trials, key, unit)),
            *series(trials, "single_ms", "ms to add one task"),
        ],
        notes=[
            f"Batches of {BATCH:,} rows on one connection each, none behind another; {version} on the same machine."
        ],
    )


def _shown(what: str) -> list[tuple[str, str]]:
    return [
        (f"{what}_per_s", f"rows/s, {what}"),
        (f"{what}_client_us", f"µs of CPU a row, {what}"),
        (f"{what}_server_us", f"µs of the server's CPU a row, {what}"),
    ]


def main(words: Sequence[str] | None = None) -> None:
    tell("postgres_driver", ASKS, words, measure)


if __name__ == "__main__":
    main()
