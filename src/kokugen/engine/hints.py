"""How the engine hears, from any thread, that tasks may have become due.

Its loop is woken once for all hints that come together. While it rests it need not even wake to claim: the thread
that hints asks for it, and in a store that answers in order the claim follows what made the task wait at once.
"""

from __future__ import annotations

import asyncio
import os
from collections import deque
from collections.abc import Callable
from contextlib import suppress
from threading import Lock

from kokugen.clock import SECOND_US, Clock
from kokugen.engine.lane import Party
from kokugen.reply import LoopWake
from kokugen.settings import Settings
from kokugen.task_storage.leasing import Asked

Asking = Callable[[], dict[Party, Asked]]


class Hints:
    """Passes hints on to `heard`, on the loop; `ask` asks for the claims of a resting engine, in the hinting thread."""

    def __init__(self, heard: Callable[[int], object], ask: Asking, *, clock: Clock, settings: Settings) -> None:
        self._heard = heard
        self._ask = ask
        self._wall_us = clock.wall_us
        self._ahead_us = int(settings.ahead_s * SECOND_US)
        self._soon_us = int(settings.poll_s * SECOND_US) + self._ahead_us
        self._loop: asyncio.AbstractEventLoop | None = None
        self._dues: deque[int] = deque()
        self._told = False
        self._pid = 0
        self._lock = Lock()
        self._rest: asyncio.Future[None] | None = None
        self._asked: dict[Party, Asked] = {}

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Pass hints on to this loop from now on."""
        self._loop, self._pid = loop, os.getpid()

    def close(self) -> None:
        """Pass on nothing more."""
        self._loop = None

    def rest(self, until: asyncio.Future[None]) -> None:
        """The engine has nothing to claim: the next hint may ask for it, and ends the rest with the answer."""
        with self._lock:
            self._rest = until

    def resume(self) -> dict[Party, Asked]:
        """The engine claims by itself again. Return what was asked for meanwhile."""
        with self._lock:
            self._rest, asked, self._asked = None, self._asked, {}
        return asked

    def hint(self, due_us: int) -> None:
        """Take note that a task due then may have come; 0: unknown. What is due later is found by the poll in time.

        What is due at a time that is known is asked for at once. Of the rest the loop knows more, and asks itself.
        """
        loop, wait_us = self._loop, due_us - self._wall_us()
        if loop is None or wait_us >= self._soon_us:
            return
        if self._rest is not None and due_us and wait_us <= self._ahead_us and self._ask_now(loop):
            return
        self._dues.append(due_us)
        if not self._told:
            self._told = True
            with suppress(RuntimeError):  # the loop was closed: nobody is there to be told any more
                loop.call_soon_threadsafe(self._hear)

    def _ask_now(self, loop: asyncio.AbstractEventLoop) -> bool:
        with self._lock:
            rest, self._rest = self._rest, None
            if rest is None or self._pid != os.getpid():  # a forked child has a copy of it, which claims for nobody
                return False
            asked = self._asked = self._ask()
        for one in asked.values():
            one.reply.when_done(LoopWake(loop, rest))
        return bool(asked)

    def _hear(self) -> None:
        self._told = False
        dues = [self._dues.popleft() for _ in range(len(self._dues))]
        if dues:  # what came while the last ones were being heard may have been heard with them
            self._heard(min(dues))
