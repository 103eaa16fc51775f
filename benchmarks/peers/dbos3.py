"""DBOS on PostgreSQL, through SQLAlchemy and psycopg: a queue of workflows. It keeps what is over.

It looks for tasks once a second by default; here a hundred times, which also finds those of other processes.
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

POLL_S = 0.01
QUEUE, VERSION = "benchmark", "1"
LEFT = "SELECT count(*) FROM dbos.workflow_status WHERE status = 'PENDING'"


class Dbos:
    """One queue; each call is a workflow without steps. A client adds: what is launched runs workflows."""

    def __init__(self, place: Path | str | None) -> None:
        from dbos import DBOSClient, run_dbos_database_migrations

        assert isinstance(place, str), "DBOS is measured on PostgreSQL"
        self._url = place
        if ask(place, "SELECT to_regclass('dbos.workflow_status') IS NULL")[0][0]:
            run_dbos_database_migrations(system_database_url=place)
        self._client = DBOSClient(system_database_url=place)
        self._dbos: Any = None

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        options: Any = {"workflow_name": work.__name__, "queue_name": QUEUE, "app_version": VERSION}
        left_s = (due_us - wall_us()) / 1e6
        self._client.enqueue(options | ({"delay_seconds": left_s} if left_s > 0 else {}), *args)

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for due_us, args in calls:
            self.add(work, due_us, *args)

    def start(self) -> None:
        from dbos import DBOS

        config: Any = {"name": "benchmark", "system_database_url": self._url, "application_version": VERSION}
        self._dbos = DBOS(config=config | {"log_level": "ERROR", "console_log_level": "ERROR"})
        for one in work.PLAIN:
            DBOS.workflow(name=one.__name__)(_wrapped(one))
        DBOS.launch()
        DBOS.register_queue(QUEUE, worker_concurrency=WORKERS, polling_interval_sec=POLL_S)

    def settle(self) -> None:
        while ask(self._url, LEFT)[0][0]:
            time.sleep(0.005)

    def close(self) -> None:
        self._client.destroy()
        if self._dbos is not None:
            self._dbos.destroy()


def _wrapped(call: Callable[..., object]) -> Callable[..., None]:
    def run(*args: Any) -> None:
        call(*args)

    return run
