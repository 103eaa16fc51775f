"""What runs say of their progress, on its way to the store: the latest of each, at most one statement a second.

Work says it in its own thread, as often as it likes (`Run.progress`); nothing waits for it, and a store that does not
answer loses it.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import suppress
from threading import Lock

from kokugen.clock import Clock
from kokugen.errors import KokugenError
from kokugen.repository.rows import Report
from kokugen.run import Run
from kokugen.task import stored_progress
from kokugen.task_storage.leasing import LeasedTasks

PERIOD_S = 1.0

logger = logging.getLogger("kokugen")


class Reports:
    """The reports of one engine's runs. `say` is for any thread, `run` for the engine's loop."""

    def __init__(self, storage: LeasedTasks, clock: Clock) -> None:
        self._storage = storage
        self._clock = clock
        self._news = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._said: dict[Run, None] = {}
        self._lock = Lock()

    def say(self, run: Run) -> None:
        """Take note that a run has said something new."""
        with self._lock:
            first = not self._said
            self._said[run] = None
        if first and self._loop is not None:
            with suppress(RuntimeError):  # the loop was closed: nobody writes it any more
                self._loop.call_soon_threadsafe(self._news.set)

    async def run(self) -> None:
        """Write what was said, until it is cancelled."""
        self._loop = asyncio.get_running_loop()
        while True:
            await self._news.wait()
            self._news.clear()
            with self._lock:
                rows = [self._row(run) for run in self._said]
                self._said.clear()
            try:
                await self._storage.report(rows)
            except KokugenError as error:
                logger.warning("the progress of %d runs was not written: %s", len(rows), error)
            await asyncio.sleep(PERIOD_S)
            if self._said:
                self._news.set()

    def _row(self, run: Run) -> Report:
        fraction, text = run.said
        told = None if run.conceals else text
        progress = stored_progress(run.fence, fraction, told, self._clock.wall_us())
        return Report(run.task.id, run.claim, progress)
