"""Lets you watch what is scheduled and how each run ends, and change nothing (the seed's observe middleware)."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Any

from kokugen.middleware.base import Middleware, ScheduleNext, ScheduleRequest, WorkNext
from kokugen.reply import Reply
from kokugen.run import Run

OnSchedule = Callable[[ScheduleRequest], object]
OnResult = Callable[[Run, Any, BaseException | None], object]

logger = logging.getLogger(__name__)


class ObserveMiddleware(Middleware):
    """Calls `on_schedule(request)` before a task is accepted, and `on_result(run, result, error)` after each call.

    `on_schedule` runs in the caller's thread, `on_result` where the work ran; neither may block. What they raise is
    logged and changes nothing.
    """

    def __init__(self, on_schedule: OnSchedule | None = None, on_result: OnResult | None = None) -> None:
        self._on_schedule = on_schedule
        self._on_result = on_result

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if self._on_schedule is not None:
            _show(self._on_schedule, request)
        return call_next(request)

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        try:
            result = call_next(run)
        except BaseException as error:
            self._saw(run, None, error)
            raise
        self._saw(run, result, None)
        return result

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        try:
            result = await call_next(run)
        except BaseException as error:
            self._saw(run, None, error)
            raise
        self._saw(run, result, None)
        return result

    def _saw(self, run: Run, result: Any, error: BaseException | None) -> None:
        if self._on_result is not None:
            _show(self._on_result, run, result, error)


def _show(observer: Callable[..., object], *seen: Any) -> None:
    try:
        observer(*seen)
    except Exception:
        logger.exception("an observer raised; what it watched goes on")
