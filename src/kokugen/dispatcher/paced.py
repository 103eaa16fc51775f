"""What the built-in dispatchers share: runs wait for their time with a pacer, and every run that is begun is reported.

A dispatcher inherits this and says in `_post` how runs that are due get to where they run.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Iterable, Sequence
from functools import partial

from kokugen.clock import Clock
from kokugen.dispatcher.call import not_started
from kokugen.dispatcher.pacer import Cancellable, Pacing
from kokugen.dispatcher.protocol import Deliver, Outcome
from kokugen.errors import OptionError, SchedulerStateError
from kokugen.run import Interrupt, Run

WORKERS_MAX = 100_000
STOPPED = "the dispatcher stopped"

logger = logging.getLogger(__name__)


def checked_workers(workers: int) -> int:
    """Return a number of workers; zero is none for now. Raises OptionError."""
    if not isinstance(workers, int) or not 0 <= workers <= WORKERS_MAX:
        raise OptionError(f"workers={workers!r}: use a whole number from 0 to {WORKERS_MAX:,}")
    return workers


class PacedDispatcher(ABC):
    """The half of a dispatcher that does not care where work runs."""

    def __init__(self, workers: int, *, clock: Clock, pacer: Pacing) -> None:
        self._capacity = checked_workers(workers)
        self._clock = clock
        self._pacer = pacer
        self._deliver: Deliver | None = None
        self._stopped = False

    @abstractmethod
    def _post(self, runs: Sequence[Run]) -> None:
        """Take runs that are due. Any thread may call; it never blocks. Refuse them where all has stopped."""

    @property
    def capacity(self) -> int:
        return self._capacity

    def start(self, deliver: Deliver) -> None:
        self._deliver = deliver

    def dispatch(self, runs: Sequence[Run]) -> None:
        if self._deliver is None:
            raise SchedulerStateError("dispatch() before start(deliver): nobody would hear how the runs ended")
        now_us = self._clock.wall_us()
        later = [(run.not_before_us, run) for run in runs if run.not_before_us > now_us]
        if later:
            self._pacer.at_many(later, self._post)
        if len(later) < len(runs):
            self._post([run for run in runs if run.not_before_us <= now_us] if later else runs)

    def stop(self) -> None:
        self._stopped = True
        self._refuse(self._pacer.withdraw(self._post), STOPPED)
        self._pacer.stop()

    def _limit(self, run: Run) -> Cancellable | None:
        """Have a run that may only take so long asked to stop after that."""
        if run.timeout_us is None:
            return None
        return self._pacer.after(run.timeout_us, partial(run.ask_to_stop, Interrupt.TIMEOUT))

    def _refuse(self, runs: Iterable[Run], reason: str) -> None:
        for run in runs:
            if run.begin():
                self._report(not_started(run, reason))

    def _report(self, outcome: Outcome) -> None:
        assert self._deliver is not None, "dispatch() saw to it"
        try:
            self._deliver(outcome)
        except Exception:
            logger.exception("the outcome of %r could not be delivered", outcome.run)
