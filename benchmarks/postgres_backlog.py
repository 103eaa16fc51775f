"""What do a million tasks that wait for later on PostgreSQL, and a million that are over, cost those that are due now?

Two stores are compared that differ only in those tasks. Each repetition uses them again, without what it ran.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bare_postgres, databases
from benchmarks.answer import Findings, Scale, at_least, at_most, figure, ratio, series, tell
from benchmarks.backlog import DRAIN, EMPTY, FULL, START, drain, more_cpu, more_memory, start
from benchmarks.measure import Contender, fresh, interleave

ASKS = "What do 1,000,000 tasks for later and 1,000,000 that are over cost on PostgreSQL?"
SIZES = {Scale.FULL: (1_000_000, 50_000, 5), Scale.QUICK: (200_000, 10_000, 3), Scale.TINY: (500, 50, 1)}


def measure(scale: Scale) -> Findings:
    waiting, count, repetitions = SIZES[scale]
    with databases.server() as server, databases.database(server) as empty, databases.database(server) as full:
        stores = {EMPTY: empty, FULL: full}
        fresh(bare_postgres.prepare, empty, 0)
        fresh(bare_postgres.prepare, full, waiting)
        buffers = fresh(bare_postgres.claim_buffers, full)["buffers"]
        drains = [Contender(DRAIN + name, drain, (place, count)) for name, place in stores.items()]
        starts = [Contender(START + name, start, (place,), 3) for name, place in stores.items()]
        trials = interleave("postgres_backlog", [*drains, *starts], repetitions)
        version = databases.version(server)
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s"),
            ratio(trials, (DRAIN + FULL, DRAIN + EMPTY), goal=at_least(80)),
            more_cpu(trials, DRAIN),
            figure("claim where nothing is due, full store", "pages read", [buffers], at_most(20)),
            *series(trials, "start_ms", "ms to start"),
            *series(trials, "ran_ms", "ms to the end of a task due now"),
            *series(trials, "memory", "MB at most"),
            *more_memory(trials),
        ],
        notes=[
            f"The full store has {waiting:,} waiting tasks and {waiting:,} that are over; {count:,} due ones are"
            f" drained beside them; {version} on the same machine."
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("postgres_backlog", ASKS, words, measure)


if __name__ == "__main__":
    main()
