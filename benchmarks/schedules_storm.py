"""How fast are the missed times of schedules caught up with after an outage?

Everything is due at once. It is compared with as many tasks that wait in the store already, and with as many that are
added while others run, since what schedules make has to be added as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from itertools import repeat

from benchmarks import databases, work
from benchmarks.answer import Findings, Scale, at_most, overtaken, ratio, series, tell
from benchmarks.measure import DAY_US, MINUTE_US, Contender, Stopwatch, Values, interleave, wall_us
from benchmarks.peers import INSTALLED, broker, installed
from benchmarks.recurring import Plan, Schedules, repeating
from benchmarks.subject import Kokugen
from benchmarks.trials import Kind, Store, drain, place_of, run_all
from kokugen.clock import from_us
from kokugen.recurrence.interval import Every
from kokugen.repository.schedule_rows import Overlap
from kokugen.schedules.policy import Catchup, Policy

ASKS = "How many tasks a second are run while schedules catch up with an outage, and is a limited rate kept?"
SIZES = {Scale.FULL: (100_000, 3, 10), Scale.QUICK: (20_000, 1, 5), Scale.TINY: (200, 1, 1)}
OUTAGE = timedelta(hours=20)
LATEST_OF = 100
"""How many times each schedule missed of which the latest runs."""
ALL_OF = 1000
"""How many times each schedule missed that catches up with all of them."""
RATE, RATED = 100.0, 10
"""The tasks a second that a schedule is limited to, and how many schedules are."""
LATEST, ALL, LIMITED = "{}, the latest of each", "{}, all of a few", "{}, all at a limited rate"
WAITING, ADDED = "{}, tasks that wait already", "{}, tasks added meanwhile"
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"
WHY = "It takes what is due out of its store, or sends it, without a record of what became of it."


def latest(kind: Kind, store: Store, count: int) -> Values:
    """Catch up with the latest time of each of many schedules."""
    with place_of(store) as place:
        scheduler = repeating(kind, place)
        period = OUTAGE / LATEST_OF
        first_us = wall_us() - (OUTAGE + period / 2) // timedelta(microseconds=1)  # so that nothing comes meanwhile
        scheduler.repeat(work.noop, [(first_us, ())] * count, period)
        return run_all(scheduler, count)


def everything(store: Store, count: int) -> Values:
    """Catch up with all times of a few schedules, whose runs may overlap."""
    each = min(ALL_OF, count)
    return _all_of(store, count // each, each, Policy(catchup=Catchup.ALL))


def limited(store: Store, seconds: int) -> Values:
    """Catch up with all times at a limited rate; return how much of it was used."""
    values = _all_of(store, RATED, round(RATE * seconds), Policy(catchup=Catchup.ALL, rate=RATE))
    return {"used": 100 * values["rate"] / (RATE * RATED)}


def _all_of(store: Store, schedules: int, missed: int, policy: Policy) -> Values:
    period = OUTAGE / missed
    begin_us = wall_us() - 2 * MINUTE_US - OUTAGE // timedelta(microseconds=1)
    end_us = begin_us + missed * (period // timedelta(microseconds=1)) - 1  # so that nothing comes meanwhile
    ended = Policy(catchup=policy.catchup, rate=policy.rate, end_us=end_us)
    plan = Plan(Every(period, start=from_us(begin_us)), "noop", begin_us - 1, ended, Overlap.ALLOW)
    with place_of(store) as place:
        scheduler = Schedules(place)
        scheduler.plan(repeat(plan, schedules))
        return run_all(scheduler, schedules * missed)


def added(store: Store, count: int) -> Values:
    """Add tasks that are due to a scheduler that runs, in the quickest way, until the last is over."""
    with place_of(store) as place:
        scheduler = Kokugen(place)
        scheduler.add(work.noop, wall_us() + DAY_US)  # opens the store
        scheduler.start()
        past_us = wall_us() - MINUTE_US
        work.tally.expect(count)
        with Stopwatch() as watch:
            scheduler.add_many(work.noop, [(past_us + number, ()) for number in range(count)])
            work.tally.wait()
            scheduler.settle()
        scheduler.close()
        work.tally.check()
        return watch.per_task(count)


def contenders(server: str, count: int, seconds: int) -> list[Contender]:
    """Return kokugen on both stores, and those peers that are installed, with a part of the schedules."""
    mine = [
        contender
        for name, store in ((SQLITE, "SQLite"), (POSTGRES, server))
        for contender in (
            Contender(LATEST.format(name), latest, ("kokugen schedules", store, count)),
            Contender(WAITING.format(name), drain, ("kokugen", store, count)),
            Contender(ALL.format(name), everything, (store, count)),
            Contender(ADDED.format(name), added, (store, count)),
            Contender(LIMITED.format(name), limited, (store, seconds)),
        )
    ]
    few = max(20, count // 50)
    theirs = [
        Contender(LATEST.format(f"{name} ({few:,})"), latest, (kind, store, few), 1)
        for name, kind, store, is_here in (
            ("APScheduler 3, SQLite", "APScheduler", "SQLite", INSTALLED),
            ("APScheduler 3, memory", "APScheduler", "memory", INSTALLED),
            ("Celery beat, Redis", "Celery beat", "Redis", installed("celery", "redis") and broker() is not None),
        )
        if is_here
    ]
    return mine + theirs


def measure(scale: Scale) -> Findings:
    count, repetitions, seconds = SIZES[scale]
    with databases.server() as server:
        trials = interleave("schedules_storm", contenders(server, count, seconds), repetitions)
    figures = series(trials, "rate", "tasks/s")
    for name in (SQLITE, POSTGRES):
        for kind in (LATEST, ALL):
            figures += [ratio(trials, (kind.format(name), one.format(name))) for one in (WAITING, ADDED)]
    used = {LIMITED.format(name): at_most(100) for name in (SQLITE, POSTGRES)}
    return Findings(
        figures=[
            *figures,
            *series(trials, "cpu_us", "µs of CPU a task"),
            *series(trials, "used", "% of the rate that is allowed", used),
        ],
        notes=[
            f"{count:,} tasks: the latest of {LATEST_OF} times that {count:,} schedules missed, or {ALL_OF:,} times of"
            f" each of a few; at a limited rate {RATED} schedules with {RATE:g} tasks a second each, for {seconds} s.",
            *overtaken(figures, LATEST.format(SQLITE), {"tasks/s": True}, WHY),
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("schedules_storm", ASKS, words, measure)


if __name__ == "__main__":
    main()
