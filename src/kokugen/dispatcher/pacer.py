"""A thread that lets things happen at their time: a heap and a timed wait, ten times as exact as epoll's timers.

Dispatchers have one each: it posts runs at their due time and asks runs to stop after their timeout. The thread
starts with the first entry and costs nothing while there is none.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Callable, Iterable
from itertools import count
from threading import Condition, Thread
from typing import Any, Protocol, TypeVar

from kokugen.clock import SECOND_US, Clock

T = TypeVar("T")
Post = Callable[[list[T]], object]

WAIT_S_MAX = 1.0
"""No wait is longer, so that a step of the wall clock is noticed in time."""

logger = logging.getLogger(__name__)


class Cancellable(Protocol):
    """A call to come that can be taken back."""

    def cancel(self) -> None:
        """Take it back. Where the call is under way already this does nothing."""
        ...


class Pacing(Protocol):
    """What a dispatcher needs of time. `Pacer` is the one for real time."""

    def at_many(self, items: Iterable[tuple[int, T]], post: Post[T]) -> None:
        """Call `post` with each item once its wall time has come, never before: with a list of all that are due."""
        ...

    def after(self, delay_us: int, callback: Callable[[], object]) -> Cancellable:
        """Call `callback()` after a delay that no step of the wall clock changes, unless it is cancelled before."""
        ...

    def withdraw(self, post: Post[T]) -> list[T]:
        """Take back the items that `post` was not yet called with, and return them."""
        ...

    def stop(self) -> None:
        """Go once nothing is left to call. Does not wait for it."""
        ...


class Delay:
    """A call to come, until it is cancelled."""

    __slots__ = ("callback",)

    def __init__(self, callback: Callable[[], object]) -> None:
        self.callback: Callable[[], object] | None = callback

    def cancel(self) -> None:
        self.callback = None


class Pacer:
    """Calls back on a thread of its own: keep it short. Any thread may ask."""

    def __init__(self, clock: Clock, name: str = "kokugen-pacer") -> None:
        self._clock = clock
        self._name = name
        self._order = count()
        self._dues: list[tuple[int, int, Post[Any], Any]] = []
        self._delays: list[tuple[float, int, Delay]] = []
        self._compact_at = 1024
        self._changed = Condition()
        self._thread: Thread | None = None
        self._stopping = False

    def at(self, when_us: int, callback: Callable[[], object]) -> None:
        """Call `callback()` once the wall clock has reached `when_us`, never before."""
        self.at_many([(when_us, callback)], lambda _: callback())

    def at_many(self, items: Iterable[tuple[int, T]], post: Post[T]) -> None:
        with self._changed:
            head = self._dues[0] if self._dues else None
            for when_us, item in items:
                heapq.heappush(self._dues, (when_us, next(self._order), post, item))
            if self._dues and self._dues[0] is not head:
                self._wake()

    def after(self, delay_us: int, callback: Callable[[], object]) -> Delay:
        delay = Delay(callback)
        with self._changed:
            entry = (self._clock.boot_s() + delay_us / SECOND_US, next(self._order), delay)
            heapq.heappush(self._delays, entry)
            if self._delays[0] is entry:
                self._wake()
            if len(self._delays) >= self._compact_at:
                self._compact()
        return delay

    def withdraw(self, post: Post[T]) -> list[T]:
        with self._changed:
            mine = [entry[3] for entry in self._dues if entry[2] == post]
            self._dues = [entry for entry in self._dues if entry[2] != post]
            heapq.heapify(self._dues)
        return mine

    def stop(self) -> None:
        with self._changed:
            self._stopping = True
            self._changed.notify()

    def _wake(self) -> None:
        if self._thread is None:
            self._thread = Thread(target=self._serve, name=self._name, daemon=True)
            self._thread.start()
        self._changed.notify()

    def _compact(self) -> None:
        """Drop cancelled delays, so that they take memory in proportion to the live ones."""
        self._delays = [entry for entry in self._delays if entry[2].callback is not None]
        heapq.heapify(self._delays)
        self._compact_at = max(1024, 2 * len(self._delays))

    def _serve(self) -> None:
        while (calls := self._next_calls()) is not None:
            for post, items in calls:
                try:
                    post(items)
                except Exception:
                    logger.exception("a callback of %s raised", self._name)

    def _next_calls(self) -> list[tuple[Post[Any], list[Any]]] | None:
        """Wait until something is due and return it; None: the pacer was stopped, and nothing is left."""
        with self._changed:
            while True:
                calls = [*self._due_posts().items(), *self._due_delays()]
                if calls:
                    return calls
                if self._stopping and not self._dues and not self._delays:
                    self._thread = None
                    return None
                self._changed.wait(self._wait_s())

    def _due_posts(self) -> dict[Post[Any], list[Any]]:
        posts: dict[Post[Any], list[Any]] = {}
        now_us = self._clock.wall_us()
        while self._dues and self._dues[0][0] <= now_us:
            _, _, post, item = heapq.heappop(self._dues)
            posts.setdefault(post, []).append(item)
        return posts

    def _due_delays(self) -> list[tuple[Post[Any], list[Any]]]:
        due: list[tuple[Post[Any], list[Any]]] = []
        now_s = self._clock.boot_s()
        while self._delays and (self._delays[0][0] <= now_s or self._delays[0][2].callback is None):
            callback = heapq.heappop(self._delays)[2].callback
            if callback is not None:
                due.append((_call_first, [callback]))
        return due

    def _wait_s(self) -> float | None:
        waits: list[float] = []
        if self._dues:
            waits.append((self._dues[0][0] - self._clock.wall_us()) / SECOND_US)
        if self._delays:
            waits.append(self._delays[0][0] - self._clock.boot_s())
        return min(WAIT_S_MAX, max(0.0, min(waits))) if waits else None


def _call_first(callbacks: list[Callable[[], object]]) -> None:
    callbacks[0]()
