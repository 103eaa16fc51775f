"""What the workloads ask of a scheduler, and kokugen as one. `peers` has the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

from benchmarks import bare, bare_postgres, databases, work
from kokugen import Scheduler, TaskParam
from kokugen.clock import from_us
from kokugen.registry.work import Work

Place = Path | str | None
"""Where a store is: SQLite in a folder, a database of a PostgreSQL server by its URL, or memory."""


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
    """kokugen with its defaults."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self.scheduler = Scheduler(url_of(place))
        functions = (work.noop, work.noop_async, work.mark, work.record, work.record_async, work.tell)
        self._works: dict[Any, Work[..., Any]] = {one: self.scheduler.work(one) for one in functions}

    def add(self, work: Callable[..., object], due_us: int, *args: Any) -> None:
        self.scheduler.at(from_us(due_us), self._works[work], *args)

    def add_many(self, work: Callable[..., object], calls: Sequence[tuple[int, tuple[Any, ...]]]) -> None:
        work_id = self._works[work].id
        self.scheduler.schedule_many(
            TaskParam(work_id=work_id, scheduled_time=from_us(us), param=args) for us, args in calls
        )

    def fill(self, work_id: str, count: int, due_us: int) -> None:
        """Put in tasks beforehand, by the bare loop, from a connection of its own that is closed before we open."""
        rows = bare.new_tasks(count, work_id, due_us)
        if self.place is None:
            bare.fill_repository(self.scheduler.repository, rows)
        elif isinstance(self.place, str):
            bare_postgres.fill(self.place, rows)
            databases.settle(self.place)
        else:
            bare.fill(file_in(self.place), rows)

    def start(self) -> None:
        self.scheduler.start()

    def settle(self) -> None:
        while self.scheduler.repository.watch("another node").result():
            time.sleep(0.001)

    def close(self) -> None:
        self.scheduler.close()


def url_of(place: Place) -> str:
    """Return kokugen's URL of a store."""
    if place is None:
        return "memory://"
    return place if isinstance(place, str) else f"sqlite:///{file_in(place)}"


def file_in(folder: Path) -> Path:
    """Return the file of kokugen's store in a folder."""
    return folder / "kokugen.db"
