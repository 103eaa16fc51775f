"""Sync and async work called through one middleware, as a dispatcher would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from kokugen.clock import Clock
from kokugen.dispatcher.call import call_async, call_sync, call_work
from kokugen.dispatcher.protocol import Outcome
from kokugen.middleware.base import Middleware, ScheduleRequest, schedule_chain, work_chain
from kokugen.reply import Reply
from kokugen.testing import ManualClock
from kokugen.testing.dispatching.lab import run_of


def call(middleware: Middleware, fn: Callable[..., Any], clock: Clock | None = None, **about: Any) -> Outcome:
    """The outcome of a run of `fn`, sync or async."""
    run, clock = run_of(fn, **about), clock or ManualClock()
    chain = work_chain([middleware], call_work, is_async=run.is_async)
    return asyncio.run(call_async(run, chain, clock)) if run.is_async else call_sync(run, chain, clock)


def both(fn: Callable[..., Any]) -> tuple[Callable[..., Any], Callable[..., Any]]:
    """A function, and the same as async work."""

    async def work(*args: Any) -> Any:
        return fn(*args)

    return fn, work


def scheduled(middleware: Middleware, request: ScheduleRequest) -> ScheduleRequest:
    """The request as it arrives behind the middleware."""
    arrived: ScheduleRequest = schedule_chain([middleware], Reply.of)(request).result()
    return arrived
