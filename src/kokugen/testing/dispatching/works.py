"""The work that the cases of the dispatcher suite run: functions that any process can import."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from datetime import datetime, timedelta
from functools import wraps
from pathlib import Path
from threading import Event
from typing import Any

from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.work import make_work
from kokugen.run import Cancel, RetryAfter, Snooze, current_run

PATIENCE_S = 100.0
TRIES = 9000
"""How often to look for what another process does, a hundredth of a second apart."""

ERRORS: dict[str, Callable[[], BaseException]] = {
    "value": lambda: ValueError("no such colour", 7),
    "key": lambda: KeyError("colour"),
    "exit": lambda: SystemExit(3),
    "interrupt": KeyboardInterrupt,
    "group": lambda: ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
    "unreadable": lambda: Unreadable(Event()),
    "retry after": lambda: RetryAfter(timedelta(seconds=5), "busy"),
    "snooze": lambda: Snooze(timedelta(hours=1), "not yet"),
    "cancel": lambda: Cancel("no need"),
}


class Unreadable(Exception):
    """An error that cannot be sent as it is, nor told."""

    def __str__(self) -> str:
        raise RuntimeError("no text")


def nothing() -> None:
    """Return nothing."""


def echo(value: Any) -> Any:
    """Return what it was given."""
    return value


def later(when: datetime, by: timedelta) -> datetime:
    """Return a time of a type that JSON has not."""
    return when + by


def fail(how: str) -> None:
    """Raise what `ERRORS` calls so."""
    error = ERRORS[how]()
    raise error


def progress(fraction: float, text: str) -> None:
    """Say how far it is."""
    current_run().progress(fraction, text)


def tell() -> dict[str, Any]:
    """Return what the run says of itself."""
    run = current_run()
    return {
        "id": run.task_id,
        "work": run.work_id,
        "attempt": run.attempt,
        "fence": run.fence,
        "key": run.idempotency_key,
        "tags": list(run.tags),
        "due": run.due_at.isoformat(),
        "started": run.started_at is not None,
        "async": run.is_async,
        "pid": os.getpid(),
    }


def complete() -> None:
    """Try to complete the run in a transaction that is none."""
    current_run().complete(object())


def not_plain() -> object:
    """Return what cannot be written down."""
    return object()


def wait_to_stop(folder: str) -> str | None:
    """Say that it runs, and wait until it is asked to stop; return why."""
    _arrive(folder, "running")
    cancelled = current_run().cancelled
    cancelled.wait(timedelta(seconds=PATIENCE_S))
    return cancelled.reason


async def wait_to_stop_async(folder: str) -> None:
    """Say that it runs, and wait for ever, on an event loop: it is stopped by being cancelled."""
    _arrive(folder, "running")
    await asyncio.Event().wait()


def wait_to_end(folder: str) -> str | None:
    """Say that it runs, and wait until the scheduler stops; return why."""
    _arrive(folder, "running")
    stopping = current_run().stopping
    stopping.wait(timedelta(seconds=PATIENCE_S))
    return stopping.reason


def go_on(folder: str) -> None:
    """Say that it runs, and go on whatever it is asked."""
    Path(folder, "running").write_text(str(os.getpid()), encoding="ascii")
    Event().wait(PATIENCE_S)


def go_until(folder: str) -> str:
    """Say which run it is, and go on until there is a file `enough`, or it is asked to stop; return which it was."""
    run = current_run()
    _arrive(folder, f"running-{run.fence}")
    for _ in range(TRIES):
        if Path(folder, "enough").exists():
            return f"fence {run.fence}"
        if run.cancelled.wait(timedelta(milliseconds=10)):
            return "stopped"
    return "forgotten"


def die(how: str) -> None:
    """End this process: by `exit`, or by a signal that nothing can catch."""
    if how == "exit":
        os._exit(7)
    os.kill(os.getpid(), signal.SIGKILL)


def hoard(size: int) -> int:
    """Take so many bytes of memory."""
    return len(bytearray(size))


def meet(folder: str, name: str, count: int) -> int:
    """Come to a place and wait until so many are there; return how many are."""
    there, pause = _arrive(folder, name), Event()
    for _ in range(TRIES):
        if there >= count:
            break
        pause.wait(0.01)
        there = _present(folder)
    return there


async def meet_async(folder: str, name: str, count: int) -> int:
    """Do the same on an event loop."""
    there = _arrive(folder, name)
    for _ in range(TRIES):
        if there >= count:
            break
        await asyncio.sleep(0.01)
        there = _present(folder)
    return there


def _arrive(folder: str, name: str) -> int:
    Path(folder, name).touch()
    return _present(folder)


def _present(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def registry() -> FunctionRegistry:
    """Return this sync work as a registry, for what finds work by its id."""
    found = FunctionRegistry()
    for work in (
        *(nothing, echo, later, fail, tell, complete, not_plain),
        *(wait_to_stop, wait_to_end, go_on, go_until, die, hoard, meet),
    ):
        found.add(make_work(work.__name__, work))
    return found


def in_loop(work: Callable[..., Any]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return sync work as async work, which an event loop runs."""

    @wraps(work)
    async def run(*args: Any, **kwargs: Any) -> Any:
        result = work(*args, **kwargs)
        await asyncio.sleep(0)
        return result

    return run
