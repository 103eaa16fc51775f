"""How many single schedule calls a second does a process manage, from many threads at once?

Each returns when its task is durable. One connection can commit only so often; calls that come together share one.
"""

from __future__ import annotations

from collections.abc import Sequence
from threading import Barrier, Thread

from benchmarks import bare, work
from benchmarks.answer import Findings, Scale, at_least, ratio, series, tell
from benchmarks.measure import DAY_US, Contender, Stopwatch, Values, interleave, store_folder, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.subject import Subject
from benchmarks.trials import Kind, Store, place_of, subject

ASKS = "How many single schedule calls a second are durable, from one thread and from 16?"
SIZES = {Scale.FULL: (16_000, 5), Scale.QUICK: (4_000, 3), Scale.TINY: (64, 1)}
THREADS = 16
THREE_TIMES = at_least(3)

SQLITE, SQLITE_ONE = "kokugen, SQLite, 16 threads", "kokugen, SQLite, 1 thread"
MEMORY, MEMORY_ONE = "kokugen, memory, 16 threads", "kokugen, memory, 1 thread"
BARE = "bare loop, SQLite, single commits"


def bare_store(count: int) -> Values:
    rows = bare.new_tasks(count, "noop", wall_us() + DAY_US)
    with store_folder() as folder, bare.bare_store(folder / "bare.db") as db, Stopwatch() as watch:
        bare.add_singly(db, rows)
    return watch.per_task(count)


def singly(kind: Kind, store: Store, count: int, threads: int) -> Values:
    """Schedule `count` tasks in single calls, shared among threads that begin together."""
    with place_of(store) as place:
        scheduler = subject(kind, place)
        scheduler.add(work.noop, wall_us() + DAY_US)  # opens the store
        with Stopwatch() as watch:
            _from_threads(scheduler, count // threads, threads)
        scheduler.close()
    return watch.per_task(count // threads * threads)


def _from_threads(scheduler: Subject, each: int, threads: int) -> None:
    begin = Barrier(threads)

    def add() -> None:
        begin.wait()
        for _ in range(each):
            scheduler.add(work.noop, wall_us() + DAY_US)

    callers = [Thread(target=add) for _ in range(threads)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()


def contenders(count: int) -> list[Contender]:
    few = max(THREADS, count // 8)
    ours = [
        Contender(SQLITE, singly, ("kokugen", "SQLite", count, THREADS)),
        Contender(BARE, bare_store, (few,)),
        Contender(SQLITE_ONE, singly, ("kokugen", "SQLite", few, 1)),
        Contender(MEMORY, singly, ("kokugen", "memory", count, THREADS)),
        Contender(MEMORY_ONE, singly, ("kokugen", "memory", few, 1)),
    ]
    peers = [
        Contender("APScheduler 3, SQLite, 16 threads", singly, ("APScheduler", "SQLite", few, THREADS), 2),
        Contender("APScheduler 3, memory, 16 threads", singly, ("APScheduler", "memory", few, THREADS), 2),
        Contender("huey, SQLite, 16 threads", singly, ("huey", "SQLite", few, THREADS), 2),
    ]
    return ours + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("single", contenders(count), repetitions)
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s"),
            ratio(trials, (SQLITE, BARE), unit="times", goal=THREE_TIMES),
            ratio(trials, (SQLITE_ONE, BARE), unit="times"),
            *series(trials, "cpu_us", "µs of CPU a task"),
        ],
        notes=[f"{count:,} calls by kokugen from 16 threads, and an eighth of that by the others."],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("single", ASKS, words, measure)


if __name__ == "__main__":
    main()
