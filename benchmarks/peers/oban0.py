"""Oban for Python on PostgreSQL, through psycopg. It keeps what is over for a day. It needs Python 3.12.

It looks for tasks whose time has come once a second by default; here ten times. A task of another process that is due
now wakes it by a notification.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.databases import ask
from benchmarks.measure import wall_us
from benchmarks.peers import WORKERS
from benchmarks.peers.loop import Loop
from kokugen.clock import from_us

POLL_S = 0.1
BATCH = 1000


class Oban:
    """One queue. Its work is asynchronous, as all of Oban's."""

    def __init__(self, place: Path | str | None) -> None:
        assert isinstance(place, str), "Oban needs PostgreSQL"
        self._url = place
        self._loop = Loop()
        new = ask(place, "SELECT to_regclass('oban_jobs') IS NULL")[0][0]
        self._loop.run(self._open(new))
        self._server: Any = None

    async def _open(self, new: bool) -> None:
        from oban import Oban as Client
        from oban.schema import install

        self._pool = await Client.create_pool(self._url, min_size=2, max_size=10)
        if new:
            await install(self._pool)
        self._client = Client(pool=self._pool)
        self._jobs = {one: _job(one) for one in work.PLAIN}

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._loop.run(self._client.enqueue(self._new(work, due_us, args)))

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        self._loop.run(self._add_many(work, calls))

    async def _add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for start in range(0, len(calls), BATCH):
            part = calls[start : start + BATCH]
            await self._client.enqueue_many([self._new(work, due_us, args) for due_us, args in part])

    def _new(self, work: Callable[..., object], due_us: int, args: tuple[Any, ...]) -> Any:
        when = {"scheduled_at": from_us(due_us)} if due_us > wall_us() else {}
        return self._jobs[work].new({"args": list(args)}, **when)

    def start(self) -> None:
        self._loop.run(self._start())

    async def _start(self) -> None:
        from oban import Oban as Client

        self._server = Client(pool=self._pool, name="server", queues={"default": WORKERS}, stager={"interval": POLL_S})
        await self._server.start()

    def settle(self) -> None:
        while ask(self._url, "SELECT count(*) FROM oban_jobs WHERE state = 'executing'")[0][0]:
            time.sleep(0.005)

    def close(self) -> None:
        self._loop.run(self._close())
        self._loop.stop()

    async def _close(self) -> None:
        if self._server is not None:
            await self._server.stop()
        await self._pool.close()


def _job(call: Callable[..., object]) -> Any:
    from oban import worker

    async def process(_: Any, job: Any) -> None:
        call(*job.args["args"])

    return worker(queue="default")(type(call.__name__, (), {"process": process, "__module__": __name__}))
