"""How late do tasks start that are due at random instants?

A start before its time would be a broken promise, and fails the benchmark.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from random import Random
from threading import Condition

from benchmarks import work
from benchmarks.answer import Figure, Findings, Goal, Scale, at_most, figure, overtaken, tell
from benchmarks.histogram import Bins, bins
from benchmarks.measure import DAY_US, Contender, Trials, Values, interleave, percentile, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.subject import Subject
from benchmarks.trials import Kind, Store, place_of, subject

ASKS = "How many milliseconds after its due time does a task start, and does none start early?"
SIZES = {Scale.FULL: (2_000, 20.0, 3), Scale.QUICK: (1_000, 5.0, 1), Scale.TINY: (20, 0.2, 1)}
LEAD_US = 1_000_000
SAMPLE = 50
PART = 4
SEED = 2026
SQLITE, SQLITE_ASYNC, MEMORY = "kokugen, SQLite, threads", "kokugen, SQLite, async", "kokugen, memory, threads"
LIMIT = "one thread's timed wait, no scheduler"
WHY = "What is in memory alone starts without a claim that must be durable first, and is lost with its process."
GOALS = {"p50": dict.fromkeys((SQLITE, MEMORY), at_most(0.5)), "p99": dict.fromkeys((SQLITE, MEMORY), at_most(2.0))}


def lateness(kind: Kind, store: Store, count: int, span_s: float, call: Callable[[int], object]) -> Values:
    """Schedule tasks at random instants of the coming seconds, and see when they start."""
    with place_of(store) as place:
        scheduler = subject(kind, place)
        scheduler.start()
        dues = _instants(count, span_s, lead_us=LEAD_US + 3 * count * _adding_us(scheduler, call))
        work.tally.expect(count)
        scheduler.add_many(call, [(due_us, (due_us,)) for due_us in dues])
        added_us = wall_us()
        work.tally.wait()
        scheduler.close()
    assert added_us < dues[0], "all were stored before the first was due"
    return told(work.tally.starts)


def _adding_us(scheduler: Subject, call: Callable[[int], object]) -> int:
    """Return about how long it takes to add one task; the tasks that this adds stay for tomorrow."""
    scheduler.add_many(call, [(wall_us() + DAY_US, (0,))])  # opens the store
    began_us = wall_us()
    scheduler.add_many(call, [(began_us + DAY_US, (0,))] * SAMPLE)
    return (wall_us() - began_us) // SAMPLE


def timed_wait(count: int, span_s: float) -> Values:
    """Wait for each instant in one thread: what the system's timers can do at best."""
    starts = []
    condition = Condition()
    with condition:
        for due_us in _instants(count, span_s, lead_us=LEAD_US):
            while (left_us := due_us - wall_us()) > 0:
                condition.wait(left_us / 1e6)
            starts.append((due_us, wall_us()))
    return told(starts)


def _instants(count: int, span_s: float, lead_us: int) -> list[int]:
    chance = Random(SEED)
    begin_us = wall_us() + lead_us
    return sorted(begin_us + chance.randrange(int(span_s * 1e6)) for _ in range(count))


def told(starts: Sequence[tuple[int, int]]) -> Values:
    """Return how late starts were, of each of which it is known when it was due and when it was."""
    late_ms = [(started_us - due_us) / 1000 for due_us, started_us in starts]
    return {
        "late_ms": late_ms,
        "p50": percentile(late_ms, 50),
        "p99": percentile(late_ms, 99),
        "max": max(late_ms),
        "early": sum(late < 0 for late in late_ms),
    }


def contenders(count: int, span_s: float) -> list[Contender]:
    """Return kokugen, the limit, and those peers that are installed; those get one turn, and a part of the time."""
    few, part_s = max(5, count // PART), span_s / PART
    ours = [
        Contender(SQLITE, lateness, ("kokugen", "SQLite", count, span_s, work.record)),
        Contender(MEMORY, lateness, ("kokugen", "memory", count, span_s, work.record), 2),
        Contender(SQLITE_ASYNC, lateness, ("kokugen", "SQLite", count, span_s, work.record_async), 1),
        Contender(LIMIT, timed_wait, (few, part_s), 1),
    ]
    peers = [
        Contender("APScheduler 3, SQLite", lateness, ("APScheduler", "SQLite", few, part_s, work.record), 1),
        Contender("APScheduler 3, memory", lateness, ("APScheduler", "memory", few, part_s, work.record), 1),
        Contender("huey, SQLite", lateness, ("huey", "SQLite", few, part_s, work.record), 1),
    ]
    return ours + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, span_s, repetitions = SIZES[scale]
    trials = interleave("lateness", contenders(count, span_s), repetitions)
    return findings(trials, SQLITE, GOALS, f"{count:,} tasks at random instants of {span_s:g} s; the others a quarter.")


def findings(trials: Trials, ours: str, goals: dict[str, dict[str, Goal]], note: str) -> Findings:
    """Return how late the contenders were. Raises AssertionError where kokugen was early."""
    early = sum(trial["early"] for name, ones in trials.items() if name.startswith("kokugen") for trial in ones)
    if early:
        raise AssertionError(f"{early} tasks started before they were due")
    figures = [one for key in ("p50", "p99", "max") for one in _figures(trials, key, goals.get(key, {}))]
    told = overtaken(figures, ours, {"ms late, p50": False, "ms late, p99": False}, WHY)
    return Findings(
        figures=figures,
        notes=[f"{note} None of kokugen's started early.", *told],
        histograms={name: _histogram(ones) for name, ones in trials.items()},
    )


def _figures(trials: Trials, key: str, goals: dict[str, Goal]) -> list[Figure]:
    return [
        figure(name, f"ms late, {key}", [one[key] for one in ones], goals.get(name)) for name, ones in trials.items()
    ]


def _histogram(ones: Sequence[Values]) -> Bins:
    return bins([late for trial in ones for late in trial["late_ms"]])


def main(words: Sequence[str] | None = None) -> None:
    tell("lateness", ASKS, words, measure)


if __name__ == "__main__":
    main()
