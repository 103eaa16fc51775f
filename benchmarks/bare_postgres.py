"""The limits on PostgreSQL: kokugen's own statements on its own schema, from a plain loop on one connection.

As in `bare`: batches of one size, one after the other, nothing to coordinate.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager

from benchmarks.bare import NAMESPACE, batches, call_and_end, request
from benchmarks.measure import Stopwatch, wall_us
from kokugen.clock import SystemClock
from kokugen.repository.postgres import runs, tasks
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.migration import migrate
from kokugen.repository.postgres.session import Kind, connect
from kokugen.repository.postgres.unsettled import Unsettled
from kokugen.repository.rows import Finish, NewTask

LIMIT_S = 60.0


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
