"""Change when a task is scheduled, on its way to the store (the seed's mutators)."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import Any

from kokugen.clock import Clock, SystemClock, duration_us
from kokugen.errors import OptionError
from kokugen.middleware.base import Middleware, ScheduleNext, ScheduleRequest
from kokugen.reply import Reply
from kokugen.task import replace

Only = Callable[[ScheduleRequest], bool]


class RandomizeMiddleware(Middleware):
    """Moves the scheduled time by a random span, drawn evenly from `earliest` to `latest`; either may be negative.

    A time to come is never moved into the past, one that is past never further back. `only` chooses the tasks.
    """

    def __init__(
        self,
        earliest: timedelta,
        latest: timedelta,
        *,
        random: Random,
        clock: Clock | None = None,
        only: Only | None = None,
    ) -> None:
        if earliest > latest:
            raise OptionError(f"RandomizeMiddleware: earliest={earliest} is later than latest={latest}: swap them")
        self._span_us = (duration_us(earliest), duration_us(latest))
        self._random = random
        self._clock = clock or SystemClock()
        self._only = only

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if self._only is not None and not self._only(request):
            return call_next(request)
        asked_us = request.scheduled_time_us
        floor_us = min(asked_us, self._clock.wall_us())
        return call_next(_moved(request, max(floor_us, asked_us + self._random.randint(*self._span_us))))


class ScheduleAtNowMiddleware(Middleware):
    """Schedules tasks for now, whatever time was asked for; with `past_only` those alone whose time is past.

    `only` chooses the tasks.
    """

    def __init__(self, *, past_only: bool = False, clock: Clock | None = None, only: Only | None = None) -> None:
        self._past_only = past_only
        self._clock = clock or SystemClock()
        self._only = only

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        now_us = self._clock.wall_us()
        if (self._only is not None and not self._only(request)) or (
            self._past_only and request.scheduled_time_us >= now_us
        ):
            return call_next(request)
        return call_next(_moved(request, now_us))


def _moved(request: ScheduleRequest, when_us: int) -> ScheduleRequest:
    """Return the request at another instant; it is no longer the wall time of a zone that was asked for."""
    moved: ScheduleRequest = replace(request, scheduled_time_us=when_us, zone=None, local_time=None)
    return moved
