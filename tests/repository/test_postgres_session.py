"""One connection to a server, and what it says of itself when it is lost."""

from __future__ import annotations

from typing import Any

import asyncpg
import pytest

from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.failures import LOST
from kokugen.repository.postgres.session import Kind, Session


class DroppedLink:
    """asyncpg's connection that was dropped after a statement was prepared and before it is executed."""

    def __init__(self, *, closed: bool) -> None:
        self._closed = closed
        self._transport = self
        self._protocol: Any = None

    def get_server_pid(self) -> int:
        return 1

    def get_extra_info(self, name: str) -> None:
        return None

    def is_closed(self) -> bool:
        return self._closed

    async def fetchrow(self, sql: str, *bound: object) -> object:
        return self._protocol.bind_execute


def session(link: DroppedLink) -> Session:
    return Session(link, parse("postgresql://"), Kind(limit_s=1.0, pinned=False), {})


async def test_a_connection_that_is_dropped_amid_a_statement_is_lost_and_the_statement_may_have_happened() -> None:
    one = session(DroppedLink(closed=True))
    with pytest.raises(asyncpg.InterfaceError, match="dropped") as lost:
        await one.row("notify", {"channel": "c", "payload": "p"})
    assert isinstance(lost.value, LOST)
    assert one.unsure


async def test_a_bug_of_the_driver_on_an_open_connection_is_not_taken_for_a_lost_one() -> None:
    with pytest.raises(AttributeError):
        await session(DroppedLink(closed=False)).row("notify", {"channel": "c", "payload": "p"})
