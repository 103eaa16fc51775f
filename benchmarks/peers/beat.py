"""Celery beat: it sends what is due to Redis, and a worker in threads of the same process runs it.

Its schedules are in memory, as those of `beat_schedule` are: its file keeps when each ran last. One beat may run at a
time, and what was missed while none did is sent once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event, Thread
from typing import Any

from benchmarks.peers.celery5 import Celery
from kokugen.clock import from_us


class Beat(Celery):
    """Beat and a worker. The loop is that of `celery.beat.Service`, but that it can be stopped at once."""

    def __init__(self, place: Path | str | None) -> None:
        from celery.beat import Scheduler

        super().__init__(place)
        self._scheduler = Scheduler(self._app, schedule={})
        self._over = Event()
        self._thread = Thread(target=self._tick, name="beat")

    def repeat(
        self, work: Callable[..., object], firsts: Sequence[tuple[int, tuple[Any, ...]]], period: timedelta
    ) -> None:
        from celery.schedules import schedule

        entries = {
            f"schedule-{number}": {
                "task": self._tasks[work].name,
                "schedule": schedule(period, app=self._app),
                "args": args,
                "last_run_at": from_us(due_us) - period,
            }
            for number, (due_us, args) in enumerate(firsts)
        }
        self._scheduler.update_from_dict(entries)

    def start(self) -> None:
        super().start()
        self._thread.start()

    def _tick(self) -> None:
        while not self._over.wait(max(0.0, self._scheduler.tick())):
            pass

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._scheduler.connection.release()
        super().close()
