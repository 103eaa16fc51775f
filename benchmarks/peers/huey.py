"""huey on SQLite with fsync. It looks for tasks whose time has come once a second, and can't do so more often.

It takes a task out of its queue before it calls it, so that a crash in between loses it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.peers import WORKERS
from kokugen.clock import from_us


class Huey:
    """A queue in a file, and a consumer with threads."""

    def __init__(self, place: Path | str | None) -> None:
        from huey import SqliteHuey

        assert isinstance(place, Path), "huey is measured on SQLite"
        logging.getLogger("huey").setLevel(logging.ERROR)
        self._huey = SqliteHuey("benchmark", filename=str(place / "huey.db"), fsync=True)
        self._consumer: Any = None
        self._tasks: dict[Any, Any] = {}

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self._task(work).schedule(args, eta=from_us(due_us))

    def _task(self, work: Callable[..., object]) -> Any:
        if work not in self._tasks:
            self._tasks[work] = self._huey.task()(work)
        return self._tasks[work]

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        for due_us, args in calls:
            self.add(work, due_us, *args)

    def start(self) -> None:
        self._consumer = self._huey.create_consumer(workers=WORKERS, periodic=False)
        self._consumer.start()

    def settle(self) -> None:
        """A task is out of the queue before it is called."""

    def close(self) -> None:
        if self._consumer is not None:
            self._consumer.stop()
