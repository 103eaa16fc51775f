"""What do a thousand who wait for tasks ask of the store, and how soon do they hear of the ends?

They wait in one process, and the tasks run in another. First none of them ends, then one after the other.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Any

from benchmarks import databases
from benchmarks.answer import Findings, Scale, at_most, figure, series, tell
from benchmarks.measure import MINUTE_US, Contender, Trials, Values, interleave, percentile, wall_us
from benchmarks.nodes import nodes
from benchmarks.subject import Kokugen, url_of
from benchmarks.trials import Store, place_of
from kokugen import AsyncScheduler, TaskParam
from kokugen.clock import from_us, to_us

ASKS = "How many queries a second do 1,000 waits in one process make, and how late do they hear of an end in another?"
SIZES = {Scale.FULL: (1000, 5.0, 3), Scale.QUICK: (1000, 2.0, 1), Scale.TINY: (20, 0.3, 1)}
"""How many wait, how long they wait in vain, how often that is measured."""
APART_US = 5000
SQLITE, POSTGRES = "kokugen, SQLite", "kokugen, PostgreSQL"


def waiting(store: Store, count: int, idle_s: float) -> Values:
    """Wait for tasks that end one after the other, once all wait."""
    with place_of(store) as place, nodes("kokugen", place, 1) as (node,):
        ours = Kokugen(place)
        first_us = wall_us() + MINUTE_US
        params = [
            TaskParam(work_id="tell", scheduled_time=from_us(first_us), param=(first_us,), id=f"task-{number}")
            for number in range(count)
        ]
        ours.scheduler.schedule_many(params)
        node.start()
        node.wait()
        told = asyncio.run(_wait(ours, url_of(place), [str(param.id) for param in params], idle_s))
        node.stop()
        ours.close()
    return told


async def _wait(ours: Kokugen, url: str, ids: Sequence[str], idle_s: float) -> Values:
    scheduler = AsyncScheduler(url)
    waits = [asyncio.create_task(_late_ms(scheduler, task_id)) for task_id in ids]
    asked = _counted(scheduler.repository, "over", "get")
    await asyncio.sleep(1.0)  # the looks become as rare as they will be
    before, cpu_s = sum(asked.values()), time.process_time()
    await asyncio.sleep(idle_s)
    idle = (sum(asked.values()) - before) / idle_s, (time.process_time() - cpu_s) / idle_s
    start_us = wall_us() + 100_000
    for number, task_id in enumerate(ids):
        await asyncio.to_thread(ours.scheduler.reschedule, task_id, from_us(start_us + number * APART_US))
    late_ms = await asyncio.gather(*waits)
    await scheduler.close()
    return {
        "idle_queries": idle[0],
        "idle_cpu": 100 * idle[1],
        "p50": percentile(late_ms, 50),
        "p99": percentile(late_ms, 99),
    }


async def _late_ms(scheduler: AsyncScheduler, task_id: str) -> float:
    info = await scheduler.wait(task_id)
    assert info.finished_at is not None, "it is over"
    return (wall_us() - to_us(info.finished_at)) / 1000


def _counted(repository: Any, *names: str) -> dict[str, int]:
    """Count the calls of some of a repository's methods from now on."""
    counts = dict.fromkeys(names, 0)

    def counting(name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any) -> Any:
            counts[name] += 1
            return call(*arguments)

        return counted

    for name in names:
        setattr(repository, name, counting(name, getattr(repository, name)))
    return counts


def measure(scale: Scale) -> Findings:
    count, idle_s, repetitions = SIZES[scale]
    with databases.server() as server:
        contenders = [
            Contender(SQLITE, waiting, ("SQLite", count, idle_s)),
            Contender(POSTGRES, waiting, (server, count, idle_s)),
        ]
        trials: Trials = interleave("waiting", contenders, repetitions)
        version = databases.version(server)
    return Findings(
        figures=[
            *series(trials, "idle_queries", "queries/s while nothing ends", dict.fromkeys(trials, at_most(5.0))),
            *series(trials, "idle_cpu", "% of a core while nothing ends", dict.fromkeys(trials, at_most(3.0))),
            *series(trials, "p50", "ms from the end to who waits, p50", dict.fromkeys(trials, at_most(20.0))),
            *(
                figure(name, "ms from the end to who waits, p99", [one["p99"] for one in ones])
                for name, ones in trials.items()
            ),
        ],
        notes=[
            f"{count:,} coroutines wait in one process for as many tasks; another process runs them, one every"
            f" {APART_US // 1000} ms. {version} on the same machine."
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("waiting", ASKS, words, measure)


if __name__ == "__main__":
    main()
