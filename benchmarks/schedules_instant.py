"""How fast are the tasks of 10,000 schedules run that all come at one instant?

It is compared with 10,000 tasks that are due at one instant, without schedules.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import databases, work
from benchmarks.answer import Findings, Scale, at_least, overtaken, ratio, series, tell
from benchmarks.measure import Contender, Values, interleave, wall_us
from benchmarks.peers import INSTALLED, broker, installed
from benchmarks.recurring import MAKING_US, SELDOM, in_time, repeating
from benchmarks.schedules_lateness import PART
from benchmarks.subject import Subject
from benchmarks.trials import Kind, Store, place_of, subject

ASKS = "How many tasks a second are run of 10,000 schedules that come at one instant, from that instant on?"
SIZES = {Scale.FULL: (10_000, 5), Scale.QUICK: (2_000, 3), Scale.TINY: (20, 1)}
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
PLAIN = "{}, tasks without schedules"
WHY = "What is in memory alone, or only sent, needs no record that must be durable first."


def schedules(kind: Kind, store: Store, count: int) -> Values:
    """Make schedules that come at one instant, and run them."""

    def trial(lead_us: int) -> Values | None:
        with place_of(store) as place:
            scheduler = repeating(kind, place)
            due_us = wall_us() + lead_us + count * MAKING_US[kind]
            scheduler.repeat(work.noop, [(due_us, ())] * count, SELDOM)
            return _from_then_on(scheduler, due_us, count)

    return in_time(trial)


def tasks(store: Store, count: int) -> Values:
    """Add tasks that are due at one instant, and run them."""

    def trial(lead_us: int) -> Values | None:
        with place_of(store) as place:
            scheduler = subject("kokugen", place)
            due_us = wall_us() + lead_us + count * MAKING_US["kokugen"]
            scheduler.add_many(work.noop, [(due_us, ())] * count)
            return _from_then_on(scheduler, due_us, count)

    return in_time(trial)


def _from_then_on(scheduler: Subject, due_us: int, count: int) -> Values | None:
    work.tally.expect(count)
    scheduler.start()
    left_us = due_us - wall_us()
    if left_us <= 0:
        scheduler.close()
        return None
    time.sleep(left_us / 1e6)
    began_s = time.perf_counter()
    work.tally.wait()
    scheduler.settle()
    took_s = time.perf_counter() - began_s
    scheduler.close()
    work.tally.check()
    return {"rate": count / took_s}


def contenders(server: str, count: int) -> list[Contender]:
    """Return kokugen on both stores, and those peers that are installed, with fewer schedules."""
    few = max(5, count // PART)
    ours = [
        contender
        for name, store in ((SQLITE, "SQLite"), (POSTGRES, server))
        for contender in (
            Contender(name, schedules, ("kokugen schedules", store, count)),
            Contender(PLAIN.format(name), tasks, (store, count)),
        )
    ]
    theirs = [
        Contender(f"{name} ({few:,})", schedules, (kind, store, few), 1)
        for name, kind, store, is_here in (
            ("APScheduler 3, SQLite", "APScheduler", "SQLite", INSTALLED),
            ("APScheduler 3, memory", "APScheduler", "memory", INSTALLED),
            ("Celery beat, Redis", "Celery beat", "Redis", installed("celery", "redis") and broker() is not None),
        )
        if is_here
    ]
    return ours + theirs


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("schedules_instant", contenders(server, count), repetitions)
    figures = [
        *series(trials, "rate", "tasks/s"),
        *(ratio(trials, (name, PLAIN.format(name)), goal=at_least(90)) for name in (SQLITE, POSTGRES)),
    ]
    return Findings(
        figures=figures,
        notes=[
            f"{count:,} schedules, or as many tasks; the peers have {max(5, count // PART):,}.",
            *overtaken(figures, SQLITE, {"tasks/s": True}, WHY),
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("schedules_instant", ASKS, words, measure)


if __name__ == "__main__":
    main()
