"""The workloads that every scheduler gets alike. Each function is one trial, in a process of its own."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal

from benchmarks import work
from benchmarks.measure import DAY_US, MINUTE_US, Stopwatch, Values, store_folder, wall_us
from benchmarks.peers import APScheduler, Huey
from benchmarks.subject import Kokugen, Subject

Kind = Literal["kokugen", "APScheduler", "huey"]
Store = Literal["SQLite", "memory"]


def subject(kind: Kind, store: Store, folder: Path) -> Subject:
    """Make a scheduler whose store is empty."""
    place = folder if store == "SQLite" else None
    if kind == "kokugen":
        return Kokugen(place)
    return APScheduler(place) if kind == "APScheduler" else Huey(folder)


def drain(kind: Kind, store: Store, count: int, call: Callable[[], object] = work.noop) -> Values:
    """Run `count` due tasks that do nothing."""
    with store_folder() as folder:
        scheduler = subject(kind, store, folder)
        past_us = wall_us() - MINUTE_US
        if isinstance(scheduler, Kokugen):
            scheduler.fill(call.__name__, count, past_us)
        else:
            scheduler.add_many(call, [(past_us + number, ()) for number in range(count)])
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
    with store_folder() as folder:
        scheduler = subject(kind, store, folder)
        scheduler.add_many(work.noop, [(wall_us() + DAY_US, ())])  # opens the store
        calls = [(wall_us() + DAY_US + number, ()) for number in range(count)]
        with Stopwatch() as watch:
            scheduler.add_many(work.noop, calls)
        scheduler.close()
    return watch.per_task(count)
