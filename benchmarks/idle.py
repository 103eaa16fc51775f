"""What does a scheduler cost that has nothing to do?

Processor time is the process's own, so the trials run side by side: they do hardly anything.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

from benchmarks import databases
from benchmarks.answer import Findings, Scale, at_most, series, tell
from benchmarks.measure import DAY_US, Contender, Stopwatch, Values, together, wall_us
from benchmarks.subject import Kokugen, Place
from benchmarks.trials import Store, place_of

ASKS = "How much of one core does a running scheduler take with 100,000 tasks stored for later?"
SIZES = {Scale.FULL: (100_000, 62.0, 3), Scale.QUICK: (100_000, 11.0, 1), Scale.TINY: (100, 0.2, 1)}
GOAL = at_most(0.3)
SETTLE_S = 1.0
POSTGRES = "kokugen, PostgreSQL"


def idle(store: Store, waiting: int, span_s: float) -> Values:
    """Start a scheduler with tasks that are due tomorrow, and watch it do nothing."""
    with place_of(store) as place:
        scheduler = Kokugen(place)
        scheduler.fill("noop", waiting, wall_us() + DAY_US)
        scheduler.start()
        time.sleep(min(SETTLE_S, span_s))
        before = _statements(place)
        with Stopwatch() as watch:
            time.sleep(span_s)
        asked = _statements(place) - before
        scheduler.close()
    return {"share": 100 * watch.cpu_s / watch.wall_s, "statements": asked / watch.wall_s}


def _statements(place: Place) -> int:
    return databases.statements(place) if isinstance(place, str) else 0


def measure(scale: Scale) -> Findings:
    waiting, span_s, repetitions = SIZES[scale]
    with databases.server() as server:
        names = {"kokugen, SQLite": "SQLite", "kokugen, memory": "memory", POSTGRES: server}
        copies = [
            Contender(f"{name} #{copy}", idle, (store, waiting, span_s))
            for name, store in names.items()
            for copy in range(repetitions)
        ]
        found = together("idle", copies)
    trials = {
        name: [one for copy, ones in found.items() if copy.startswith(f"{name} #") for one in ones] for name in names
    }
    return Findings(
        figures=[
            *series(trials, "share", "% of one core", dict.fromkeys(names, GOAL)),
            *series({POSTGRES: trials[POSTGRES]}, "statements", "statements/s", {POSTGRES: at_most(5)}),
        ],
        notes=[
            f"{waiting:,} waiting tasks, {span_s:g} s after the start: a few beats, watches and polls, and in a full"
            " run one pass of pruning. The repetitions run at the same time."
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("idle", ASKS, words, measure)


if __name__ == "__main__":
    main()
