"""How soon does a task start that is due at once, in the process that schedules it?

From the call of schedule to the first line of the work. It is durable first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from random import Random
from threading import Thread

from benchmarks import bare, work
from benchmarks.answer import Figure, Findings, Goal, Scale, at_most, figure, tell
from benchmarks.histogram import bins
from benchmarks.measure import Contender, Values, interleave, percentile, store_folder, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.trials import Kind, Store, place_of, subject
from kokugen.repository.sqlite import tasks

ASKS = "How many milliseconds pass from scheduling a task that is due now to its start in the same process?"
SIZES = {Scale.FULL: (200, 3), Scale.QUICK: (100, 1), Scale.TINY: (5, 1)}
GOAL = at_most(1.0)
PAUSE_S_MAX = 0.02
SEED = 2026

SQLITE, SQLITE_ASYNC, MEMORY = "kokugen, SQLite, threads", "kokugen, SQLite, async", "kokugen, memory, threads"
LIMIT = "bare loop, SQLite: add and claim, a thread starts it"


def due_now(kind: Kind, store: Store, count: int, call: Callable[[int], object]) -> Values:
    """Schedule tasks one after the other, each once the one before has started and a random pause is over."""
    chance = Random(SEED)
    took_ms = []
    with place_of(store) as place:
        scheduler = subject(kind, place)
        scheduler.start()
        for number in range(count + 1):
            work.tally.expect(1)
            called_us = wall_us()
            scheduler.add(call, called_us, called_us)
            work.tally.wait()
            if number:  # the first one opens the store and starts threads
                took_ms.append((work.tally.starts[0][1] - called_us) / 1000)
            time.sleep(chance.random() * PAUSE_S_MAX)
        scheduler.close()
    return _told(took_ms)


def bare_starts(count: int) -> Values:
    """Add a task and claim it in one commit, then have a waiting thread start it, with the same pauses."""
    chance = Random(SEED)
    due, starts = SimpleQueue[str | None](), SimpleQueue[int]()

    def start() -> None:
        for _ in iter(due.get, None):
            starts.put(wall_us())

    thread = Thread(target=start)
    thread.start()
    took_ms = []
    with store_folder() as folder, bare.bare_store(folder / "bare.db") as db:
        for _ in range(count):
            called_us = wall_us()
            with bare.transaction(db) as scope:
                tasks.add(scope, bare.new_tasks(1, work.noop.__name__, called_us))
                (claimed,) = tasks.claim(scope, bare.request(work.noop, scope.now)).tasks
            due.put(claimed.id)
            took_ms.append((starts.get() - called_us) / 1000)
            time.sleep(chance.random() * PAUSE_S_MAX)
    due.put(None)
    thread.join()
    return _told(took_ms)


def _told(took_ms: list[float]) -> Values:
    return {"took_ms": took_ms, "p50": percentile(took_ms, 50), "p99": percentile(took_ms, 99)}


def contenders(count: int) -> list[Contender]:
    few = max(3, count // 10)
    ours = [
        Contender(SQLITE, due_now, ("kokugen", "SQLite", count, work.record)),
        Contender(LIMIT, bare_starts, (count,)),
        Contender(SQLITE_ASYNC, due_now, ("kokugen", "SQLite", count, work.record_async)),
        Contender(MEMORY, due_now, ("kokugen", "memory", count, work.record)),
    ]
    peers = [
        Contender("APScheduler 3, SQLite", due_now, ("APScheduler", "SQLite", count, work.record)),
        Contender("APScheduler 3, memory", due_now, ("APScheduler", "memory", count, work.record)),
        Contender(f"huey, SQLite ({few} tasks)", due_now, ("huey", "SQLite", few, work.record), 1),
    ]
    return ours + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("due now", contenders(count), repetitions)
    goals: dict[str, Goal] = {SQLITE: GOAL, SQLITE_ASYNC: GOAL, MEMORY: GOAL}

    def figures(key: str, goals: dict[str, Goal]) -> list[Figure]:
        return [
            figure(name, f"ms to start, {key}", [one[key] for one in ones], goals.get(name))
            for name, ones in trials.items()
        ]

    return Findings(
        figures=[*figures("p50", goals), *figures("p99", {})],
        notes=[f"{count:,} tasks one after the other, with random pauses up to {PAUSE_S_MAX * 1000:.0f} ms between."],
        histograms={name: bins([took for one in ones for took in one["took_ms"]]) for name, ones in trials.items()},
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("due_now", ASKS, words, measure)


if __name__ == "__main__":
    main()
