"""Sync work on a pool of threads. The engine dispatches runs; each worker thread takes them one by one.

Crossing to a worker costs one queue entry and no lock. A run is one call of `call_sync`, in a context of its own.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from contextvars import Context
from itertools import count
from queue import Empty, SimpleQueue
from threading import Lock, Thread

from kokugen.clock import Clock
from kokugen.dispatcher.call import call_sync, call_work, not_started
from kokugen.dispatcher.paced import STOPPED, PacedDispatcher, checked_workers, logger
from kokugen.dispatcher.pacer import Pacer
from kokugen.middleware.base import WorkNext
from kokugen.run import Run


class ThreadDispatcher(PacedDispatcher):
    """Runs sync work on up to `workers` daemon threads, which start as they are needed and go when there are too many.

    `chain` is `work_chain(middleware, call_work, is_async=False)`, or without middleware `call_work` alone.
    Sync work cannot be stopped by force: it reads `current_run().cancelled`, which is set after its timeout too.
    """

    name = "threads"

    def __init__(self, workers: int = 10, *, clock: Clock, chain: WorkNext = call_work) -> None:
        super().__init__(workers, clock=clock, pacer=Pacer(clock, "kokugen-threads-pacer"))
        self._chain = chain
        self._queue: SimpleQueue[Run | None] = SimpleQueue()
        self._crew: set[_Worker] = set()
        self._crew_lock = Lock()
        self._numbers = count(1)

    @property
    def active(self) -> int:
        return sum(worker.busy for worker in tuple(self._crew))

    def accepts(self, *, is_async: bool) -> bool:
        return not is_async

    def resize(self, workers: int) -> None:
        with self._crew_lock:
            self._capacity = 0 if self._stopped else checked_workers(workers)
            surplus = len(self._crew) - self._capacity
        self._wake(surplus)
        self._grow(self._queue.qsize())

    def stop(self) -> None:
        super().stop()
        self.resize(0)
        self._flush()

    def _post(self, runs: Sequence[Run]) -> None:
        put = self._queue.put
        for run in runs:
            put(run)
        if len(self._crew) < self._capacity:
            self._grow(len(runs))
        if self._stopped:
            self._flush()

    def _grow(self, more: int) -> None:
        with self._crew_lock:
            for _ in range(min(more, self._capacity - len(self._crew))):
                worker = _Worker()
                name = f"kokugen-worker-{next(self._numbers)}"
                self._crew.add(worker)  # before its thread takes a run, which counts as active from then on
                try:
                    Thread(target=self._serve, args=(worker,), name=name, daemon=True).start()
                except RuntimeError as error:  # the system has no more threads to give
                    self._crew.discard(worker)
                    logger.warning("%d workers must do instead of %d: %s", len(self._crew), self._capacity, error)
                    return

    def _wake(self, workers: int) -> None:
        """Have idle workers look whether they are still wanted."""
        for _ in range(workers):
            self._queue.put(None)

    def _flush(self) -> None:
        """Refuse what is queued, and let idle workers go."""
        with suppress(Empty):
            while True:
                run = self._queue.get_nowait()
                if run is not None:
                    self._refuse([run], STOPPED)
        self._wake(len(self._crew))

    def _serve(self, worker: _Worker) -> None:
        while True:
            run = self._queue.get()
            if run is not None:
                worker.busy = True
                if run.begin():
                    self._perform(run)
                worker.busy = False
                del run
            if len(self._crew) > self._capacity and self._leaves(worker):
                return

    def _leaves(self, worker: _Worker) -> bool:
        """Return whether this worker is one too many, and count it out."""
        with self._crew_lock:
            leaves = len(self._crew) > self._capacity
            if leaves:
                self._crew.discard(worker)
        return leaves

    def _perform(self, run: Run) -> None:
        if self._stopped:
            self._report(not_started(run, STOPPED))
            return
        limit = self._limit(run)
        outcome = Context().run(call_sync, run, self._chain, self._clock)
        if limit is not None:
            limit.cancel()
        self._report(outcome)


class _Worker:
    """One thread of the crew, and whether it has a run."""

    __slots__ = ("busy",)

    def __init__(self) -> None:
        self.busy = False
