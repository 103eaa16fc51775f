"""The workloads that every scheduler gets alike. Each function is one trial, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib import import_module

from benchmarks import databases, work
from benchmarks.measure import DAY_US, MINUTE_US, Stopwatch, Values, store_folder, wall_us
from benchmarks.peers import celery5
from benchmarks.subject import Kokugen, Place, Subject

Kind = str
"""The name of a scheduler: a key of `SUBJECTS`."""

SUBJECTS = {
    "kokugen": "benchmarks.subject:Kokugen",
    "kokugen schedules": "benchmarks.recurring:Schedules",
    "APScheduler": "benchmarks.peers.apscheduler3:APScheduler",
    "Celery": "benchmarks.peers.celery5:Celery",
    "Celery beat": "benchmarks.peers.beat:Beat",
    "DBOS": "benchmarks.peers.dbos3:Dbos",
    "huey": "benchmarks.peers.huey:Huey",
    "Oban": "benchmarks.peers.oban0:Oban",
    "PgQueuer": "benchmarks.peers.pgqueuer1:PgQueuer",
    "Procrastinate": "benchmarks.peers.procrastinate3:Procrastinate",
}
Store = str
"""SQLite, memory, Redis, or the URL of a PostgreSQL server."""


@contextmanager
def place_of(store: Store) -> Iterator[Place]:
    """Yield where an empty store may be, which is gone afterwards."""
    if store == "memory":
        yield None
    elif store == "SQLite":
        with store_folder() as folder:
            yield folder
    elif store == "Redis":
        with store_folder() as folder, celery5.redis(folder) as short:
            yield short
    else:
        with databases.database(store) as url:
            yield url


def subject(kind: Kind, place: Place) -> Subject:
    """Make a scheduler; what it needs is imported only now."""
    module, _, name = SUBJECTS[kind].partition(":")
    made: Subject = getattr(import_module(module), name)(place)
    return made


def drain(kind: Kind, store: Store, count: int, call: Callable[[], object] = work.noop) -> Values:
    """Run `count` due tasks that do nothing."""
    with place_of(store) as place:
        scheduler = subject(kind, place)
        past_us = wall_us() - MINUTE_US
        if isinstance(scheduler, Kokugen):
            scheduler.fill(call.__name__, count, past_us)
        else:
            scheduler.add_many(call, [(past_us + number, ()) for number in range(count)])
            if isinstance(place, str):
                databases.settle(place)
        return run_all(scheduler, count)


def run_all(scheduler: Subject, count: int) -> Values:
    """Start a scheduler, wait until its `count` due tasks are over, and close it."""
    work.tally.expect(count)
    with Stopwatch() as watch:
        scheduler.start()
        work.tally.wait()
        scheduler.settle()
    scheduler.close()
    work.tally.check()
    return watch.per_task(count)


def insert(kind: Kind, store: Store, count: int) -> Values:
    """Add `count` tasks for tomorrow in the quickest way."""
    with place_of(store) as place:
        scheduler = subject(kind, place)
        scheduler.add_many(work.noop, [(wall_us() + DAY_US, ())])  # opens the store
        calls = [(wall_us() + DAY_US + number, ()) for number in range(count)]
        with Stopwatch() as watch:
            scheduler.add_many(work.noop, calls)
        scheduler.close()
    return watch.per_task(count)
