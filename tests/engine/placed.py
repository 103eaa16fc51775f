"""Work that runs in processes, which import it from here."""

from __future__ import annotations

import os
from datetime import timedelta
from threading import Event

from kokugen import FunctionRegistry, Scheduler

works = FunctionRegistry()


@works.work
def pid() -> int:
    return os.getpid()


@works.work(on="processes")
def die() -> None:
    os._exit(7)


@works.work(on="processes", timeout=timedelta(milliseconds=1))
def go_on() -> None:
    Event().wait(60)


@works.work
async def nap() -> None: ...


@works.work
def start_another() -> None:
    Scheduler("memory://").start()
