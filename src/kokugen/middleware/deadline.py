"""Refuses to start work too late (the seed's deadline middleware)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from typing import Any

from kokugen.clock import duration_us, from_us
from kokugen.errors import DeadlineExceededError, OptionError
from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Run


class DeadlineMiddleware(Middleware):
    """Fails a run with DeadlineExceededError that starts later than `within` after it was due; `skip` exempts some.

    The attempt counts: with a retry, the next one is due anew. A task whose `start_within` option is past becomes
    Cancelled in the store instead, before it is claimed; this is for a rule over many works.
    """

    def __init__(self, within: timedelta, *, skip: Callable[[Run], bool] | None = None) -> None:
        if not isinstance(within, timedelta) or within < timedelta(0):
            raise OptionError(f"DeadlineMiddleware(within={within!r}): use a timedelta of zero or more")
        self._within = within
        self._within_us = duration_us(within)
        self._skip = skip

    def work(self, run: Run, call_next: WorkNext) -> Any:
        late = run.started_us - run.task.due_at > self._within_us
        if late and not (self._skip is not None and self._skip(run)):
            raise DeadlineExceededError(run.due_at, from_us(run.started_us), self._within)
        return call_next(run)
