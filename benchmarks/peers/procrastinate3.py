"""Procrastinate on PostgreSQL, through psycopg. It keeps what is over, as kokugen does.

It looks for tasks whose time has come every 5 s by default; here ten times a second. A task of another process that is
due now wakes it by a notification.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks import work
from benchmarks.databases import ask
from benchmarks.peers import WORKERS
from benchmarks.peers.loop import Loop
from kokugen.clock import from_us

POLL_S = 0.1
BATCH = 1000
LEFT = "SELECT count(*) FROM procrastinate_jobs WHERE status = 'doing'"


class Procrastinate:
    """An app whose tasks are asynchronous: it runs synchronous ones each in a hand-over to a thread."""

    def __init__(self, place: Path | str | None) -> None:
        from procrastinate import App, PsycopgConnector

        assert isinstance(place, str), "Procrastinate needs PostgreSQL"
        self._url = place
        self._loop = Loop()
        self._app = App(connector=PsycopgConnector(conninfo=place, min_size=2, max_size=WORKERS + 2))
        self._tasks = {one: self._app.task(name=one.__name__)(_wrapped(one)) for one in work.PLAIN}
        self._loop.run(self._open())
        self._worker: asyncio.Task[None] | None = None

    async def _open(self) -> None:
        await self._app.open_async()
        if not await self._app.check_connection_async():
            await self._app.schema_manager.apply_schema_async()

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._loop.run(self._tasks[work].configure(schedule_at=from_us(due_us)).defer_async(args=list(args)))

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        self._loop.run(self._add_many(self._tasks[work], calls))

    async def _add_many(self, task: Any, calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        """Add tasks in batches: what `batch_defer` calls, which by itself takes one time for all."""
        from procrastinate.jobs import Job

        manager = self._app.job_manager
        for start in range(0, len(calls), BATCH):
            jobs = [
                Job(
                    id=None,
                    queue="default",
                    lock=None,
                    queueing_lock=None,
                    task_name=task.name,
                    task_kwargs={"args": list(args)},
                    scheduled_at=from_us(due_us),
                )
                for due_us, args in calls[start : start + BATCH]
            ]
            await manager.batch_defer_jobs_async(jobs)

    def start(self) -> None:
        self._loop.run(self._start())

    async def _start(self) -> None:
        running = self._app.run_worker_async(
            concurrency=WORKERS, fetch_job_polling_interval=POLL_S, install_signal_handlers=False
        )
        self._worker = asyncio.create_task(running)

    def settle(self) -> None:
        while ask(self._url, LEFT)[0][0]:
            time.sleep(0.005)

    def close(self) -> None:
        self._loop.run(self._close())
        self._loop.stop()

    async def _close(self) -> None:
        if self._worker is not None:
            self._worker.cancel()
            await asyncio.wait([self._worker])
        await self._app.close_async()


def _wrapped(call: Callable[..., object]) -> Callable[..., Awaitable[None]]:
    async def run(args: list[Any]) -> None:
        call(*args)

    return run
