"""Runs to dispatch, and somewhere for their outcomes to arrive."""

from __future__ import annotations

from collections.abc import Callable
from queue import Empty, SimpleQueue
from typing import Any

from kokugen.dispatcher.protocol import Outcome
from kokugen.registry.work import make_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal

PATIENCE_S = 30.0


def run_of(
    fn: Callable[..., Any],
    *,
    param: str = "{}",
    not_before_us: int = 0,
    trusted_until_s: float = float("inf"),
    due_at: int = 0,
    timeout_us: int | None = None,
    work_id: str = "work",
    options: str | None = None,
) -> Run:
    """A run of `fn` that is due, unless told otherwise."""
    task = Claimed(
        id="task",
        work_id=work_id,
        param=param,
        queue="default",
        mode=0,
        scheduled_time=due_at,
        due_at=due_at,
        attempt=1,
        max_attempts=1,
        lost=0,
        max_lost=3,
        fence=1,
        tags=None,
        options=options,
    )
    run = Run(
        task,
        "claim",
        make_work("work", fn),
        stopping=Signal(),
        trusted_until_s=trusted_until_s,
        not_before_us=not_before_us,
    )
    run.timeout_us = timeout_us
    return run


class Outcomes:
    """Takes what a dispatcher delivers."""

    def __init__(self) -> None:
        self._queue: SimpleQueue[Outcome] = SimpleQueue()

    def __call__(self, outcome: Outcome) -> None:
        self._queue.put(outcome)

    def take(self, count: int = 1) -> list[Outcome]:
        """The next outcomes, once they are there."""
        return [self._queue.get(timeout=PATIENCE_S) for _ in range(count)]

    def one(self) -> Outcome:
        return self.take(1)[0]

    def none_left(self) -> bool:
        try:
            self._queue.get_nowait()
        except Empty:
            return True
        return False
