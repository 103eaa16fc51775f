"""How long does a schedule that missed 31,000,000 times take until each is accounted for, and the latest has run?

It was to come each second, and no scheduler ran for a year.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from datetime import timedelta

from benchmarks import databases, work
from benchmarks.answer import Findings, Scale, at_most, series, tell
from benchmarks.measure import DAY_US, Contender, Values, interleave, wall_us
from benchmarks.peers import INSTALLED
from benchmarks.recurring import Plan, Schedules, repeating
from benchmarks.trials import Kind, Store, place_of
from kokugen.clock import from_us
from kokugen.recurrence import Cron
from kokugen.schedules.policy import Policy

ASKS = "How many milliseconds does deciding about 31,000,000 missed times take, of which the latest then runs?"
SIZES = {Scale.FULL: (365, 5), Scale.QUICK: (365, 3), Scale.TINY: (1, 1)}
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
GRACE_US = 120_000_000
"""How long ago the last of the times was: what is less than a minute late simply runs."""
FEW = 100
"""For how many of kokugen's missed times a peer gets one: it walks them."""
ZONE = "Europe/Berlin"


def ours(store: Store, days: int) -> Values:
    """Start a scheduler after an outage of so many days, and wait until the latest time has run."""
    with place_of(store) as place:
        scheduler = Schedules(place)
        last_us = wall_us() - GRACE_US
        begin_us = last_us - days * DAY_US
        plan = Plan(Cron("* * * * * *", tz=ZONE), "noop", begin_us, Policy(end_us=last_us))
        scheduler.plan([plan])
        work.tally.expect(1)
        began_s = time.perf_counter()
        scheduler.start()
        work.tally.wait()
        took_s = time.perf_counter() - began_s
        ledger = scheduler.scheduler.occurrences("schedule-000000", from_us(begin_us), from_us(wall_us()))
        scheduler.close()
    accounted = sum(one.count or 0 for one in ledger)
    assert accounted == days * 86_400, f"{accounted} times of {days} days are accounted for"
    return {"ms": 1000 * took_s, "times": accounted}


def theirs(kind: Kind, store: Store, missed: int) -> Values:
    """The same of a peer: the first time of a schedule of seconds is that many seconds ago."""
    with place_of(store) as place:
        scheduler = repeating(kind, place)
        scheduler.repeat(work.mark, [(wall_us() - missed * 1_000_000, ())], timedelta(seconds=1))
        began_s = time.perf_counter()
        scheduler.start()
        while not work.marks:
            time.sleep(0.0005)
        took_s = time.perf_counter() - began_s
        scheduler.close()
    return {"ms": 1000 * took_s, "times": missed}


def measure(scale: Scale) -> Findings:
    days, repetitions = SIZES[scale]
    few = days * 86_400 // FEW
    peer = Contender(f"APScheduler 3, memory ({few:,} times)", theirs, ("APScheduler", "memory", few), 2)
    with databases.server() as server:
        mine = [Contender(SQLITE, ours, ("SQLite", days)), Contender(POSTGRES, ours, (server, days))]
        trials = interleave("schedules_missed", mine + ([peer] if INSTALLED else []), repetitions)
    return Findings(
        figures=series(trials, "ms", "ms to the start of the latest", dict.fromkeys((SQLITE, POSTGRES), at_most(1000))),
        notes=[
            f"{days * 86_400:,} times, each second of {days} days in {ZONE}, and all of them are in the ledger, from"
            " the start of the scheduler on. Celery beat sends what it missed once, and counts nothing.",
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("schedules_missed", ASKS, words, measure)


if __name__ == "__main__":
    main()
