"""APScheduler 3: on SQLite or PostgreSQL through SQLAlchemy, or in memory.

It takes a task out of its store before it calls it, so that a crash in between loses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from typing import Any

from benchmarks.peers import WORKERS
from kokugen.clock import from_us


class APScheduler:
    """A background scheduler with threads. SQLite has a write-ahead log and synchronous=FULL."""

    def __init__(self, place: Path | str | None) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.jobstores.memory import MemoryJobStore
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore() if place is None else _job_store(place)},
            executors={"default": ThreadPoolExecutor(WORKERS)},
            job_defaults={"misfire_grace_time": None},
            timezone="UTC",
        )
        self._scheduler.start(paused=True)  # from now on jobs go straight into the store

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._scheduler.add_job(work, "date", args=args, run_date=from_us(due_us))

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for due_us, args in calls:
            self.add(work, due_us, *args)

    def repeat(
        self, work: Callable[..., object], firsts: Sequence[tuple[int, tuple[Any, ...]]], period: timedelta
    ) -> None:
        """Make schedules; of what was missed the latest runs."""
        for due_us, args in firsts:
            first = from_us(due_us)
            seconds = period.total_seconds()
            about = {"seconds": seconds, "start_date": first, "next_run_time": first, "coalesce": True}
            self._scheduler.add_job(work, "interval", args=args, **about)

    def start(self) -> None:
        self._scheduler.resume()

    def settle(self) -> None:
        """A job is out of the store before it is called."""

    def close(self) -> None:
        self._scheduler.shutdown()


def _job_store(place: Path | str) -> Any:
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from sqlalchemy import create_engine, event

    if isinstance(place, str):
        return SQLAlchemyJobStore(engine=create_engine(place.replace("postgresql:", "postgresql+psycopg:")))
    engine = create_engine(f"sqlite:///{place / 'apscheduler.db'}")

    def set_up(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine, "connect", set_up)
    return SQLAlchemyJobStore(engine=engine)
