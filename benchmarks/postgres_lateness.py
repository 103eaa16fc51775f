"""How late do tasks on PostgreSQL start that are due at random instants?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import databases, peers, work
from benchmarks.answer import Findings, Scale, at_most, tell
from benchmarks.lateness import PART, findings, lateness
from benchmarks.measure import Contender, interleave

ASKS = "How many milliseconds after its due time does a task on PostgreSQL start, and does none start early?"
SIZES = {Scale.FULL: (2_000, 20.0, 2), Scale.QUICK: (1_000, 5.0, 1), Scale.TINY: (20, 0.2, 1)}

OURS, ASYNC = "kokugen, threads", "kokugen, async (a quarter of the time)"
GOALS = {"p50": {OURS: at_most(0.7)}, "p99": {OURS: at_most(3.0)}}


def contenders(server: str, count: int, span_s: float, others: Sequence[peers.Peer]) -> list[Contender]:
    """Return kokugen and those peers that are installed, which get as many tasks a second, for a shorter time."""
    few, part_s = max(5, count // PART), span_s / PART
    ours = [
        Contender(OURS, lateness, ("kokugen", server, count, span_s, work.record)),
        Contender(ASYNC, lateness, ("kokugen", server, few, part_s, work.record_async), 1),
    ]
    return [*ours, *(_peer(one, server, few, part_s) for one in others)]


def _peer(peer: peers.Peer, server: str, count: int, span_s: float) -> Contender:
    store = "Redis" if peer.kind == "Celery" else server
    trial = (peer.kind, store, count, span_s, work.record)
    return Contender(f"{peer.label} ({span_s:g} s)", lateness, trial, 1, optional=True)


def measure(scale: Scale) -> Findings:
    count, span_s, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("postgres_lateness", contenders(server, count, span_s, peers.at(scale)), repetitions)
        version = databases.version(server)
    note = f"{count:,} tasks at random instants of {span_s:g} s, or as many a second for a shorter time;"
    return findings(trials, OURS, GOALS, f"{note} {version} on the same machine. {peers.absent()}")


def main(words: Sequence[str] | None = None) -> None:
    tell("postgres_lateness", ASKS, words, measure)


if __name__ == "__main__":
    main()
