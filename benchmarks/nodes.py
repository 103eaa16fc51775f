"""Schedulers in processes of their own, beside the one of a trial: several that share a drain, or one that is told."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from multiprocessing import get_context
from multiprocessing.connection import Connection
from multiprocessing.sharedctypes import Synchronized

from benchmarks import work
from benchmarks.subject import Place
from benchmarks.trials import Kind, subject

PATIENCE_S = 60.0
SPAWN = get_context("spawn")


class Node:
    """A scheduler in another process. What `work.tell` tells there comes out of `hear`.

    Its calls of `work.mark` are counted every `look_s`.
    """

    def __init__(self, kind: Kind, place: Place, look_s: float | None = None) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._heard, outlet = SPAWN.Pipe(duplex=False)
        self._marks = SPAWN.Value("L", 0)
        self._process = SPAWN.Process(target=_run, args=(kind, place, theirs, outlet, self._marks, look_s), daemon=True)
        self._process.start()
        theirs.close()
        outlet.close()

    def wait(self) -> None:
        """Wait until it has done what it was last told. Raises AssertionError where it does not."""
        if not self._pipe.poll(PATIENCE_S):
            raise AssertionError("a node did not answer")
        self._pipe.recv()

    def start(self) -> None:
        """Have it run what is due."""
        self._pipe.send("start")

    def hear(self) -> tuple[int, int]:
        """Return when the next task that it ran was due, and when it started. Raises AssertionError."""
        if not self._heard.poll(PATIENCE_S):
            raise AssertionError("a node did not run what it was given")
        due_us, started_us = self._heard.recv()
        return due_us, started_us

    @property
    def marks(self) -> int:
        """Return how many calls of `work.mark` it was seen to make."""
        return int(self._marks.value)

    def stop(self) -> float:
        """End it; return how much processor time it took since it was started."""
        self._pipe.send("stop")
        spent_s = float(self._pipe.recv())
        self._process.join(PATIENCE_S)
        return spent_s

    def kill(self) -> None:
        self._process.kill()
        self._process.join()


@contextmanager
def nodes(kind: Kind, place: Place, count: int, look_s: float | None = None) -> Iterator[Sequence[Node]]:
    """Yield nodes that are ready to start, and none is left afterwards."""
    with ExitStack() as stack:
        found = [Node(kind, place, look_s) for _ in range(count)]
        for one in found:
            stack.callback(one.kill)
        for one in found:
            one.wait()
        yield found


def _run(
    kind: Kind,
    place: Place,
    pipe: Connection,
    outlet: Connection,
    marks: Synchronized[int],
    look_s: float | None,
) -> None:
    work.outlet = outlet
    scheduler = subject(kind, place)
    try:
        pipe.send("ready")
        pipe.recv()
        spent_s = time.process_time()
        scheduler.start()
        pipe.send("runs")
        while not pipe.poll(look_s):
            marks.value = len(work.marks)
        pipe.recv()
        marks.value = len(work.marks)
        scheduler.settle()
        pipe.send(time.process_time() - spent_s)
    except (EOFError, BrokenPipeError):  # the trial was given up
        os._exit(1)
    scheduler.close()
