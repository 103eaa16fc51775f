"""How long does a trigger take for its next time, and for deciding what was missed in a year?

Every schedule is asked for its next time at each occurrence; after an outage it is asked how many there were.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

from benchmarks.answer import Figure, Findings, Scale, at_most, figure, tell
from benchmarks.measure import Contender, Stopwatch, Trials, Values, interleave
from kokugen.recurrence import Cron, Every, Trigger, Weekly

ASKS = "How many microseconds does the next time of a cron expression take, and the count of a year of seconds?"
SIZES = {Scale.FULL: (20_000, 5), Scale.QUICK: (5_000, 3), Scale.TINY: (50, 1)}
EXPRESSIONS = ("* * * * *", "*/15 * * * *", "0 9 * * 1-5", "0 0 1 * *", "0 0 L * *", "30 2 * * *", "0 0 29 2 *")
ZONE = "Europe/Berlin"
START = datetime(2026, 1, 1, tzinfo=UTC)
YEAR = timedelta(days=365)
GOAL_US, GOAL_MS = at_most(3), at_most(1000)
COMMON = EXPRESSIONS[:4]
"""Those that the goal is for; the others come seldom, so that nobody waits for them."""
CROWDS: dict[str, Callable[[], Trigger]] = {
    "each second": lambda: Cron("* * * * * *", tz=ZONE),
    "each second of office hours": lambda: Cron("* * * * * *", tz=ZONE) & Weekly("mon-fri", tz=ZONE),
    "each second but one a minute": lambda: Cron("* * * * * *", tz=ZONE) - Cron("30 * * * * *", tz=ZONE),
    "each millisecond": lambda: Every(timedelta(milliseconds=1)),
}
PEERS = tuple(name for name in ("cronsim", "croniter") if importlib.util.find_spec(name) is not None)


def by_kokugen(expression: str, count: int) -> Values:
    """Walk a generation of times, twice: who asks for the next one has asked before."""
    trigger, end = Cron(expression, tz=ZONE), START + 30 * YEAR

    def following(at: datetime) -> datetime:
        found = trigger.next(at)
        return START if found is None or found > end else found

    _walked(following, count)
    return _walked(following, count)


def by_cronsim(expression: str, count: int) -> Values:
    from cronsim import CronSim

    simulation = CronSim(expression, START.astimezone(ZoneInfo(ZONE)))
    return _walked(lambda _: next(simulation), count)


def by_croniter(expression: str, count: int) -> Values:
    from croniter import croniter

    iterator = croniter(expression, START.astimezone(ZoneInfo(ZONE)))
    return _walked(lambda _: iterator.get_next(datetime), count)


def _walked(following: Callable[[datetime], datetime], count: int) -> Values:
    at = following(START)
    with Stopwatch() as watch:
        for _ in range(count):
            at = following(at)
    return {"us": watch.cpu_s / count * 1e6}


def counted(name: str) -> Values:
    """Count what there was in a year, by a trigger that was never asked before."""
    with Stopwatch() as watch:
        missed = CROWDS[name]().count_between(START, START + YEAR)
    return {"ms": watch.cpu_s * 1000, "missed": missed}


def contenders(count: int) -> list[Contender]:
    peers = {"cronsim": by_cronsim, "croniter": by_croniter}
    found = []
    for expression in EXPRESSIONS:
        few = max(10, count // (1000 if "29" in expression else 20))
        found.append(Contender(_named("kokugen", expression), by_kokugen, (expression, min(count, few * 20))))
        found += [Contender(_named(peer, expression), peers[peer], (expression, few), 2) for peer in PEERS]
    return found + [Contender(_crowd(name), counted, (name,)) for name in CROWDS]


def _named(library: str, expression: str) -> str:
    return f"{library}, `{expression}`"


def _crowd(name: str) -> str:
    return f"kokugen, {name} of a year"


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("triggers", contenders(count), repetitions)
    return Findings(
        figures=[*_nexts(trials), *_counts(trials)],
        notes=[
            f"In {ZONE}, each time asked for after the one before. Processor time of this process: what else the"
            " machine does meanwhile hardly matters. The goal of 3 µs is for expressions that come often.",
            "The peers keep their place, and cannot be asked about any time. They can only count by walking.",
        ],
    )


def _nexts(trials: Trials) -> list[Figure]:
    goals = {_named("kokugen", expression): GOAL_US for expression in COMMON}
    return [
        figure(name, "µs a next time", [one["us"] for one in ones], goals.get(name))
        for name, ones in trials.items()
        if "us" in ones[0]
    ]


def _counts(trials: Trials) -> list[Figure]:
    crowds = {name: ones for name, ones in trials.items() if "ms" in ones[0]}
    return [
        figure(f"{name}: {ones[0]['missed']:,} counted", "ms", [one["ms"] for one in ones], GOAL_MS)
        for name, ones in crowds.items()
    ]


def main(words: Sequence[str] | None = None) -> None:
    tell("triggers", ASKS, words, measure)


if __name__ == "__main__":
    main()
