"""PgQueuer on PostgreSQL, through asyncpg, with large batches. It deletes what is over, and logs it.

It looks for tasks whose time has come every 30 s by default; here ten times a second. A task of another process wakes
it by a notification.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

import asyncpg

from benchmarks import work
from benchmarks.databases import ask
from benchmarks.measure import wall_us
from benchmarks.peers.loop import Loop

POLL = timedelta(seconds=0.1)
BATCH = 1000


class PgQueuer:
    """A queue whose work is asynchronous, since synchronous work is handed to a thread each time."""

    def __init__(self, place: Path | str | None) -> None:
        assert isinstance(place, str), "PgQueuer needs PostgreSQL"
        self._url = place
        self._loop = Loop()
        self._loop.run(self._open())
        self._worker: Any = None

    async def _open(self) -> None:
        from pgqueuer import PgQueuer as Queue

        self._pool = await asyncpg.create_pool(self._url, min_size=2, max_size=4)
        self._queue = Queue.from_asyncpg_pool(self._pool)
        queries: Any = self._queue.queries
        self._queries = queries
        if not await self._queries.has_table("pgqueuer"):
            await self._queries.install()
        for one in work.PLAIN:
            self._queue.entrypoint(one.__name__)(_wrapped(one))

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._loop.run(self._queries.enqueue(work.__name__, _encoded(args), 0, _after(due_us)))

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        self._loop.run(self._add_many(work.__name__, calls))

    async def _add_many(self, name: str, calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for start in range(0, len(calls), BATCH):
            part = calls[start : start + BATCH]
            payloads, times = [_encoded(args) for _, args in part], [_after(due_us) for due_us, _ in part]
            await self._queries.enqueue([name] * len(part), payloads, [0] * len(part), times)

    def start(self) -> None:
        self._worker = self._loop.begin(self._queue.run(batch_size=BATCH, dequeue_timeout=POLL))

    def settle(self) -> None:
        while ask(self._url, "SELECT count(*) FROM pgqueuer WHERE status = 'picked'")[0][0]:
            time.sleep(0.005)

    def close(self) -> None:
        self._loop.run(self._close())
        self._loop.stop()

    async def _close(self) -> None:
        self._queue.shutdown.set()
        if self._worker is not None:
            await asyncio.wait([asyncio.wrap_future(self._worker)], timeout=5)
        self._pool.terminate()


def _encoded(args: tuple[Any, ...]) -> bytes | None:
    return b",".join(b"%d" % one for one in args) or None


def _after(due_us: int) -> timedelta:
    """Return a due time as it wants it: from now on."""
    return timedelta(microseconds=max(0, due_us - wall_us()))


def _wrapped(call: Callable[..., object]) -> Callable[[Any], Awaitable[None]]:
    async def run(job: Any) -> None:
        call(*map(int, job.payload.split(b",")) if job.payload else ())

    return run
