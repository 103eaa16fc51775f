"""What do a million tasks that wait for later cost those that are due now?

Two stores are compared that differ only in those tasks. Each repetition uses them again, emptied of what is over.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bare_postgres, work
from benchmarks.answer import Figure, Findings, Scale, at_least, at_most, figure, ratio, series, tell
from benchmarks.measure import (
    DAY_US,
    MINUTE_US,
    Contender,
    Trials,
    Values,
    fresh,
    interleave,
    memory_mb,
    store_folder,
    wall_us,
)
from benchmarks.subject import Kokugen, Place
from benchmarks.trials import run_all
from kokugen.repository.rows import Retention

ASKS = "What do 1,000,000 tasks stored for later cost in memory, in time to start, and in the speed of a drain?"
SIZES = {Scale.FULL: (1_000_000, 50_000, 5), Scale.QUICK: (200_000, 10_000, 3), Scale.TINY: (500, 50, 1)}
LINGER_S = 0.5

EMPTY, FULL = "empty store", "full store"
DRAIN, START, MEMORY = "drain, ", "start, ", "drain in memory, "


def prepare(folder: Path, waiting: int) -> Values:
    """Fill a store with tasks for tomorrow and later."""
    folder.mkdir()
    scheduler = Kokugen(folder)
    for first in range(0, waiting, 100_000):
        scheduler.fill("noop", min(100_000, waiting - first), wall_us() + DAY_US + first)
    scheduler.scheduler.open()
    scheduler.close()
    return {}


def drain(place: Place, count: int) -> Values:
    """Run due tasks beside those that wait, and leave the store as it was."""
    fresh(fill_due, place, count)
    scheduler = Kokugen(place)
    values = run_all(scheduler, count) | {"memory": memory_mb()}
    fresh(delete_ended, place)
    return values


def fill_due(place: Place, count: int) -> Values:
    Kokugen(place).fill("noop", count, wall_us() - MINUTE_US)
    return {}


def delete_ended(place: Place) -> Values:
    """Delete what was run, as pruning does."""
    if isinstance(place, str):
        return bare_postgres.delete_run(place)
    scheduler = Kokugen(place).scheduler
    now_us = wall_us()
    retention = Retention(done_before=now_us, cancelled_before=now_us, failed_before=now_us)
    while scheduler.prune(retention):
        pass
    scheduler.close()
    return {}


def drain_memory(waiting: int, count: int) -> Values:
    """Run due tasks in memory beside those that wait there."""
    scheduler = Kokugen(None)
    scheduler.fill("noop", waiting, wall_us() + DAY_US)
    scheduler.fill("noop", count, wall_us() - MINUTE_US)
    return run_all(scheduler, count)


def start(place: Place) -> Values:
    """Open the store in a new process, start, and run one task that is due now."""
    began = time.perf_counter()
    scheduler = Kokugen(place)
    scheduler.start()
    started_s = time.perf_counter() - began
    work.tally.expect(1)
    scheduler.add(work.noop, wall_us())
    work.tally.wait()
    ran_s = time.perf_counter() - began
    time.sleep(LINGER_S)
    scheduler.close()
    return {"start_ms": 1000 * started_s, "ran_ms": 1000 * ran_s, "memory": memory_mb()}


def measure(scale: Scale) -> Findings:
    waiting, count, repetitions = SIZES[scale]
    with store_folder() as folder:
        stores = {EMPTY: folder / "empty", FULL: folder / "full"}
        fresh(prepare, stores[EMPTY], 0)
        fresh(prepare, stores[FULL], waiting)
        drains = [Contender(DRAIN + name, drain, (place, count)) for name, place in stores.items()]
        starts = [Contender(START + name, start, (place,)) for name, place in stores.items()]
        in_memory = [
            Contender(MEMORY + EMPTY, drain_memory, (0, count)),
            Contender(MEMORY + FULL, drain_memory, (waiting // 10, count)),
        ]
        trials = interleave("backlog", [*drains, *in_memory, *starts], repetitions)
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s"),
            *(ratio(trials, (kind + FULL, kind + EMPTY), goal=at_least(90)) for kind in (DRAIN, MEMORY)),
            *(more_cpu(trials, kind) for kind in (DRAIN, MEMORY)),
            *series(trials, "start_ms", "ms to start", {START + FULL: at_most(1000)}),
            *series(trials, "ran_ms", "ms to the end of a task due now"),
            *series(trials, "memory", "MB at most"),
            *more_memory(trials),
        ],
        notes=[
            f"The full store has {waiting:,} waiting tasks, in memory {waiting // 10:,}; {count:,} due ones are drained"
            " beside them."
        ],
    )


def more_cpu(trials: Trials, kind: str) -> Figure:
    """Return the same ratio of processor time, which other programs disturb less."""
    name = f"CPU a task: {kind}full store / empty store"
    return ratio(trials, (kind + FULL, kind + EMPTY), "cpu_us", name=name)


def more_memory(trials: Trials) -> list[Figure]:
    """Return how much more memory the full store takes, where the system tells it."""
    figures = []
    for prefix in (START, DRAIN):
        pairs = zip(trials[prefix + FULL], trials[prefix + EMPTY], strict=True)
        more = [full["memory"] - empty["memory"] for full, empty in pairs if full["memory"] is not None]
        if more:
            figures.append(figure(f"{prefix}full store more than empty", "MB", more, at_most(20)))
    return figures


def main(words: Sequence[str] | None = None) -> None:
    tell("backlog", ASKS, words, measure)


if __name__ == "__main__":
    main()
