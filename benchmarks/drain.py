"""How many due tasks a second are run?

They do nothing, so that what is measured is the way there and back: claim, call, and record the end durably.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bare, narrow, work
from benchmarks.answer import Findings, Scale, at_least, ratio, series, tell
from benchmarks.measure import MINUTE_US, Contender, Stopwatch, Values, interleave, store_folder, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.trials import drain
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import NewTask

ASKS = "How many due no-op tasks a second are run, the end of each durably recorded?"
SIZES = {Scale.FULL: (50_000, 5), Scale.QUICK: (20_000, 3), Scale.TINY: (100, 1)}

THREADS, ASYNC = "kokugen, SQLite, threads", "kokugen, SQLite, async"
MEMORY_THREADS, MEMORY_ASYNC = "kokugen, memory, threads", "kokugen, memory, async"
BARE, NARROW, BARE_MEMORY = "bare loop, SQLite, this schema", "bare loop, SQLite, narrow table", "bare loop, memory"
GOALS = dict.fromkeys((THREADS, ASYNC, MEMORY_THREADS, MEMORY_ASYNC), at_least(30_000))


def bare_store(count: int) -> Values:
    with store_folder() as folder:
        path = folder / "bare.db"
        bare.fill(path, _rows(count))
        return _checked(bare.drain_store(path, work.noop), count)


def bare_narrow(count: int) -> Values:
    with store_folder() as folder, narrow.table(folder / "narrow.db") as db:
        narrow.add_batches(db, _rows(count))
        return _checked(narrow.drain(db, work.noop), count)


def bare_memory(count: int) -> Values:
    repository = MemoryRepository()
    bare.fill_repository(repository, _rows(count))
    return _checked(bare.drain_memory(repository, work.noop), count)


def _rows(count: int) -> list[NewTask]:
    work.tally.expect(count)
    return bare.new_tasks(count, work.noop.__name__, wall_us() - MINUTE_US)


def _checked(watch: Stopwatch, count: int) -> Values:
    work.tally.check()
    return watch.per_task(count)


def contenders(count: int) -> list[Contender]:
    """Return kokugen, its limits, and those peers that are installed; slow ones get less to do."""
    ours = [
        Contender(THREADS, drain, ("kokugen", "SQLite", count)),
        Contender(BARE, bare_store, (count,)),
        Contender(ASYNC, drain, ("kokugen", "SQLite", count, work.noop_async)),
        Contender(NARROW, bare_narrow, (count,)),
        Contender(MEMORY_THREADS, drain, ("kokugen", "memory", count)),
        Contender(MEMORY_ASYNC, drain, ("kokugen", "memory", count, work.noop_async)),
        Contender(BARE_MEMORY, bare_memory, (count,)),
    ]
    few, some = max(20, count // 25), max(20, count // 5)
    peers = [
        Contender(f"APScheduler 3, SQLite ({few:,} tasks)", drain, ("APScheduler", "SQLite", few), 2),
        Contender(f"APScheduler 3, memory ({some:,} tasks)", drain, ("APScheduler", "memory", some), 2),
        Contender(f"huey, SQLite ({few:,} tasks)", drain, ("huey", "SQLite", few), 2),
    ]
    return ours + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("drain", contenders(count), repetitions)
    pairs = ((THREADS, BARE), (ASYNC, BARE), (THREADS, NARROW), (MEMORY_THREADS, BARE_MEMORY))
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s", GOALS),
            *(ratio(trials, pair) for pair in pairs),
            *series(trials, "cpu_us", "µs of CPU a task"),
        ],
        notes=[f"{count:,} tasks unless a name says otherwise; the bare loops take {bare.BATCH:,} at a time."],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("drain", ASKS, words, measure)


if __name__ == "__main__":
    main()
