"""A run: one attempt of one task, as the work itself, the middleware, the dispatcher and the engine see it.

The engine makes it from a claim, a dispatcher starts it at its time, the work reaches it by `current_run()`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from datetime import datetime, timedelta
from enum import Enum
from threading import Event, Lock
from types import MappingProxyType
from typing import Any, Protocol

import msgspec

from kokugen.clock import Clock, from_us
from kokugen.errors import KokugenError, NoRunError, OptionError, TransactionError
from kokugen.options import Options, stored_options

DELAY_MAX = timedelta(days=3650)
PROGRESS_MAX = 500
"""Characters of what a run says of its progress."""

logger = logging.getLogger("kokugen")


class RunTask(Protocol):
    """What a run needs of a claimed task (`kokugen.repository.rows.Claimed` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def work_id(self) -> str: ...
    @property
    def param(self) -> str: ...
    @property
    def queue(self) -> str: ...
    @property
    def mode(self) -> int: ...
    @property
    def scheduled_time(self) -> int: ...
    @property
    def due_at(self) -> int: ...
    @property
    def attempt(self) -> int: ...
    @property
    def max_attempts(self) -> int: ...
    @property
    def lost(self) -> int: ...
    @property
    def fence(self) -> int: ...
    @property
    def tags(self) -> str | None: ...
    @property
    def options(self) -> str | None: ...
    @property
    def chained(self) -> bool: ...
    @property
    def follows(self) -> str | None: ...


class RunWork(Protocol):
    """What a run needs of its work (`kokugen.registry.protocol.Work` has it)."""

    @property
    def id(self) -> str: ...
    @property
    def is_async(self) -> bool: ...
    @property
    def declared(self) -> Options: ...

    def decode(self, param: str) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Return the arguments, decoded to the annotated types. Raises CodecError."""
        ...

    def call(self, args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
        """Call the work; async work returns its coroutine."""
        ...

    def encode_result(self, value: Any) -> str | None:
        """Return the result as JSON text, None for None. Raises CodecError."""
        ...


class Interrupt(Enum):
    """Why a run is asked to stop."""

    CANCEL = "cancelled"
    TIMEOUT = "timeout"
    STOP = "stopped"
    LEASE_LOST = "lease lost"


class Signal:
    """A thread-safe flag that is set once, with a reason. Truthy when set."""

    __slots__ = ("_callbacks", "_lock", "reason")

    def __init__(self) -> None:
        self.reason: str | None = None
        self._lock = Lock()
        self._callbacks: list[Callable[[], object]] | None = []

    def set(self, reason: str) -> bool:
        """Set it and return whether this call did. The first reason stays."""
        with self._lock:
            callbacks = self._callbacks
            if callbacks is None:
                return False
            self.reason, self._callbacks = reason, None
        for callback in callbacks:
            try:
                callback()
            except Exception:
                logger.exception("a callback of a signal raised")
        return True

    def is_set(self) -> bool:
        """Return whether it was set."""
        return self._callbacks is None

    __bool__ = is_set

    def when_set(self, callback: Callable[[], object]) -> None:
        """Call `callback()` in the setting thread once set; at once if it is.

        The setting thread is one of kokugen's own: a callback must be short. What it raises there is logged.
        """
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def wait(self, timeout: timedelta | None = None) -> bool:
        """Block this thread until it is set or the time is over; return whether it is set."""
        event = Event()
        with self._calling(event.set):
            return event.wait(None if timeout is None else timeout.total_seconds())

    async def wait_async(self) -> None:
        """Wait in a coroutine until it is set."""
        loop = asyncio.get_running_loop()
        event = asyncio.Event()

        def wake() -> None:
            with suppress(RuntimeError):  # the loop was closed, and nobody waits there any more
                loop.call_soon_threadsafe(event.set)

        with self._calling(wake):
            await event.wait()

    @contextmanager
    def _calling(self, callback: Callable[[], object]) -> Iterator[None]:
        """Have `callback` called for as long as the block runs: a signal outlives most who wait for it."""
        self.when_set(callback)
        try:
            yield
        finally:
            with self._lock:
                if self._callbacks is not None:
                    self._callbacks.remove(callback)


class Run:
    """One attempt of one task. Work reads it; only kokugen changes it.

    `cancelled` and `stopping` are the seed's two channels: this task is to stop; the whole scheduler is stopping.
    `fence` grows with every claim of the task: hand it to outside systems so that they can refuse a stale run.
    `start_before_us` is from when on it is too late to start, `timeout_us` how long it may take before it is asked to
    stop; None: never, and as long as it likes.
    `conceals` is whether the texts of its errors, which may quote its arguments, are not to be stored.
    `completing` is set once `complete` wrote, or may have: then a transaction of the work's decides how the run ends.
    """

    __slots__ = (
        "_begun",
        "_cancelled",
        "_lock",
        "_reason",
        "claim",
        "completer",
        "completing",
        "conceals",
        "interrupt",
        "not_before_us",
        "on_interrupt",
        "param",
        "reporter",
        "said",
        "start_before_us",
        "started_us",
        "stopping",
        "task",
        "timeout_us",
        "trusted_until_s",
        "work",
    )

    def __init__(
        self,
        task: RunTask,
        claim: str,
        work: RunWork,
        *,
        stopping: Signal,
        trusted_until_s: float,
        not_before_us: int,
    ) -> None:
        self.task = task
        self.claim = claim
        self.work = work
        self.param = task.param
        self.stopping = stopping
        self.trusted_until_s = trusted_until_s
        self.not_before_us = not_before_us
        self.started_us = 0
        self.start_before_us: int | None = None
        self.timeout_us: int | None = None
        self.interrupt: Interrupt | None = None
        self.on_interrupt: Callable[[Run], object] | None = None
        self.completer: Callable[[Run, object, Any], Any] | None = None
        self.completing = False
        self.conceals = False
        self.said: tuple[float | None, str | None] = (None, None)
        self.reporter: Callable[[Run], object] | None = None
        self._cancelled: Signal | None = None
        self._reason = ""
        self._lock = Lock()
        self._begun = Lock()

    def __repr__(self) -> str:
        return f"<Run {self.work_id!r} task={self.task_id!r} attempt={self.attempt} fence={self.fence}>"

    @property
    def task_id(self) -> str:
        return self.task.id

    @property
    def work_id(self) -> str:
        return self.task.work_id

    @property
    def queue(self) -> str:
        return self.task.queue

    @property
    def scheduled_time(self) -> datetime:
        """Return the time that was asked for, aware, in UTC."""
        return from_us(self.task.scheduled_time)

    @property
    def due_at(self) -> datetime:
        """Return when this attempt was due: the scheduled time, or later after a retry or a snooze."""
        return from_us(self.task.due_at)

    @property
    def started_at(self) -> datetime | None:
        """Return when this run started, or None before."""
        return from_us(self.started_us) if self.started_us else None

    @property
    def attempt(self) -> int:
        """Return which attempt this is, from 1."""
        return self.task.attempt

    @property
    def max_attempts(self) -> int:
        return self.task.max_attempts

    @property
    def fence(self) -> int:
        return self.task.fence

    @property
    def idempotency_key(self) -> str:
        """Return the same text in every attempt of this task: the task id."""
        return self.task.id

    @property
    def follows(self) -> str | None:
        """Return the id of the task whose end let this one go (the option `then`), or None."""
        return self.task.follows

    @property
    def tags(self) -> tuple[str, ...]:
        return tuple(msgspec.json.decode(self.task.tags)) if self.task.tags else ()

    @property
    def headers(self) -> Mapping[str, str]:
        """Return what middleware sent along when the task was scheduled."""
        return MappingProxyType(stored_options(self.task.options).headers)

    @property
    def is_async(self) -> bool:
        return self.work.is_async

    @property
    def cancelled(self) -> Signal:
        """Return the signal that this run is to stop: cancelled, timed out, or its lease was lost."""
        with self._lock:
            if self._cancelled is None:
                self._cancelled = Signal()
                if self.interrupt is not None:
                    self._cancelled.set(self._reason)
            return self._cancelled

    def ask_to_stop(self, interrupt: Interrupt, reason: str | None = None) -> bool:
        """Set `cancelled`, and return whether this call did. The first interrupt stays."""
        with self._lock:
            if self.interrupt is not None:
                return False
            self.interrupt, self._reason = interrupt, reason or interrupt.value
            signal, interrupted = self._cancelled, self.on_interrupt
        if signal is not None:
            signal.set(self._reason)
        if interrupted is not None:
            interrupted(self)
        return True

    def when_interrupted(self, callback: Callable[[Run], object]) -> None:
        """Have `callback(run)` called in the asking thread once this run is asked to stop; at once if it was.

        For the dispatcher that runs it: there is one callback. It sets `on_interrupt` to None when the run is over.
        """
        with self._lock:
            self.on_interrupt = callback
            asked = self.interrupt is not None
        if asked:
            callback(self)

    def complete(self, connection: object, result: Any = None) -> Any:
        """Mark this run as done inside a transaction of yours: with what you write there it happens once, or not.

        To be awaited exactly where the connection is async. The connections are those of `Scheduler.within`. You
        commit; until then nobody sees it, and if you roll back, or never commit, this attempt has failed, whatever
        the work returns. `result`, of the type that the work says it returns, is the task's; what it returns is not.

        Raises SupersededError where the task is not this run's any more: then roll back. Another run has it, or an
        earlier transaction of this run's completed it: where you repeat one whose commit was not answered, that commit
        stands. Raises TransactionError for a connection that the store cannot be written in, and CodecError for the
        result.
        """
        if self.completer is None:
            raise TransactionError("this run is of a store that takes part in no transaction of yours")
        return self.completer(self, connection, result)

    def progress(self, fraction: float | None = None, text: str | None = None) -> None:
        """Say how far this run is: from 0 to 1, in a few words, or both. Others see it in `TaskInfo.progress`.

        Say it as often as you like: it costs nearly nothing, waits for nothing, and about once a second what was said
        last is stored. A longer text than 500 characters is cut. Raises OptionError for a fraction that is not from 0
        to 1.
        """
        if fraction is not None and (not isinstance(fraction, int | float) or not 0 <= fraction <= 1):
            raise OptionError(f"fraction={fraction!r}: use a number from 0 to 1")
        if text is not None and not isinstance(text, str):
            raise OptionError(f"text={text!r}: use a text")
        plain = None if text is None else text[:PROGRESS_MAX].replace("\0", "\\0").encode(errors="replace").decode()
        self.said = (None if fraction is None else float(fraction), plain)
        if self.reporter is not None:
            self.reporter(self)

    def begin(self) -> bool:
        """Take the one right to start this run, or to drop it before it starts; True for the first caller alone."""
        return self._begun.acquire(blocking=False)

    @property
    def begun(self) -> bool:
        """Return whether the run was started, or dropped."""
        return self._begun.locked()

    def may_start(self, clock: Clock) -> bool:
        """Return whether the lease is still to be trusted, so that no other node can have taken the task over."""
        return clock.boot_s() < self.trusted_until_s


_current: ContextVar[Run] = ContextVar("kokugen_current_run")


def current_run() -> Run:
    """Return the run that this code is part of. Raises NoRunError outside of one."""
    try:
        return _current.get()
    except LookupError:
        raise NoRunError("no run is under way here: current_run() is for code that kokugen called") from None


bind_run = _current.set
unbind_run = _current.reset


class TaskControl(KokugenError):
    """Raised by work to say how its run ends. Not an error of the work."""


class RetryAfter(TaskControl):
    """Try again after `delay`, if attempts are left; this attempt counts."""

    def __init__(self, delay: timedelta, reason: str | None = None) -> None:
        super().__init__(reason or f"retry after {delay}")
        self.delay = _checked(delay)
        self.reason = reason


class Snooze(TaskControl):
    """Run again after `delay`; this attempt does not count."""

    def __init__(self, delay: timedelta, reason: str | None = None) -> None:
        super().__init__(reason or f"snoozed for {delay}")
        self.delay = _checked(delay)
        self.reason = reason


class NotCalled(Snooze):
    """A snooze from before the work was called, by kokugen itself: a task that may run once may still come again."""


class Cancel(TaskControl):
    """End this task as Cancelled, with a reason. It is never retried."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


def _checked(delay: timedelta) -> timedelta:
    if not isinstance(delay, timedelta) or not timedelta(0) <= delay <= DELAY_MAX:
        raise OptionError(f"delay={delay!r}: use a timedelta from zero to {DELAY_MAX.days:,} days")
    return delay
