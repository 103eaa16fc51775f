"""Where work runs. The engine hands over runs in batches; a dispatcher starts each at its time and reports on it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Protocol

from msgspec import Struct

from kokugen.run import Run


class Ending(Enum):
    """How a run ended, before any policy (retry, attempts left) is applied."""

    RETURNED = "returned"
    RAISED = "raised"
    RETRY_AFTER = "retry after"
    SNOOZED = "snoozed"
    CANCELLED = "cancelled"
    """The work raised `Cancel`."""
    INTERRUPTED = "interrupted"
    """It was asked to stop (`run.interrupt` says why) and did, by raising."""
    UNDECODABLE = "undecodable"
    """Its stored arguments cannot be read by the work that is declared here; it was not called."""
    NOT_STARTED = "not started"
    """Its lease could no longer be trusted, or the dispatcher stopped; it was not called."""


class Outcome(Struct, frozen=True, kw_only=True):
    """What a dispatcher reports of a run, exactly once for each run that it began."""

    run: Run
    ending: Ending
    result: str | None = None
    """JSON text, for RETURNED."""
    error: BaseException | None = None
    text: str | None = None
    """The traceback or reason, for people, cut to its limit."""
    delay_us: int = 0
    """For RETRY_AFTER and SNOOZED."""
    due_us: int | None = None
    """For NOT_STARTED: when the task is due now; None leaves it."""


Deliver = Callable[[Outcome], object]


class Dispatcher(Protocol):
    """Runs work somewhere.

    A run is started at its `not_before_us`, never before, by the one who wins `run.begin()`; a run for which it is
    lost was dropped and is simply forgotten. What the work raises never escapes: it becomes an outcome.
    """

    @property
    def name(self) -> str:
        """Return what it is called in options and logs."""
        ...

    @property
    def capacity(self) -> int:
        """Return how many runs it can have under way at once."""
        ...

    @property
    def active(self) -> int:
        """Return how many are under way now."""
        ...

    def accepts(self, *, is_async: bool) -> bool:
        """Return whether it runs this kind of work."""
        ...

    def start(self, deliver: Deliver) -> None:
        """Begin. `deliver(outcome)` may be called from any thread, and never blocks."""
        ...

    def dispatch(self, runs: Sequence[Run]) -> None:
        """Take runs to be started; never blocks."""
        ...

    def resize(self, workers: int) -> None:
        """Change the capacity while running; runs under way are finished."""
        ...

    def stop(self) -> None:
        """Start nothing more, and let go of threads and loops as they come free; does not wait for work."""
        ...
