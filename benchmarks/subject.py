"""What the workloads ask of a scheduler, and kokugen as one. `peers` has the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks import bare, work
from kokugen import Scheduler, TaskParam
from kokugen.clock import from_us
from kokugen.registry.work import Work


class Subject(Protocol):
    """A scheduler with one store. Works are those of `benchmarks.work`."""

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        """Schedule one call, durably where the store is."""
        ...

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        """Schedule calls, each with its due time, in the quickest way there is."""
        ...

    def start(self) -> None:
        """Run what is due from now on."""
        ...

    def settle(self) -> None:
        """Wait until the store knows the end of everything that was called."""
        ...

    def close(self) -> None:
        """Stop, and release the store."""
        ...


class Kokugen:
    """kokugen with its defaults, on SQLite in `folder`, or in memory where there is none."""

    def __init__(self, folder: Path | None) -> None:
        self.path = None if folder is None else folder / "kokugen.db"
        self.scheduler = Scheduler("memory://" if self.path is None else f"sqlite:///{self.path}")
        functions = (work.noop, work.noop_async, work.record, work.record_async)
        self._works: dict[Any, Work[..., Any]] = {one: self.scheduler.work(one) for one in functions}

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self.scheduler.at(from_us(due_us), self._works[work], *args)

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        work_id = self._works[work].id
        self.scheduler.schedule_many(
            TaskParam(work_id=work_id, scheduled_time=from_us(us), param=args) for us, args in calls
        )

    def fill(self, work_id: str, count: int, due_us: int) -> None:
        """Put in tasks beforehand, by the bare loop: on SQLite from a connection of its own, closed before we open."""
        rows = bare.new_tasks(count, work_id, due_us)
        if self.path is None:
            bare.fill_repository(self.scheduler.repository, rows)
        else:
            bare.fill(self.path, rows)

    def start(self) -> None:
        self.scheduler.start()

    def settle(self) -> None:
        while self.scheduler.repository.watch("another node").result():
            time.sleep(0.001)

    def close(self) -> None:
        self.scheduler.close()
