"""How soon does a task start in another process than the one that schedules it, which runs nothing?

From the call of schedule to the first line of the work. It is durable first, and the other process must be woken.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from random import Random

from benchmarks import databases, peers, work
from benchmarks.answer import Figure, Findings, Scale, at_most, figure, overtaken, tell
from benchmarks.histogram import bins
from benchmarks.measure import Contender, Trials, Values, interleave, percentile, wall_us
from benchmarks.nodes import nodes
from benchmarks.trials import Kind, Store, place_of, subject

ASKS = "How many milliseconds pass from scheduling a task that is due now to its start in another process?"
SIZES = {Scale.FULL: (300, 2), Scale.QUICK: (100, 1), Scale.TINY: (5, 1)}
WARMUP = 5
PAUSE_S_MAX = 0.02
SEED = 2026

SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
WHY = (
    "The peers notify others in the transaction that adds, and run work on the loop that claims. kokugen notifies after"
    " the commit, by a statement of its own: NOTIFY locks the whole server until its commit is on disk, and all who add"
    " would wait for each other. And it runs work on threads, so that none can hold up claims and leases."
)
GOALS = {
    "p50": {POSTGRES: at_most(3.0)},
    "p99": {POSTGRES: at_most(10.0), SQLITE: at_most(5.0)},
}


def due_elsewhere(kind: Kind, store: Store, count: int) -> Values:
    """Schedule tasks one after the other, each once the one before has started and a random pause is over."""
    chance = Random(SEED)
    took_ms = []
    with place_of(store) as place, nodes(kind, place, 1) as (node,):
        scheduler = subject(kind, place)
        node.start()
        node.wait()
        for _ in range(count + WARMUP):
            called_us = wall_us()
            scheduler.add(work.tell, called_us, called_us)
            due_us, started_us = node.hear()
            assert due_us == called_us, "each is run once"
            took_ms.append((started_us - called_us) / 1000)
            time.sleep(chance.random() * PAUSE_S_MAX)
        node.stop()
        scheduler.close()
    return _told(took_ms[WARMUP:])


def _told(took_ms: list[float]) -> Values:
    return {"took_ms": took_ms, "p50": percentile(took_ms, 50), "p99": percentile(took_ms, 99)}


def contenders(server: str, count: int, others: Sequence[peers.Peer]) -> list[Contender]:
    """Return kokugen, and those peers that are installed and can do it."""
    ours = [
        Contender(SQLITE, due_elsewhere, ("kokugen", "SQLite", count)),
        Contender(POSTGRES, due_elsewhere, ("kokugen", server, count)),
    ]
    return [*ours, *(_peer(one, server, max(5, count // 3)) for one in others if one.together)]


def _peer(peer: peers.Peer, server: str, count: int) -> Contender:
    store = "Redis" if peer.kind == "Celery" else server
    return Contender(f"{peer.label} ({count} tasks)", due_elsewhere, (peer.kind, store, count), 1, optional=True)


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("due_elsewhere", contenders(server, count, peers.at(scale)), repetitions)
        version = databases.version(server)
    figures = [*_figures(trials, "p50"), *_figures(trials, "p99")]
    return Findings(
        figures=figures,
        notes=[
            f"{count:,} tasks one after the other, with random pauses up to {PAUSE_S_MAX * 1000:.0f} ms between;"
            f" {version} on the same machine. APScheduler 3 cannot do it: its stores are for one process."
            f" {peers.absent()}",
            *overtaken(figures, POSTGRES, {"ms to start, p50": False, "ms to start, p99": False}, WHY),
        ],
        histograms={name: bins([took for one in ones for took in one["took_ms"]]) for name, ones in trials.items()},
    )


def _figures(trials: Trials, key: str) -> list[Figure]:
    return [
        figure(name, f"ms to start, {key}", [one[key] for one in ones], GOALS[key].get(name))
        for name, ones in trials.items()
    ]


def main(words: Sequence[str] | None = None) -> None:
    tell("due_elsewhere", ASKS, words, measure)


if __name__ == "__main__":
    main()
