"""One after the other: whoever wants the next turn waits for the one before, on whichever event loop each runs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from threading import Lock

from kokugen.reply import Reply


class Turns:
    """A lock for coroutines of several event loops, in order of arrival."""

    __slots__ = ("_last", "_lock")

    def __init__(self) -> None:
        self._lock = Lock()
        self._last: Reply[None] = Reply.of(None)

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """Wait for one's turn; the next begins when the block is left."""
        mine: Reply[None] = Reply()
        with self._lock:
            before, self._last = self._last, mine
        try:
            await before
            yield
        finally:  # also where the waiting itself was cancelled
            before.when_done(lambda: mine.resolve(None))
