"""The peers: schedulers that people use for the same. Each with its defaults, and settings that keep what it was told.

Both take a task out of their store before they call it, so a crash in between loses it; kokugen does not.
"""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from kokugen.clock import from_us

WORKERS = 10
"""As many threads as kokugen's default."""

INSTALLED = all(importlib.util.find_spec(name) is not None for name in ("apscheduler", "huey", "sqlalchemy"))


class APScheduler:
    """APScheduler 3: on SQLite through SQLAlchemy, with a write-ahead log and synchronous=FULL, or in memory."""

    def __init__(self, folder: Path | None) -> None:
        from apscheduler.executors.pool import ThreadPoolExecutor
        from apscheduler.jobstores.memory import MemoryJobStore
        from apscheduler.schedulers.background import BackgroundScheduler

        logging.getLogger("apscheduler").setLevel(logging.ERROR)
        self._scheduler = BackgroundScheduler(
            jobstores={"default": MemoryJobStore() if folder is None else _job_store(folder / "apscheduler.db")},
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

    def start(self) -> None:
        self._scheduler.resume()

    def settle(self) -> None:
        """A job is out of the store before it is called."""

    def close(self) -> None:
        self._scheduler.shutdown()


def _job_store(path: Path) -> Any:
    from apscheduler.jobstores.sqlalchemy import SQLAlchemyJobStore
    from sqlalchemy import create_engine, event

    engine = create_engine(f"sqlite:///{path}")

    def set_up(connection: Any, _: object) -> None:
        connection.execute("PRAGMA journal_mode=WAL")
        connection.execute("PRAGMA synchronous=FULL")

    event.listen(engine, "connect", set_up)
    return SQLAlchemyJobStore(engine=engine)


class Huey:
    """huey on SQLite with fsync. It looks for tasks whose time has come once a second, and can't do so more often."""

    def __init__(self, folder: Path) -> None:
        from huey import SqliteHuey

        logging.getLogger("huey").setLevel(logging.ERROR)
        self._huey = SqliteHuey("benchmark", filename=str(folder / "huey.db"), fsync=True)
        self._consumer: Any = None
        self._tasks: dict[Any, Any] = {}

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._task(work).schedule(args, eta=from_us(due_us))

    def _task(self, work: Callable[..., object]) -> Any:
        if work not in self._tasks:
            self._tasks[work] = self._huey.task()(work)
        return self._tasks[work]

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for due_us, args in calls:
            self.add(work, due_us, *args)

    def start(self) -> None:
        self._consumer = self._huey.create_consumer(workers=WORKERS, periodic=False)
        self._consumer.start()

    def settle(self) -> None:
        """A task is out of the queue before it is called."""

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.stop()
