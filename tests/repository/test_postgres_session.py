"""One connection to a server, and what it says of itself when it is lost."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import asyncpg
import pytest

from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.failures import LOST
from kokugen.repository.postgres.session import Kind, Session, connect
from tests.servers.postgres import FAST, newest, running


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


@pytest.fixture
def by_tcp(postgres_server: object) -> Iterator[str]:
    """The URL of a server that is reached by TCP."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    with running(newest, {**FAST, "listen_addresses": "127.0.0.1", "port": str(port)}):
        yield f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"


@pytest.mark.skipif(sys.platform != "linux", reason="the names of the options are Linux's")
async def test_both_ends_are_to_notice_within_twenty_seconds_that_the_other_is_gone_without_a_word(by_tcp: str) -> None:
    one = await connect(parse(by_tcp), Kind(limit_s=9.0, pinned=True))
    theirs = {name: await one.link.fetchval(f"SHOW tcp_keepalives_{name}") for name in ("idle", "interval", "count")}
    sock = one.link._transport.get_extra_info("socket")
    names = (socket.TCP_KEEPIDLE, socket.TCP_KEEPINTVL, socket.TCP_KEEPCNT, socket.TCP_USER_TIMEOUT)
    ours = [sock.getsockopt(socket.IPPROTO_TCP, name) for name in names]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    await one.close()
    assert (ours, theirs) == ([10, 3, 3, 19_000], {"idle": "10", "interval": "3", "count": "3"})
