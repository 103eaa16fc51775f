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
COMMON = EXPRESSIONS[:3]
"""Those that the goal is for; the others come seldom, so that nobody waits for them."""
CROWDS: dict[str, Callable[[], Trigger]] = {
    "each second": lambda: Cron("* * * * * *", tz=ZONE),
    "each second of office hours": lambda: Cron("* * * * * *", tz=ZONE) & Weekly("mon-fri", tz=ZONE),
    "each second but one a minute": lambda: Cron("* * * * * *", tz=ZONE) - Cron("30 * * * * *", tz=ZONE),
    "each millisecond": lambda: Every(timedelta(milliseconds=1)),
}
COUNTS = "counts"
PEERS = tuple(name for name in ("cronsim", "croniter") if importlib.util.find_spec(name) is not None)


def nexts(library: str, count: int) -> Values:
    """Return how many microseconds a next time takes, by expression; slow ones are asked for less often."""
    walk = {"kokugen": by_kokugen, "cronsim": by_cronsim, "croniter": by_croniter}[library]
    return {one: walk(one, max(10, count // 100) if "29" in one else count) for one in EXPRESSIONS}


def by_kokugen(expression: str, count: int) -> float:
    """Walk a generation of times, twice: who asks for the next one has asked before."""
    trigger, end = Cron(expression, tz=ZONE), START + 30 * YEAR

    def following(at: datetime) -> datetime:
        found = trigger.next(at)
        return START if found is None or found > end else found

    _walked(following, count)
    return _walked(following, count)


def by_cronsim(expression: str, count: int) -> float:
    from cronsim import CronSim

    simulation = CronSim(expression, START.astimezone(ZoneInfo(ZONE)))
    return _walked(lambda _: next(simulation), count)


def by_croniter(expression: str, count: int) -> float:
    from croniter import croniter

    iterator = croniter(expression, START.astimezone(ZoneInfo(ZONE)))
    return _walked(lambda _: iterator.get_next(datetime), count)


def _walked(following: Callable[[datetime], datetime], count: int) -> float:
    at = following(START)
    with Stopwatch() as watch:
        for _ in range(count):
            at = following(at)
    return watch.cpu_s / count * 1e6


def counts() -> Values:
    """Return how many milliseconds counting a year takes a trigger that was never asked before, and what it counts."""
    return {name: _counted(make()) for name, make in CROWDS.items()}


def _counted(trigger: Trigger) -> tuple[float, int]:
    with Stopwatch() as watch:
        missed = trigger.count_between(START, START + YEAR)
    return watch.cpu_s * 1000, missed


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    few = max(10, count // 20)
    trials = interleave(
        "triggers",
        [
            Contender("kokugen", nexts, ("kokugen", count)),
            *(Contender(peer, nexts, (peer, few), 2) for peer in PEERS),
            Contender(COUNTS, counts),
        ],
        repetitions,
    )
    return Findings(
        figures=[*_nexts(trials), *_counts(trials[COUNTS])],
        notes=[
            f"In {ZONE}, each time asked for after the one before. Processor time of this process: what else the"
            " machine does meanwhile hardly matters. The goal of 3 µs is for expressions that come often.",
            "The peers keep their place, and cannot be asked about any time. They can only count by walking.",
        ],
    )


def _nexts(trials: Trials) -> list[Figure]:
    return [
        figure(
            f"{library}, `{expression}`",
            "µs a next time",
            [one[expression] for one in trials[library]],
            GOAL_US if library == "kokugen" and expression in COMMON else None,
        )
        for expression in EXPRESSIONS
        for library in ("kokugen", *PEERS)
    ]


def _counts(ones: list[Values]) -> list[Figure]:
    return [
        figure(f"kokugen, {name}: {ones[0][name][1]:,} in a year", "ms", [one[name][0] for one in ones], GOAL_MS)
        for name in CROWDS
    ]


def main(words: Sequence[str] | None = None) -> None:
    tell("triggers", ASKS, words, measure)


if __name__ == "__main__":
    main()
