"""A worker process of these tests: it runs what is due, and its work writes every run into the journal.

`Crew` starts it; it ends by SIGTERM as `Scheduler.run` does, or by whatever the test does to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import mmap
import os
import signal
import struct
import threading
from datetime import timedelta
from pathlib import Path
from typing import Any

from kokugen import AsyncScheduler, FunctionRegistry, Scheduler, Settings, current_run
from kokugen.clock import SECOND_US, SystemClock
from tests.faults.journal import CUT, END, ERROR, HEARD, REFUSED, START, Journal

WORKERS = 4
GATE_LOOK_S = 0.005
OFFSET = struct.Struct("q")
LOGGERS = ("kokugen", "asyncio")


def works_of(journal: Journal) -> FunctionRegistry:
    """The work of the tests. Each takes as long as it is told, so that whatever happens happens amid runs."""
    works = FunctionRegistry()

    @works.work
    def step(pause_us: int) -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        run.cancelled.wait(timedelta(microseconds=pause_us))
        journal.write(END, run.task_id, run.fence, run.attempt)

    @works.work
    async def async_step(pause_us: int) -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        event = CUT
        try:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause_us / 1e6):
                    await run.cancelled.wait_async()
            event = END
        finally:
            journal.write(event, run.task_id, run.fence, run.attempt)

    @works.work
    def wait_for(gate: str) -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        while not Path(gate).exists():
            threading.Event().wait(GATE_LOOK_S)
        journal.write(END, run.task_id, run.fence, run.attempt)

    @works.work
    async def until_cancelled() -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            journal.write(HEARD, run.task_id, run.fence, run.attempt)
            raise
        finally:
            journal.write(CUT, run.task_id, run.fence, run.attempt)

    @works.work
    def die() -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        os.kill(os.getpid(), signal.SIGKILL)

    return works


class Ear(logging.Handler):
    """Writes down what a process logs and the judge wants to know: refused outcomes, and errors of event loops."""

    def __init__(self, journal: Journal) -> None:
        super().__init__(logging.WARNING)
        self._journal = journal

    def emit(self, record: logging.LogRecord) -> None:
        if record.name == "asyncio" and record.levelno >= logging.ERROR:
            self._journal.write(ERROR, "-")
        elif "is refused" in record.getMessage():
            self._journal.write(REFUSED, "-")


def listen(journal: Journal) -> Ear:
    """Have what this process logs written down."""
    ear = Ear(journal)
    for name in LOGGERS:
        logging.getLogger(name).addHandler(ear)
    return ear


class SetClock(SystemClock):
    """The clock of a machine whose wall clock somebody sets: by as many seconds as a file says."""

    __slots__ = ("_file",)

    def __init__(self, file: Path) -> None:
        descriptor = os.open(file, os.O_RDONLY)
        self._file = mmap.mmap(descriptor, OFFSET.size, access=mmap.ACCESS_READ)
        os.close(descriptor)

    def wall_us(self) -> int:
        return super().wall_us() + int(OFFSET.unpack(self._file[:])[0]) * SECOND_US


def set_clock(file: Path, offset_s: int) -> None:
    """Set the wall clock of those whose clock this file is."""
    file.touch()
    with file.open("r+b") as clock:
        clock.write(OFFSET.pack(offset_s))


async def _serve_async(url: str, written: Journal, settings: Settings) -> None:
    listen(written)
    await AsyncScheduler(url, works=works_of(written), workers=WORKERS, settings=settings).run()


def serve_async(url: str, journal: Path, numbers: dict[str, Any]) -> None:
    """As `serve`, on an event loop."""
    asyncio.run(_serve_async(url, Journal(journal), Settings(**numbers)))


def serve(url: str, journal: Path, numbers: dict[str, Any], clock: Path | None = None) -> None:
    """Run what is due until SIGTERM; `clock` is the file of a `SetClock`."""
    written = Journal(journal)
    listen(written)
    told = None if clock is None else SetClock(clock)
    Scheduler(url, works=works_of(written), workers=WORKERS, settings=Settings(**numbers), clock=told).run()


def serve_alone(url: str, journal: Path, numbers: dict[str, Any]) -> None:
    """Run what is due in the belief that nobody else does, and that what others are at was left behind."""
    written = Journal(journal)
    Scheduler(url, works=works_of(written), workers=WORKERS, settings=Settings(**numbers), shared=False).run()
