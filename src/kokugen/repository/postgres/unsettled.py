"""Claims whose answer was lost: the server may still be at them when their node comes back and asks what it holds.

A claim that is committed after that question would belong to a node that does not know of it, and beats for ever.
"""

from __future__ import annotations

import asyncio

from kokugen.repository.postgres.session import Session
from kokugen.repository.postgres.statement import Statement

LOOK_S = 0.05
KEPT = 100

_AT_IT = Statement(
    "SELECT count(*) FROM pg_stat_activity WHERE pid = $1::integer AND datname = current_database()", ("pid",)
)


class Unsettled:
    """The nonces of such claims, each with the server process that had it and the time at which that gives up."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[int, float]] = {}

    def add(self, nonce: str, session: Session) -> None:
        """Take note of a claim whose answer was lost with this session."""
        self._claims[nonce] = (session.pid, asyncio.get_running_loop().time() + session.limit_s)
        while len(self._claims) > KEPT:
            del self._claims[next(iter(self._claims))]

    async def settle(self, nonce: str, session: Session) -> None:
        """Wait until this claim is committed, or never will be."""
        pid, until_s = self._claims.get(nonce, (0, 0.0))
        at_it = True
        while at_it and asyncio.get_running_loop().time() < until_s:
            at_it = await self._at_it(pid, session)
            await asyncio.sleep(LOOK_S if at_it else 0)
        self._claims.pop(nonce, None)

    @staticmethod
    async def _at_it(pid: int, session: Session) -> bool:
        """Return whether the process may still be there; behind a pooler nobody can say which one it was."""
        return session.pooled or bool((await session.fetch(_AT_IT, {"pid": pid}))[0])
