"""What do limits cost those who have some, and what do those who wait for one cost the others?

A drain without limits is compared with drains through a limit of the queue and through that of each key, and with one
beside a key that is taken, for which 100,000 tasks wait. Limits of 2,000 hold nothing up, and so show what it costs to
keep them; with those of 100 no commit carries more tasks than that, and each waits for the one before.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import cycle, islice, repeat

from msgspec import structs

from benchmarks import bare, databases, work
from benchmarks.answer import Figure, Findings, Scale, at_least, ratio, series, tell
from benchmarks.measure import MINUTE_US, Contender, Trials, Values, interleave, wall_us
from benchmarks.subject import Kokugen
from benchmarks.trials import Store, place_of, run_all
from kokugen.repository.limit_rows import QUEUE, LimitRule
from kokugen.repository.protocol import LimitRepository
from kokugen.task import QUEUE_DEFAULT

ASKS = "How many due tasks a second are run within limits, and beside 100,000 that wait for one?"
SIZES = {Scale.FULL: (20_000, 100_000, 5), Scale.QUICK: (5_000, 20_000, 3), Scale.TINY: (100, 200, 1)}
ROOMY, NARROW = 2_000, 100
SQLITE, POSTGRES = "SQLite", "PostgreSQL"
PLAIN, QUEUED, KEYED = "{}, no limit", "{}, {:,} of the queue at once", "{}, {:,} keys, one of each at once"
BESIDE = "{}, no limit, beside a key that is taken"
NOT_SLOWED, CHEAP = at_least(83), at_least(75)


def plain(store: Store, count: int) -> Values:
    return drain(store, keys=[None] * count)


def queued(store: Store, count: int, most: int) -> Values:
    return drain(store, keys=[None] * count, at_once=most)


def keyed(store: Store, count: int, keys: int) -> Values:
    return drain(store, keys=list(islice(cycle(f"key-{number}" for number in range(keys)), count)))


def beside(store: Store, count: int, waiting: int) -> Values:
    return drain(store, keys=[None] * count, waiting=waiting)


def drain(store: Store, *, keys: Sequence[str | None], at_once: int | None = None, waiting: int = 0) -> Values:
    """Run due tasks with these keys, beside so many that wait for a key."""
    with place_of(store) as place:
        subject = Kokugen(place)
        subject.scheduler.open()
        if at_once is not None:
            rule = LimitRule(name=QUEUE + QUEUE_DEFAULT, at_once=at_once)
            repository = subject.scheduler.repository
            assert isinstance(repository, LimitRepository)
            repository.declare_limits([rule.name], [rule]).result()
        # The work is known nowhere: the first of them has the place of its key, and keeps it.
        fill(subject, "elsewhere", list(repeat("taken", waiting)))
        fill(subject, work.noop.__name__, keys)
        subject.scheduler.repository.close()  # empties the write-ahead log of what was put in; it opens again by itself
        if isinstance(place, str):
            databases.settle(place)
        return run_all(subject, len(keys))


def fill(subject: Kokugen, work_id: str, keys: Sequence[str | None]) -> None:
    """Add tasks that are due, one of each key."""
    rows = bare.new_tasks(len(keys), work_id, wall_us() - MINUTE_US)
    keyed_rows = [structs.replace(row, limit_key=key) for row, key in zip(rows, keys, strict=True)]
    bare.fill_repository(subject.scheduler.repository, keyed_rows)


def contenders(name: str, store: Store, count: int, waiting: int) -> list[Contender]:
    return [
        Contender(PLAIN.format(name), plain, (store, count)),
        Contender(BESIDE.format(name), beside, (store, count, waiting)),
        *(Contender(QUEUED.format(name, most), queued, (store, count, most)) for most in (ROOMY, NARROW)),
        *(Contender(KEYED.format(name, keys), keyed, (store, count, keys)) for keys in (ROOMY, NARROW)),
    ]


def costs(trials: Trials, name: str) -> list[Figure]:
    """Return what limits cost who has some; what narrow ones hold up is no cost of keeping them, and has no goal."""
    return [
        ratio(trials, (kind.format(name, most), PLAIN.format(name)), goal=CHEAP if most == ROOMY else None)
        for kind in (QUEUED, KEYED)
        for most in (ROOMY, NARROW)
    ]


def measure(scale: Scale) -> Findings:
    count, waiting, repetitions = SIZES[scale]
    with databases.server() as server:
        stores = {SQLITE: "SQLite", POSTGRES: server}
        ones = [one for name, store in stores.items() for one in contenders(name, store, count, waiting)]
        trials = interleave("limits_drain", ones, repetitions)
    return Findings(
        figures=[
            *series(trials, "rate", "tasks/s"),
            *(ratio(trials, (BESIDE.format(name), PLAIN.format(name)), goal=NOT_SLOWED) for name in stores),
            *(one for name in stores for one in costs(trials, name)),
            *series(trials, "cpu_us", "µs of CPU a task"),
        ],
        notes=[f"{count:,} due tasks on threads; {waiting:,} wait for the key that is taken."],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("limits_drain", ASKS, words, measure)


if __name__ == "__main__":
    main()
