"""What do 100,000 schedules cost that have nothing to do?

Half of them go by the clock of a zone, whose rules may change: those are looked at about once a day also when nothing
is due, and that is part of it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from random import Random

from benchmarks import databases
from benchmarks.answer import Findings, Scale, at_most, series, tell
from benchmarks.measure import DAY_US, Contender, Stopwatch, Values, fresh, interleave, memory_mb, wall_us
from benchmarks.recurring import SELDOM, Plan, Schedules, repeating
from benchmarks.subject import Place
from benchmarks.trials import Kind, Store, place_of
from benchmarks.work import noop
from kokugen.recurrence import Cron

ASKS = "How long does a start take with 100,000 schedules stored, and what do they cost while none is due?"
SIZES = {Scale.FULL: (100_000, 60.0, 3), Scale.QUICK: (100_000, 10.0, 1), Scale.TINY: (100, 0.2, 1)}
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
SETTLE_S = 2.0
SEED = 2026
FEW = 20
"""For how many of kokugen's schedules APScheduler's store gets one: it takes milliseconds for each."""


def ours(store: Store, count: int, span_s: float) -> Values:
    """Put schedules into a store, then start a scheduler in another process, and watch it do nothing."""
    with place_of(store) as place:
        fresh(prepare, place, count)
        return fresh(watched, "kokugen schedules", place, 0, span_s)


def theirs(kind: Kind, store: Store, count: int, span_s: float) -> Values:
    """Make schedules of a peer, start it in the same process, and watch it do nothing."""
    with place_of(store) as place:
        return watched(kind, place, count, span_s)


def prepare(place: Place, count: int) -> Values:
    """Make schedules of any minute of the year, within the last half day, when each was looked at."""
    scheduler = Schedules(place)
    scheduler.plan(_plans(count))
    scheduler.close()
    return {}


def _plans(count: int) -> Iterator[Plan]:
    chance = Random(SEED)
    now_us = wall_us()
    for number in range(count):
        expression = f"{chance.randrange(60)} {chance.randrange(24)} {1 + chance.randrange(28)} {1 + number % 12} *"
        trigger = Cron(expression, tz="Europe/Berlin" if number % 2 else "UTC")
        yield Plan(trigger, "noop", now_us - chance.randrange(DAY_US // 2))


def watched(kind: Kind, place: Place, count: int, span_s: float) -> Values:
    """Make some schedules that come in a year; start, and see what it takes and costs."""
    scheduler = repeating(kind, place)
    if count:
        next_year_us = wall_us() + 365 * DAY_US
        scheduler.repeat(noop, [(next_year_us + number, ()) for number in range(count)], SELDOM)
    began_s = time.perf_counter()
    scheduler.start()
    started_s = time.perf_counter() - began_s
    time.sleep(min(SETTLE_S, span_s))
    server_s = _server_s(place)
    with Stopwatch() as watch:
        time.sleep(span_s)
    server_s = _server_s(place) - server_s
    scheduler.close()
    return {
        "start_ms": 1000 * started_s,
        "share": 100 * watch.cpu_s / watch.wall_s,
        "server": 100 * server_s / watch.wall_s if isinstance(place, str) else None,
        "memory": memory_mb(),
    }


def _server_s(place: Place) -> float:
    return (databases.server_cpu_s(place) or 0.0) if isinstance(place, str) else 0.0


def contenders(server: str, count: int, span_s: float) -> list[Contender]:
    from benchmarks.peers import INSTALLED

    mine = [Contender(SQLITE, ours, ("SQLite", count, span_s)), Contender(POSTGRES, ours, (server, count, span_s))]
    few = max(5, count // FEW)
    peers = [
        Contender(f"APScheduler 3, SQLite ({few:,})", theirs, ("APScheduler", "SQLite", few, span_s), 1),
        Contender(f"APScheduler 3, memory ({count:,})", theirs, ("APScheduler", "memory", count, span_s), 1),
    ]
    return mine + (peers if INSTALLED else [])


def measure(scale: Scale) -> Findings:
    count, span_s, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("schedules_stored", contenders(server, count, span_s), repetitions)
    names = (SQLITE, POSTGRES)
    return Findings(
        figures=[
            *series(trials, "start_ms", "ms to start", dict.fromkeys(names, at_most(5000))),
            *series(trials, "share", "% of one core", dict.fromkeys(names, at_most(1))),
            *series(trials, "server", "% of one core, the server"),
            *series(trials, "memory", "MB at most"),
        ],
        notes=[
            f"{count:,} schedules that come once a year, half of them in UTC, half in Europe/Berlin; {span_s:g} s from"
            f" {SETTLE_S:g} s after the start on. Those of peers are made in the same process, and in its memory."
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("schedules_stored", ASKS, words, measure)


if __name__ == "__main__":
    main()
