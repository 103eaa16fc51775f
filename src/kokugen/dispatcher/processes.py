"""Sync work in processes of this node: for what keeps the interpreter's lock, leaks, crashes, or must be killable.

Each worker thread of the dispatcher has one process at a time (`kokugen.dispatcher.child`) and waits for it; the
middleware wraps the call in that thread, in the node.
"""

from __future__ import annotations

import atexit
import os
import sys
from collections.abc import Callable, Sequence
from datetime import timedelta
from functools import partial
from itertools import count
from threading import Lock
from typing import Any

from msgspec import Struct, field

from kokugen.clock import Clock, duration_us
from kokugen.dispatcher.child import Child
from kokugen.dispatcher.crossing import concluded
from kokugen.dispatcher.paced import checked_workers
from kokugen.dispatcher.pacer import Cancellable
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.errors import OptionError
from kokugen.middleware.base import Middleware, work_chain
from kokugen.options import TIMEOUT_MAX, check_place
from kokugen.run import Run

MEMORY_MIN = 64 * 1024 * 1024
TASKS_MAX = 1_000_000_000


class Processes(Struct, frozen=True, kw_only=True):
    """A place of up to `workers` processes of this node, each of which runs one task at a time.

    `memory_max` is how many bytes one may have allocated: more raises MemoryError in the work (Linux alone).
    `tasks_max` is after how many runs one is replaced by a new one. A run that was asked to stop has `kill_after`
    to obey; then its process is killed.
    """

    workers: int = field(default_factory=lambda: os.cpu_count() or 1)
    memory_max: int | None = None
    tasks_max: int | None = None
    kill_after: timedelta = timedelta(seconds=1)
    name: str = "processes"

    def __post_init__(self) -> None:
        check_place(self.name)
        checked_workers(self.workers)
        if self.memory_max is not None and not _is_count(self.memory_max, MEMORY_MIN, sys.maxsize):
            raise OptionError(f"memory_max={self.memory_max!r}: use a number of bytes from {MEMORY_MIN:,}, or None")
        if self.memory_max is not None and sys.platform != "linux":
            raise OptionError(f"memory_max={self.memory_max!r}: only Linux holds a process to it; leave it out here")
        if self.tasks_max is not None and not _is_count(self.tasks_max, 1, TASKS_MAX):
            raise OptionError(f"tasks_max={self.tasks_max!r}: use a whole number from 1, or None")
        if not isinstance(self.kill_after, timedelta) or not timedelta(0) <= self.kill_after <= TIMEOUT_MAX:
            raise OptionError(f"kill_after={self.kill_after!r}: use a timedelta from zero to {TIMEOUT_MAX.days} days")

    def dispatcher(self, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> ProcessDispatcher:
        return ProcessDispatcher(self, clock=clock, middleware=middleware)


class ProcessDispatcher(ThreadDispatcher):
    """Runs sync work in processes, which start as they are needed."""

    def __init__(self, place: Processes, *, clock: Clock, middleware: Sequence[Middleware] = ()) -> None:
        chain = work_chain(middleware, self._call, is_async=False)
        super().__init__(place.workers, clock=clock, chain=chain)
        self.name = place.name
        self._place = place
        self._children: set[Child] = set()
        self._idle: list[Child] = []
        self._lock = Lock()
        self._child_numbers = count(1)
        self._told = False
        self._pid = os.getpid()

    def stop(self) -> None:
        super().stop()
        with self._lock:
            idle, self._idle = self._idle, []
        for child in idle:
            self._let_go(child)

    def _call(self, run: Run) -> Any:
        child = self._borrowed(run)
        try:
            account = child.perform(run, self._later)
        finally:
            self._give_back(child)
        return concluded(run, account)

    def _later(self, callback: Callable[[], object]) -> Cancellable:
        return self._pacer.after(duration_us(self._place.kill_after), callback)

    # -- The processes

    def _borrowed(self, run: Run) -> Child:
        """Return a process that nobody else uses, a new one where none is idle."""
        with self._lock:
            if not self._told:
                self._told = True
                run.stopping.when_set(partial(self._tell_stopping, run))
                atexit.register(self._end_all)
            while self._idle:
                child = self._idle.pop()
                if child.usable:
                    return child
                self._children.discard(child)
        child = Child(next(self._child_numbers), self._place.memory_max)
        with self._lock:
            self._children.add(child)
        return child

    def _give_back(self, child: Child) -> None:
        spent = self._place.tasks_max is not None and child.served >= self._place.tasks_max
        with self._lock:
            if not spent and not self._stopped and child.usable and len(self._idle) < self._capacity:
                self._idle.append(child)
                return
        self._let_go(child)

    def _tell_stopping(self, run: Run) -> None:
        with self._lock:
            children = list(self._children)
        for child in children:
            child.tell_stopping(run.stopping.reason or "stopped")

    def _let_go(self, child: Child) -> None:
        child.close()
        with self._lock:
            self._children.discard(child)
            if self._stopped and not self._children:
                atexit.unregister(self._end_all)

    def _end_all(self) -> None:
        """End all with the interpreter, which would wait for them."""
        if self._pid == os.getpid():
            for child in list(self._children):
                child.close()


def _is_count(value: object, least: int, most: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and least <= value <= most
