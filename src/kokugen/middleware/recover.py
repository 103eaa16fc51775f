"""Turns what work should not raise, such as SystemExit, into an ordinary error (the seed's recover middleware)."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kokugen.errors import RecoveredError, UndecodableError
from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Run, TaskControl

Handler = Callable[[Run, BaseException], Any]

PASSED_ON = (TaskControl, UndecodableError, asyncio.CancelledError, GeneratorExit)
"""How a run is steered, quarantined or stopped: to swallow these would break what kokugen promises."""


class RecoverMiddleware(Middleware):
    """Catches what is no `Exception`, or with `everything=True` any error, and raises RecoveredError in its place.

    With a `handler`, what `handler(run, error)` returns is the result of the work instead, and what it raises its
    error. For async work the handler may be async.
    """

    def __init__(self, handler: Handler | None = None, *, everything: bool = False) -> None:
        self._handler = handler or _raise
        self._everything = everything

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        try:
            return call_next(run)
        except BaseException as error:
            if self._passes_on(error):
                raise
            return self._handler(run, error)

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        try:
            return await call_next(run)
        except BaseException as error:
            if self._passes_on(error):
                raise
            answer = self._handler(run, error)
            return await answer if asyncio.iscoroutine(answer) else answer

    def _passes_on(self, error: BaseException) -> bool:
        return isinstance(error, PASSED_ON) or (isinstance(error, Exception) and not self._everything)


def _raise(_: Run, error: BaseException) -> Any:
    raise RecoveredError(error) from error
