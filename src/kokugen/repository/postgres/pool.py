"""A few connections of one kind, opened when they are needed and closed when they are not.

While the server is away, one attempt at a time is made, after a pause that grows; whoever waits hears at their own
deadline what the last attempt met with.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import suppress
from random import Random

import asyncpg

from kokugen.errors import KokugenError, RepositoryError, RepositoryUnavailableError
from kokugen.repository.postgres.address import Address
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.session import Kind, Session, connect

PAUSE_MIN_S, PAUSE_MAX_S = 0.1, 4.0
IDLE_S = 60.0
CLOSE_S = 1.0


class Pool:
    """Sessions to one address. Lives on one event loop."""

    def __init__(self, address: Address, kind: Kind, most: int, random: Random) -> None:
        self._address = address
        self._kind = kind
        self._random = random
        self._places = asyncio.Semaphore(most)
        self._connecting = asyncio.Lock()
        self._idle: deque[tuple[Session, float]] = deque()
        self._pause_s = 0.0
        self._not_before_s = 0.0
        self._away_since_s = 0.0
        self._refusal: KokugenError | None = None

    async def take(self, until_s: float) -> Session:
        """Return a session for one's own use, to be given back. Raises RepositoryError at `until_s` (loop time)."""
        if self._idle and not self._places.locked():  # as nearly always: no alarm need be set
            await self._places.acquire()
            if (session := self._waiting()) is not None:
                return session
            self._places.release()
        try:
            async with asyncio.timeout_at(until_s):
                await self._places.acquire()
                try:
                    return self._waiting() or await self._connected()
                except BaseException:
                    self._places.release()
                    raise
        except TimeoutError:
            raise self._refusal or self._unavailable("all its connections are in use") from None

    def give(self, session: Session) -> None:
        """Take a session back; one that is closed is forgotten."""
        self._places.release()
        if not session.closed:
            self._idle.append((session, self._now_s()))

    async def probe(self) -> Session:
        """Connect at once, and return the session for one's own use. Raises RepositoryError."""
        await self._places.acquire()
        try:
            return await self._attempt()
        except BaseException:
            self._places.release()
            raise

    async def trim(self) -> None:
        """Close what was idle for long, but one."""
        while len(self._idle) > 1 and self._idle[0][1] < self._now_s() - IDLE_S:
            await _close(self._idle.popleft()[0])

    async def close(self) -> None:
        """Close what is idle. Who still uses a session closes that one."""
        while self._idle:
            await _close(self._idle.pop()[0])

    def _waiting(self) -> Session | None:
        while self._idle:
            session, _ = self._idle.pop()  # the one used last: the others may be trimmed
            if not session.closed:
                return session
        return None

    async def _connected(self) -> Session:
        async with self._connecting:
            while True:
                await asyncio.sleep(self._not_before_s - self._now_s())
                try:
                    return await self._attempt()
                except RepositoryError as error:
                    self._refusal = error
                    self._put_off()

    async def _attempt(self) -> Session:
        try:
            async with asyncio.timeout(self._address.timeout_s):
                session = await connect(self._address, self._kind)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise explain(error, self._address.url) from error
        self._pause_s = self._not_before_s = 0.0
        self._refusal = None
        return session

    def _put_off(self) -> None:
        """Pause before the next attempt: longer each time, unlike other nodes, and no longer than it has been away."""
        now_s = self._now_s()
        if not self._pause_s:
            self._away_since_s = now_s
        drawn_s = self._random.uniform(PAUSE_MIN_S, max(PAUSE_MIN_S, self._pause_s * 3))
        self._pause_s = min(PAUSE_MAX_S, drawn_s, max(PAUSE_MIN_S, now_s - self._away_since_s))
        self._not_before_s = now_s + self._pause_s

    def _unavailable(self, why: str) -> RepositoryUnavailableError:
        return RepositoryUnavailableError(f"the store {self._address.url} cannot be used just now: {why}")

    @staticmethod
    def _now_s() -> float:
        return asyncio.get_running_loop().time()


async def _close(session: Session) -> None:
    with suppress(OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        try:
            async with asyncio.timeout(CLOSE_S):
                await session.close()
        except TimeoutError:
            session.drop()
