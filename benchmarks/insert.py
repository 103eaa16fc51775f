"""How many tasks a second can be scheduled in bulk?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bare
from benchmarks.answer import Findings, Scale, at_least, ratio, series, tell
from benchmarks.measure import DAY_US, Contender, Stopwatch, Values, interleave, store_folder, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.trials import insert
from kokugen.repository.memory import MemoryRepository

ASKS = "How many tasks a second does one schedule_many store durably?"
SIZES = {Scale.FULL: (100_000, 5), Scale.QUICK: (20_000, 3), Scale.TINY: (100, 1)}
HALF = at_least(50)

SQLITE, MEMORY = "kokugen, SQLite", "kokugen, memory"
BARE, BARE_MEMORY = "bare loop, SQLite", "bare loop, memory"


def bare_store(count: int) -> Values:
    rows = bare.new_tasks(count, "noop", wall_us() + DAY_US)
    with store_folder() as folder, bare.bare_store(folder / "bare.db") as db, Stopwatch() as watch:
        bare.add_batches(db, rows)
    return watch.per_task(count)


def bare_memory(count: int) -> Values:
    rows = bare.new_tasks(count, "noop", wall_us() + DAY_US)
    repository = MemoryRepository()
    with Stopwatch() as watch:
        bare.fill_repository(repository, rows)
    return watch.per_task(count)


def contenders(count: int) -> list[Contender]:
    """Return kokugen, its limits, and those peers that are installed; slow ones get less to do."""
    ours = [
        Contender(SQLITE, insert, ("kokugen", "SQLite", count)),
        Contender(BARE, bare_store, (count,)),
        Contender(MEMORY, insert, ("kokugen", "memory", count)),
        Contender(BARE_MEMORY, bare_memory, (count,)),
    ]
    few, some = max(20, count // 50), max(20, count // 10)
    peers = [
        Contender(f"APScheduler 3, SQLite ({few:,} tasks, one by one)", insert, ("APScheduler", "SQLite", few), 2),
        Contender(f"APScheduler 3, memory ({some:,} tasks, one by one)", insert, ("APScheduler", "memory", some), 2),
        Contender(f"huey, SQLite ({few:,} tasks, one by one)", insert, ("huey", "SQLite", few), 2),
    ]
    return ours + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("insert", contenders(count), repetitions)
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s"),
            ratio(trials, (SQLITE, BARE), goal=HALF),
            ratio(trials, (MEMORY, BARE_MEMORY), goal=HALF),
            *series(trials, "cpu_us", "µs of CPU a task"),
        ],
        notes=[
            f"{count:,} tasks unless a name says otherwise. kokugen checks every time and argument and makes handles;"
            f" the bare loops are given rows, and commit {bare.BATCH:,} at a time. The peers have no bulk call.",
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("insert", ASKS, words, measure)


if __name__ == "__main__":
    main()
