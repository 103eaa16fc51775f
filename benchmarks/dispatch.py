"""What does a dispatcher cost? No store and no engine: runs that are due are handed over, and their outcomes awaited.

Threads and the event loop share the process with whoever hands over. Processes, Dask and Celery are another process
away, whose time is not the node's.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from queue import SimpleQueue
from typing import Any

from benchmarks import engines, work
from benchmarks.answer import Findings, Scale, at_most, series, tell
from benchmarks.measure import Contender, Stopwatch, Values, interleave
from kokugen.clock import SystemClock
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.processes import Processes
from kokugen.dispatcher.protocol import Dispatcher, Ending, Outcome
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.registry.work import make_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal

ASKS = "How much processor time of the node does a dispatcher take for a run that does nothing, and how many a second?"
SIZES = {Scale.FULL: (20_000, 5), Scale.QUICK: (4_000, 3), Scale.TINY: (16, 1)}
FEWER = 20
"""How many times fewer runs go to another process."""
WORKERS = 4
ENGINE_TIME = at_most(25)

THREADS, LOOP, PROCESSES, DASK, CELERY = "threads", "event loop", "processes", "Dask", "Celery over Valkey"
Make = Callable[[Any], Dispatcher]


def threads(_: Any) -> Dispatcher:
    return ThreadDispatcher(WORKERS, clock=SystemClock())


def loop(_: Any) -> Dispatcher:
    return LoopDispatcher(WORKERS, clock=SystemClock())


def processes(_: Any) -> Dispatcher:
    return Processes(workers=2).dispatcher(clock=SystemClock())


def nowhere() -> AbstractContextManager[None]:
    return nullcontext()


def dispatched(make: Make, engine: Callable[[], AbstractContextManager[Any]], is_async: bool, count: int) -> Values:
    """Dispatch so many runs at once, after a few that find everything started."""
    signal, ended = Signal(), SimpleQueue[Outcome]()

    def timed(numbers: range) -> Stopwatch:
        runs = [a_run(number, signal, is_async=is_async) for number in numbers]
        with Stopwatch() as watch:
            dispatcher.dispatch(runs)
            endings = [ended.get().ending for _ in runs]
        assert set(endings) == {Ending.RETURNED}, endings
        return watch

    with engine() as where:
        dispatcher = make(where)
        dispatcher.start(ended.put)
        timed(range(8))
        watch = timed(range(8, 8 + count))
        dispatcher.stop()
    return watch.per_task(count)


def a_run(number: int, signal: Signal, *, is_async: bool) -> Run:
    task = Claimed(
        id=f"task-{number}",
        work_id="noop",
        param="{}",
        queue="default",
        mode=0,
        scheduled_time=0,
        due_at=0,
        attempt=1,
        max_attempts=1,
        lost=0,
        max_lost=3,
        fence=1,
        tags=None,
        options=None,
    )
    fn = work.noop_async if is_async else work.noop
    return Run(task, "claim", make_work("noop", fn), stopping=signal, trusted_until_s=float("inf"), not_before_us=0)


def contenders(count: int) -> list[Contender]:
    few = max(8, count // FEWER)
    return [
        Contender(THREADS, dispatched, (threads, nowhere, False, count)),
        Contender(LOOP, dispatched, (loop, nowhere, True, count)),
        Contender(PROCESSES, dispatched, (processes, nowhere, False, few)),
        Contender(DASK, dispatched, (engines.dask_dispatcher, engines.dask, False, few), 2, optional=True),
        Contender(CELERY, dispatched, (engines.celery_dispatcher, engines.celery, False, few), 2, optional=True),
    ]


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    trials = interleave("dispatch", contenders(count), repetitions)
    return Findings(
        figures=[
            *series(trials, "cpu_us", "µs of the node's CPU a run", {THREADS: ENGINE_TIME, LOOP: ENGINE_TIME}),
            *series(trials, "rate", "runs/s"),
        ],
        notes=[f"{count:,} runs on threads and the event loop, {max(8, count // FEWER):,} in other processes."],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("dispatch", ASKS, words, measure)


if __name__ == "__main__":
    main()
