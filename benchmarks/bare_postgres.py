"""The limits on PostgreSQL: kokugen's own statements on its own schema, from a plain loop on one connection.

As in `bare`: batches of one size, one after the other, nothing to coordinate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import msgspec
from msgspec import structs

from benchmarks import databases
from benchmarks.bare import NAMESPACE, batches, call_and_end, new_tasks, request
from benchmarks.measure import DAY_US, Stopwatch, Values, wall_us
from benchmarks.work import noop
from kokugen.clock import SystemClock
from kokugen.repository.postgres import runs, tasks
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.migration import migrate
from kokugen.repository.postgres.session import Kind, Session, connect
from kokugen.repository.postgres.statement import Statement
from kokugen.repository.postgres.unsettled import Unsettled
from kokugen.repository.rows import Finish, NewTask

LIMIT_S = 60.0
PART = 100_000

_RUN = "DELETE FROM kokugen.task WHERE state = 2 AND claimed_at IS NOT NULL"
_COPY = """
INSERT INTO kokugen.task (namespace, id, work_id, queue, param, due_at, scheduled_time, created_at, modified_at,
                          finished_at, max_attempts, max_lost, rank, mode, care, state)
SELECT namespace, id || '-ended', work_id, queue, param, created_at, created_at, created_at, created_at,
       created_at, max_attempts, max_lost, rank, mode, care, 2
  FROM kokugen.task WHERE state = 0
"""


@asynccontextmanager
async def bare_store(url: str) -> AsyncIterator[Scope]:
    """Open a store as kokugen does, on one connection."""
    address = parse(url)
    session = await connect(address, Kind(limit_s=LIMIT_S, pinned=True))
    try:
        await migrate(session.link, address, "benchmark")
        yield Scope(
            session=session,
            schema=address.schema,
            namespace=NAMESPACE,
            clock=SystemClock(),
            drift=Drift(),
            unsettled=Unsettled(),
            admitted=lambda: None,
        )
    finally:
        await session.close()


def fill(url: str, rows: Sequence[NewTask]) -> Stopwatch:
    """Put tasks into a store, a statement a batch; return how long that took."""

    async def add() -> Stopwatch:
        async with bare_store(url) as scope:
            with Stopwatch() as watch:
                for batch in batches(rows):
                    await tasks.add(scope, batch)
        return watch

    return asyncio.run(add())


def drain(url: str, call: Callable[[], object]) -> Stopwatch:
    """Call what is due: claim a batch, call it, finish it, and so on."""

    async def work() -> Stopwatch:
        async with bare_store(url) as scope:
            with Stopwatch() as watch:
                while (answer := await tasks.claim(scope, request(call, wall_us()))).tasks:
                    ended: list[Finish] = [call_and_end(task, answer.claim, call) for task in answer.tasks]
                    await runs.finish(scope, ended)
        return watch

    return asyncio.run(work())


# -- A large store


def prepare(url: str, waiting: int) -> Values:
    """Make a store with tasks for tomorrow and later, and as many that are over, which no run has claimed."""
    due_us = wall_us() + DAY_US
    fill(url, [])
    for first in range(0, waiting, PART):
        fill(url, new_tasks(min(PART, waiting - first), "noop", due_us + first))
    databases.ask(url, _COPY)
    databases.settle(url)
    return {}


def delete_run(url: str) -> Values:
    """Delete what a drain has run, as if it had not been."""
    databases.ask(url, _RUN)
    databases.settle(url)
    return {}


def claim_buffers(url: str) -> Values:
    """Return how many pages a claim reads, in a session that has claimed before."""

    async def claim() -> int:
        async with bare_store(url) as scope:
            explaining = Explaining(scope.session)
            await tasks.claim(scope, request(noop, wall_us()))
            with suppress(LookupError):
                await tasks.claim(structs.replace(scope, session=explaining), request(noop, wall_us()))
            return explaining.buffers

    return {"buffers": asyncio.run(claim())}


class Explaining(Session):
    """A session that runs a statement to see what it takes, and then has no answer."""

    def __init__(self, session: Session) -> None:
        self.__dict__.update(session.__dict__)
        self.buffers = 0

    async def fetch(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        """Explain a statement. Raises LookupError."""
        explained = f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {statement.sql}"
        ((told,),) = await self.link.fetch(explained, *statement.values(values))
        plan = msgspec.json.decode(told)[0]["Plan"]
        self.buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
        raise LookupError("it was only explained")
