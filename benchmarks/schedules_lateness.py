"""How late do the tasks of 10,000 schedules start that come at random instants of one minute?

Each schedule has one time in it, so that there are as many decisions as tasks. A start before its time would be a
broken promise, and fails the benchmark.
"""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

from benchmarks import databases, work
from benchmarks.answer import Findings, Scale, at_most, tell
from benchmarks.lateness import findings, told
from benchmarks.measure import Contender, Values, interleave, wall_us
from benchmarks.peers import INSTALLED, broker, installed
from benchmarks.recurring import MAKING_US, SELDOM, in_time, repeating
from benchmarks.trials import Kind, Store, place_of

ASKS = "How many milliseconds after its time does the task of a schedule start, with 10,000 schedules in a minute?"
SIZES = {Scale.FULL: (10_000, 60.0, 3), Scale.QUICK: (2_000, 12.0, 1), Scale.TINY: (20, 0.2, 1)}
SEED = 2026
PART = 4
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
GOALS = {"p99": dict.fromkeys((SQLITE, POSTGRES), at_most(5.0))}


def lateness(kind: Kind, store: Store, count: int, span_s: float) -> Values:
    """Make schedules that come at random instants of some seconds, and see when their tasks start."""
    return in_time(lambda lead_us: _lateness(kind, store, lead_us + count * MAKING_US[kind], (count, span_s)))


def _lateness(kind: Kind, store: Store, lead_us: int, size: tuple[int, float]) -> Values | None:
    count, span_s = size
    with place_of(store) as place:
        scheduler = repeating(kind, place)
        begin_us = wall_us() + lead_us
        chance = Random(SEED)
        dues = sorted(begin_us + chance.randrange(round(span_s * 1e6)) for _ in range(count))
        work.tally.expect(count)
        scheduler.repeat(work.record, [(due_us, (due_us,)) for due_us in dues], SELDOM)
        scheduler.start()
        is_ready = wall_us() < dues[0]
        if is_ready:
            work.tally.wait()
        scheduler.close()
    return told(work.tally.starts) if is_ready else None


def contenders(server: str, count: int, span_s: float) -> list[Contender]:
    """Return kokugen on both stores, and those peers that are installed, as many a second for a shorter time."""
    few, part_s = max(5, count // PART), span_s / PART
    ours = [
        Contender(SQLITE, lateness, ("kokugen schedules", "SQLite", count, span_s)),
        Contender(POSTGRES, lateness, ("kokugen schedules", server, count, span_s)),
    ]
    theirs = [
        Contender(f"{name} ({few:,})", lateness, (kind, store, few, part_s), 1)
        for name, kind, store, is_here in (
            ("APScheduler 3, SQLite", "APScheduler", "SQLite", INSTALLED),
            ("APScheduler 3, memory", "APScheduler", "memory", INSTALLED),
            ("Celery beat, Redis", "Celery beat", "Redis", installed("celery", "redis") and broker() is not None),
        )
        if is_here
    ]
    return ours + theirs


def measure(scale: Scale) -> Findings:
    count, span_s, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("schedules_lateness", contenders(server, count, span_s), repetitions)
    note = f"{count:,} schedules at random instants of {span_s:g} s, or as many a second for a shorter time."
    return findings(trials, SQLITE, GOALS, note)


def main(words: Sequence[str] | None = None) -> None:
    tell("schedules_lateness", ASKS, words, measure)


if __name__ == "__main__":
    main()
