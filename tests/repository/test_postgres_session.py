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
from kokugen.repository.postgres.statement import compiled
from tests.servers.pooler import Pooler, pooling
from tests.servers.postgres import FAST, PostgresServer, newest, running
from tests.servers.stores import query


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


@pytest.fixture
def odd_pooler(postgres_server: PostgresServer) -> Iterator[Pooler]:
    """A pooler whose sessions have other settings than kokugen needs."""
    odd = {"synchronous_commit": "off", "default_transaction_isolation": "serializable", "enable_seqscan": "on"}
    for name, value in odd.items():
        query(postgres_server.url, f"ALTER ROLE postgres SET {name} TO '{value}'")
    try:
        with pooling(postgres_server.socket) as pooler:
            yield pooler
    finally:
        query(postgres_server.url, "ALTER ROLE postgres RESET ALL")


async def test_behind_a_pooler_every_transaction_sets_what_it_needs_in_whichever_session(odd_pooler: Pooler) -> None:
    needed = {
        "transaction_isolation": "read committed",
        "synchronous_commit": "on",
        "statement_timeout": "3s",
        "idle_in_transaction_session_timeout": "10s",
        "enable_seqscan": "off",
        "plan_cache_mode": "force_generic_plan",
    }
    settings = ", ".join(f"current_setting('{name}')" for name in needed)
    look = compiled(f"SELECT pg_backend_pid(), {settings}", "public")
    one = await connect(parse(odd_pooler.url), Kind(limit_s=4.0, pinned=True))
    found = [tuple(await one.fetch(look, {})) for _ in range(6)]
    await one.close()
    assert len({pid for pid, *_ in found}) > 1
    assert {tuple(shown) for _, *shown in found} == {tuple(needed.values())}
