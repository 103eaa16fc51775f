"""A one-shot answer that both kinds of caller can wait for: a thread with `result()`, a coroutine with `await`.

A repository returns one from every call, so that there is one set of methods for sync and async callers alike. The
answering side calls `resolve_all` once per batch: one wake-up of each waiting event loop, however many answers.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Generator, Iterable, Sequence
from contextlib import suppress
from threading import Lock
from typing import Any, Generic, Self, TypeVar, cast

T = TypeVar("T")
U = TypeVar("U")

_MISSING: Any = object()

logger = logging.getLogger("kokugen")


class Reply(Awaitable[T], Generic[T]):
    """The answer to come. Resolved once, by any thread; read as often as you like."""

    __slots__ = ("_callbacks", "_error", "_lock", "_value", "about")

    def __init__(self) -> None:
        self.about: tuple[str, ...] = ()
        """The ids of the tasks that were asked about, for whoever gets no answer."""
        self._value: T = _MISSING
        self._error: BaseException | None = None
        self._lock = Lock()
        self._callbacks: list[Callable[[], object]] | None = []

    @classmethod
    def of(cls, value: T) -> Reply[T]:
        """Return a reply that is already answered."""
        reply = cls()
        reply._value, reply._callbacks = value, None
        return reply

    @classmethod
    def failed(cls, error: BaseException) -> Reply[T]:
        """Return a reply that is already answered, with an error."""
        reply = cls()
        reply._error, reply._callbacks = error, None
        return reply

    def on(self, task_ids: tuple[str, ...]) -> Self:
        """Say which tasks it is about, and return it."""
        self.about = task_ids
        return self

    def done(self) -> bool:
        """Return whether the answer is there."""
        return self._callbacks is None

    def resolve(self, value: T) -> None:
        """Answer. A second answer is refused with an AssertionError: one question has one answer."""
        for callback in self._settle(value, None):
            _call(callback)

    def fail(self, error: BaseException) -> None:
        """Answer with an error, which `result()` and `await` raise."""
        for callback in self._settle(_MISSING, error):
            _call(callback)

    def _settle(self, value: T, error: BaseException | None) -> list[Callable[[], object]]:
        with self._lock:
            callbacks = self._callbacks
            assert callbacks is not None, "a reply is resolved once"
            self._value, self._error, self._callbacks = value, error, None
        return callbacks

    def when_done(self, callback: Callable[[], object]) -> None:
        """Call `callback()` once answered: at once if it is, else in the answering thread; so keep it short.

        What it raises there is logged: it must keep no other caller from an answer.
        """
        with self._lock:
            if self._callbacks is not None:
                self._callbacks.append(callback)
                return
        callback()

    def peek(self) -> T:
        """Return the answer that is there, or raise its error. Only after `done()`."""
        assert self._callbacks is None, "peek() before the answer"
        if self._error is not None:
            raise self._error
        return self._value

    def result(self, timeout_s: float | None = None) -> T:
        """Block this thread until the answer is there and return it. Raises TimeoutError after `timeout_s`."""
        if self._callbacks is not None:
            gate = Lock()
            gate.acquire()
            self.when_done(gate.release)
            if not gate.acquire(timeout=-1 if timeout_s is None else timeout_s):
                raise TimeoutError
        return self.peek()

    def __await__(self) -> Generator[Any, None, T]:
        if self._callbacks is not None:
            loop = asyncio.get_running_loop()
            waiter: asyncio.Future[None] = loop.create_future()
            self.when_done(LoopWake(loop, waiter))
            yield from waiter
        return self.peek()

    def then(self, change: Callable[[T], U]) -> Reply[U]:
        """Return a reply with `change(answer)`; an error of this reply, or of `change`, becomes its error."""
        after: Reply[U] = Reply()
        after.about = self.about

        def settle() -> None:
            try:
                changed = change(self.peek())
            except Exception as error:  # noqa: BLE001 - it is the answer, and raised where that is read
                after.fail(error)
            else:
                after.resolve(changed)

        self.when_done(settle)
        return after

    def and_then(self, ask: Callable[[T], Reply[U]]) -> Reply[U]:
        """Return a reply with the answer to `ask(answer)`; an error of this reply, or of `ask`, becomes its error."""
        after: Reply[U] = Reply()
        after.about = self.about

        def settle() -> None:
            try:
                following = ask(self.peek())
            except Exception as error:  # noqa: BLE001 - it is the answer, and raised where that is read
                after.fail(error)
            else:
                following.when_done(lambda: following.pass_on(after))

        self.when_done(settle)
        return after

    def or_else(self, ask: Callable[[BaseException], Reply[T]]) -> Reply[T]:
        """Return a reply with this answer, or, where it is an error, with the answer to `ask(error)`."""
        after: Reply[T] = Reply()
        after.about = self.about

        def settle() -> None:
            try:
                following = self if self._error is None else ask(self._error)
            except Exception as error:  # noqa: BLE001 - it is the answer, and raised where that is read
                after.fail(error)
            else:
                following.when_done(lambda: following.pass_on(after))

        self.when_done(settle)
        return after

    def pass_on(self, other: Reply[T]) -> None:
        """Answer another reply as this one was answered. Only after `done()`."""
        if self._error is not None:
            other.fail(self._error)
        else:
            other.resolve(self._value)


def _call(callback: Callable[[], object]) -> None:
    try:
        callback()
    except Exception:
        logger.exception("a callback of an answer raised")


class LoopWake:
    """A callback that ends one wait on a loop. `resolve_all` calls these first, and wakes a loop once per batch."""

    __slots__ = ("loop", "waiter")

    def __init__(self, loop: asyncio.AbstractEventLoop, waiter: asyncio.Future[None]) -> None:
        self.loop = loop
        self.waiter = waiter

    def __call__(self) -> None:
        _wake(self.loop, [self.waiter])


def _wake(loop: asyncio.AbstractEventLoop, waiters: list[asyncio.Future[None]]) -> None:
    with suppress(RuntimeError):  # the loop was closed, and nobody waits there any more
        loop.call_soon_threadsafe(_release, waiters)


def _release(waiters: list[asyncio.Future[None]]) -> None:
    for waiter in waiters:
        if not waiter.done():
            waiter.set_result(None)


def gather(replies: Sequence[Reply[Any]]) -> Reply[None]:
    """Return a reply that is answered once all of these are, whatever their answers."""
    left, lock, done = len(replies), Lock(), Reply[None]()

    def one_less() -> None:
        nonlocal left
        with lock:
            left -= 1
            last = left == 0
        if last:
            done.resolve(None)

    if not replies:
        return Reply.of(None)
    for reply in replies:
        reply.when_done(one_less)
    return done


def resolve_all(answers: Iterable[tuple[Reply[Any], Any]]) -> None:
    """Answer many replies; an answer that is an exception becomes the reply's error."""
    by_loop: dict[asyncio.AbstractEventLoop, list[asyncio.Future[None]]] = {}
    others: list[Callable[[], object]] = []
    for reply, value in answers:
        failed = isinstance(value, BaseException)
        settle = cast("Callable[[Any, BaseException | None], list[Callable[[], object]]]", reply._settle)
        for callback in settle(_MISSING if failed else value, value if failed else None):
            if isinstance(callback, LoopWake):
                by_loop.setdefault(callback.loop, []).append(callback.waiter)
            else:
                others.append(callback)
    for loop, waiters in by_loop.items():  # first: the engine's may be among them, and tasks are due
        _wake(loop, waiters)
    for callback in others:
        _call(callback)
