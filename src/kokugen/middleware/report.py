"""Hands the errors of work to a service that collects them, such as Sentry."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from kokugen.errors import UndecodableError
from kokugen.middleware.base import Surround
from kokugen.run import Run, TaskControl

Report = Callable[[BaseException, Run], object]

logger = logging.getLogger(__name__)

UNREPORTED = (TaskControl, UndecodableError, asyncio.CancelledError, GeneratorExit)
"""How a run is steered, stopped or quarantined: no error of the work."""


class ReportMiddleware(Surround):
    """Calls `report(error, run)` where the work raised, while the error is being handled; it goes on as ever.

    With `last_only` the attempts that are tried again are not reported. What `report` raises is logged.
    """

    def __init__(self, report: Report, *, last_only: bool = False) -> None:
        self._report = report
        self._last_only = last_only

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        try:
            yield
        except UNREPORTED:
            raise
        except BaseException as error:
            if not self._last_only or run.attempt >= run.max_attempts:
                self._tell(error, run)
            raise

    def _tell(self, error: BaseException, run: Run) -> None:
        try:
            self._report(error, run)
        except Exception:
            logger.exception("an error of %r could not be reported", run)
