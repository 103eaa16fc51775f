"""Code of a test in a process of its own: with limits, or as a user, that this process must not have."""

from __future__ import annotations

import os
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

from tests.faults.crew import PATIENCE_S, processes
from tests.faults.ground import opened

NOBODY = 65534


def apart(act: Callable[..., object], *arguments: Any) -> None:
    """Call `act` in a process of its own, and fail with its traceback where it raises there."""
    mine, its = processes.Pipe(duplex=False)
    process = processes.Process(target=_act, args=(its, act, arguments), daemon=True)
    process.start()
    its.close()
    told = mine.recv() if mine.poll(PATIENCE_S) else "it did not end"
    process.kill()
    process.join()
    assert told is None, told


def _act(answer: Connection, act: Callable[..., object], arguments: tuple[Any, ...]) -> None:
    try:
        act(*arguments)
    except BaseException:
        answer.send(traceback.format_exc())
    else:
        answer.send(None)


def become_nobody() -> None:
    """Give up the rights of root, where this is root, so that the modes of files count."""
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Another process holds the lock on the store meanwhile."""
    held, release = processes.Event(), processes.Event()
    process = processes.Process(target=_hold, args=(path, held, release), daemon=True)
    process.start()
    assert held.wait(PATIENCE_S)
    try:
        yield
    finally:
        release.set()
        process.join(PATIENCE_S)


def _hold(path: Path, held: Any, release: Any) -> None:
    with opened(path) as db:
        db.execute("BEGIN IMMEDIATE")
        held.set()
        release.wait(PATIENCE_S)
        db.execute("ROLLBACK")
