"""The lifespan of an ASGI application, such as FastAPI's and Starlette's: with it the scheduler starts and stops."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from typing import Any

from kokugen.async_scheduler import AsyncScheduler
from kokugen.scheduler import Scheduler

Lifespan = Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any]]]


def lifespan(
    scheduler: AsyncScheduler | Scheduler,
    *,
    run: bool = True,
    inside: Callable[[Any], AbstractAsyncContextManager[Mapping[str, Any] | None]] | None = None,
) -> Lifespan:
    """Return a lifespan: `FastAPI(lifespan=lifespan(scheduler))`. Handlers find it as `request.state.kokugen`.

    The scheduler runs work while the application is up; with `run=False` its store is open, and workers elsewhere run
    it. Async work of an `AsyncScheduler` runs on the server's loop. `inside` is a lifespan of the application's own,
    which is entered once the scheduler is started.
    """

    @asynccontextmanager
    async def entered(app: Any) -> AsyncIterator[Mapping[str, Any]]:
        async with AsyncExitStack() as stack:
            stack.push_async_callback(_close, scheduler)
            await _begin(scheduler, run=run)
            state = None if inside is None else await stack.enter_async_context(inside(app))
            yield {**(state or {}), "kokugen": scheduler}

    return entered


async def _begin(scheduler: AsyncScheduler | Scheduler, *, run: bool) -> None:
    if isinstance(scheduler, AsyncScheduler):
        await (scheduler.start() if run else scheduler.open())
    else:
        await asyncio.to_thread(scheduler.start if run else scheduler.open)


async def _close(scheduler: AsyncScheduler | Scheduler) -> None:
    if isinstance(scheduler, AsyncScheduler):
        await scheduler.close()
    else:
        await asyncio.to_thread(scheduler.close)
