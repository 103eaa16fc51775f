"""Claims without an answer: the server may still be at them when their node has given up and asks what it holds.

A claim that is committed after that question would belong to a node that does not know of it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg

from kokugen.repository.postgres.failures import GONE, LOST
from kokugen.repository.postgres.session import Session
from kokugen.repository.postgres.statement import Statement

LOOK_S = 0.05
KEPT = 100

_AT_IT = Statement(
    "SELECT count(*) FROM pg_stat_activity WHERE pid = $1::integer AND datname = current_database()", ("pid",)
)


class Unsettled:
    """The nonces of such claims, each with the server process that has it and the time at which that gives up."""

    def __init__(self) -> None:
        self._claims: dict[str, tuple[int, float]] = {}

    @contextmanager
    def under_way(self, nonce: str, session: Session) -> Iterator[None]:
        """A claim is sent in this block, and settled at its end unless the session was lost amid it.

        What the server refused, on a session that goes on, did nothing and never will.
        """
        refused = False
        self._note(nonce, session)
        try:
            yield
        except asyncpg.PostgresError as error:
            refused = not isinstance(error, (*LOST, *GONE))
            raise
        finally:
            if session.unsure and not refused:
                self._note(nonce, session)
            else:
                self._claims.pop(nonce, None)

    def _note(self, nonce: str, session: Session) -> None:
        self._claims[nonce] = (session.pid, asyncio.get_running_loop().time() + session.limit_s)
        while len(self._claims) > KEPT:
            del self._claims[next(iter(self._claims))]

    async def settle(self, nonce: str, session: Session) -> None:
        """Wait until this claim is committed, or never will be."""
        while (claim := self._claims.get(nonce)) is not None:
            pid, until_s = claim
            if asyncio.get_running_loop().time() >= until_s or not await self._at_it(pid, session):
                break
            await asyncio.sleep(LOOK_S)
        self._claims.pop(nonce, None)

    @staticmethod
    async def _at_it(pid: int, session: Session) -> bool:
        """Return whether the process may still be there; behind a pooler nobody can say which one it was."""
        return session.pooled or bool((await session.fetch(_AT_IT, {"pid": pid}))[0])
