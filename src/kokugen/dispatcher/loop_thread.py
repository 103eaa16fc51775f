"""An event loop in a background thread, for async code of users who have no loop of their own running."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from threading import Lock, Thread
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """Starts its thread, a daemon, at the first use. After `stop` the next use starts another one."""

    def __init__(self, name: str = "kokugen-loop") -> None:
        self._name = name
        self._lock = Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end: asyncio.Event | None = None

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """Return the loop, running."""
        with self._lock:
            if self._loop is None:
                started: Future[asyncio.AbstractEventLoop] = Future()
                Thread(target=self._serve, args=(started,), name=self._name, daemon=True).start()
                self._loop = started.result()
            return self._loop

    def run(self, work: Coroutine[Any, Any, T]) -> Future[T]:
        """Run a coroutine there; `result()` of the answer waits for it."""
        return asyncio.run_coroutine_threadsafe(work, self.loop)

    def stop(self) -> None:
        """End the loop: what still runs there is cancelled, then the loop is closed. Does not wait for it."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None and self._end is not None:
                loop.call_soon_threadsafe(self._end.set)

    def _serve(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        with asyncio.Runner() as runner:
            runner.run(self._until_stopped(started))

    async def _until_stopped(self, started: Future[asyncio.AbstractEventLoop]) -> None:
        end = self._end = asyncio.Event()
        started.set_result(asyncio.get_running_loop())
        await end.wait()
