"""Runs to dispatch, and somewhere for their outcomes to arrive."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import count
from pathlib import Path
from queue import Empty, SimpleQueue
from threading import Event
from typing import Any

from kokugen.clock import Clock, SystemClock
from kokugen.codec import encode_params
from kokugen.dispatcher.protocol import Dispatcher, Outcome
from kokugen.registry.work import make_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal
from kokugen.task import Params
from kokugen.testing.dispatching import works

PATIENCE_S = 100.0

Make = Callable[[int, Clock], Dispatcher]


class Outcomes:
    """Takes what a dispatcher delivers."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Outcome] = SimpleQueue()

    def __call__(self, outcome: Outcome) -> None:
        self._queue.put(outcome)

    def take(self, count: int = 1) -> list[Outcome]:
        """Return the next outcomes, once they are there."""
        return [self._queue.get(timeout=PATIENCE_S) for _ in range(count)]

    def one(self) -> Outcome:
        """Return the next outcome, once it is there."""
        return self.take(1)[0]

    def none_left(self) -> bool:
        """Return whether nothing was delivered beyond what was taken."""
        try:
            self._queue.get_nowait()
        except Empty:
            return True
        return False


class DispatchLab:
    """One kind of dispatcher, and work of the kind that it runs; what it makes is stopped in the end."""

    def __init__(self, make: Make, *, is_async: bool, folder: Path) -> None:
        self.folder = folder
        self.outcomes = Outcomes()
        self.stopping = Signal()
        self.made: list[Dispatcher] = []
        self._make = make
        self._is_async = is_async
        self._numbers = count(1)

    def dispatcher(self, workers: int = 2, clock: Clock | None = None) -> Dispatcher:
        """Return a new dispatcher, not started."""
        dispatcher = self._make(workers, clock or SystemClock())
        self.made.append(dispatcher)
        return dispatcher

    def started(self, workers: int = 2, clock: Clock | None = None) -> Dispatcher:
        """Return a new dispatcher that delivers to `outcomes`."""
        dispatcher = self.dispatcher(workers, clock)
        dispatcher.start(self.outcomes)
        return dispatcher

    def run(self, work: Callable[..., Any], *args: Any, **given: Any) -> Run:
        """Return a run of a function of `works`, in the form that this dispatcher takes."""
        work_id = work.__name__
        if self._is_async:
            work = getattr(works, f"{work.__name__}_async", None) or works.in_loop(work)
        number = next(self._numbers)
        usual: dict[str, Any] = {
            "work_id": work_id,
            "param": encode_params(Params(args, {})),
            "task_id": f"task-{self.folder.name}-{number}",
            "fence": number,
            "stopping": self.stopping,
        }
        return run_of(work, **(usual | given))

    def sent(self, dispatcher: Dispatcher, *runs: Run) -> list[Outcome]:
        """Return the outcomes of runs, in the order in which they were given."""
        dispatcher.dispatch(runs)
        told = {outcome.run: outcome for outcome in self.outcomes.take(len(runs))}
        return [told[run] for run in runs]

    def await_file(self, name: str) -> str:
        """Wait until a run has written this file; return what it holds."""
        pause = Event()
        for _ in range(works.TRIES):
            if (path := self.folder / name).exists():
                return path.read_text(encoding="ascii")
            pause.wait(0.01)
        raise AssertionError(f"no run wrote {name} within a minute")

    def close(self) -> None:
        """Stop what was made."""
        self.stopping.set("stopped")
        for dispatcher in self.made:
            dispatcher.stop()


def run_of(
    fn: Callable[..., Any],
    *,
    param: str = "{}",
    not_before_us: int = 0,
    trusted_until_s: float = float("inf"),
    due_at: int = 0,
    timeout_us: int | None = None,
    work_id: str = "work",
    task_id: str = "task",
    fence: int = 1,
    attempt: int = 1,
    lost: int = 0,
    stopping: Signal | None = None,
    start_before_us: int | None = None,
    tags: Sequence[str] = (),
    options: str | None = None,
) -> Run:
    """Return a run of `fn` that is due, unless told otherwise."""
    task = Claimed(
        id=task_id,
        work_id=work_id,
        param=param,
        queue="default",
        mode=0,
        scheduled_time=due_at,
        due_at=due_at,
        attempt=attempt,
        max_attempts=1,
        lost=lost,
        max_lost=3,
        fence=fence,
        tags=encode_tags(tags),
        options=options,
    )
    run = Run(
        task,
        f"claim-{fence}",
        make_work("work", fn),
        stopping=Signal() if stopping is None else stopping,
        trusted_until_s=trusted_until_s,
        not_before_us=not_before_us,
    )
    run.timeout_us, run.start_before_us = timeout_us, start_before_us
    return run


def encode_tags(tags: Sequence[str]) -> str | None:
    """Return tags as they are stored."""
    return None if not tags else "[" + ",".join(f'"{tag}"' for tag in tags) + "]"
