"""One connection to a server, set up as kokugen needs it: how it is opened, looked over, and asked.

Isolation, time limits and the planner's choices are set by us, at the start of the session, or, behind a pooler that
deals out connections by the transaction, at the start of every transaction.
"""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from ipaddress import ip_address
from typing import Any

import asyncpg
from msgspec import Struct

from kokugen.errors import RepositoryError, RepositoryUnavailableError
from kokugen.repository.postgres.address import Address
from kokugen.repository.postgres.statement import Statement, load

KEEPALIVE_IDLE_S, KEEPALIVE_INTERVAL_S, KEEPALIVE_COUNT = 10, 3, 3
IDLE_IN_TRANSACTION_S = 10
VERSION_MIN = 130000
STATEMENTS_MAX = 200
HASTE = 0.75
"""The server gives up after this part of the time that a call has, so that its own answer still comes."""

PINNED = {
    "enable_seqscan": "off",
    "enable_bitmapscan": "off",
    "enable_hashjoin": "off",
    "enable_mergejoin": "off",
    "plan_cache_mode": "force_generic_plan",
}
"""The statements of the engine are index probes. A plan that was made while the store was empty must not read all of it
later, nor may one be made anew for each call."""

_FACTS = """
SELECT pg_is_in_recovery(), current_setting('server_version_num')::integer, current_setting('server_encoding'),
       current_setting('synchronous_commit'), current_setting('fsync') = 'on'
"""


class Facts(Struct, frozen=True):
    """What a server says of itself when it is connected to."""

    standby: bool
    version: int
    encoding: str
    synchronous_commit: str
    fsync: bool


class Kind(Struct, frozen=True, kw_only=True):
    """What a session is for: how long its statements may take, and whether the planner is told what to do."""

    limit_s: float
    pinned: bool


class Session:
    """One connection, used by one coroutine at a time. What it raises is asyncpg's."""

    def __init__(self, link: Any, address: Address, kind: Kind, settings: Mapping[str, str]) -> None:
        self.pid: int = link.get_server_pid()
        self.pooled = address.pooled
        self.limit_s = kind.limit_s * HASTE
        self.near = _is_near(link)
        """Whether the server seems to be on this machine."""
        self._link = link
        self._schema = address.schema
        self._begin = "BEGIN ISOLATION LEVEL READ COMMITTED; " + "".join(
            f"SET LOCAL {name} = '{value}'; " for name, value in settings.items()
        )
        self.unsure = False
        """Whether what was sent last may be committed although it was not answered."""

    @property
    def closed(self) -> bool:
        return bool(self._link.is_closed())

    @property
    def link(self) -> Any:
        """Return the connection itself, to listen on."""
        return self._link

    async def row(self, name: str, values: Mapping[str, Any]) -> Any:
        """Run a statement of this package, committed once it returns; return its first row."""
        return await self.fetch(load(name, self._schema), values)

    async def fetch(self, statement: Statement, values: Mapping[str, Any]) -> Any:
        """Run a statement, committed once it returns; return its first row."""
        try:
            return await self._fetch(statement, statement.values(values))
        except AttributeError as error:
            if not self.closed:
                raise
            # asyncpg stumbles where the connection is dropped between two steps of one statement
            raise asyncpg.InterfaceError("the connection was dropped amid a statement") from error

    async def _fetch(self, statement: Statement, bound: list[Any]) -> Any:
        if not self.pooled:
            self.unsure = True
            answer = await self._link.fetchrow(statement.sql, *bound)
            self.unsure = False
            return answer
        self.unsure = False
        await self._link.execute(self._begin)
        answer = await self._link.fetchrow(statement.sql, *bound)
        self.unsure = True
        await self._link.execute("COMMIT")
        self.unsure = False
        return answer

    async def rescue(self) -> None:
        """Be ready for the next statement after one that the server refused."""
        self.unsure = False
        if self.pooled:
            await self._link.execute("ROLLBACK")

    @contextmanager
    def within(self, until_s: float) -> Iterator[None]:
        """Hang up if the block is not over at `until_s` on the loop's clock: what it waits for raises then.

        To cancel it would have asyncpg send a request of its own after it, and wait for that.
        """
        alarm = asyncio.get_running_loop().call_at(until_s, self.drop)
        try:
            yield
        finally:
            alarm.cancel()

    async def close(self) -> None:
        """Say goodbye and hang up."""
        await self._link.close()

    def drop(self) -> None:
        """Hang up without a word."""
        self._link.terminate()


async def connect(address: Address, kind: Kind) -> Session:
    """Connect and look the server over. Raises what asyncpg raises, and RepositoryError for one that will not do."""
    settings = _settings(kind)
    link = await asyncpg.connect(
        address.dsn,
        server_settings={"application_name": "kokugen", **({} if address.pooled else _at_start(settings))},
        statement_cache_size=0 if address.pooled else STATEMENTS_MAX,
        max_cached_statement_lifetime=0,
        command_timeout=None,
    )
    try:
        _keep_alive(link)
        facts = Facts(*await link.fetchrow(_FACTS))
        _check(facts, address)
        if facts.synchronous_commit == "off":
            settings["synchronous_commit"] = "on"
            if not address.pooled:
                await link.execute("SET synchronous_commit = on")
    except BaseException:
        link.terminate()
        raise
    return Session(link, address, kind, settings)


def _settings(kind: Kind) -> dict[str, str]:
    limits = {
        "statement_timeout": f"{int(kind.limit_s * HASTE * 1000)}ms",
        "idle_in_transaction_session_timeout": f"{IDLE_IN_TRANSACTION_S}s",
        "jit": "off",
    }
    return limits | (PINNED if kind.pinned else {})


def _at_start(settings: Mapping[str, str]) -> dict[str, str]:
    """Return what a session has from its start; the server, too, notices a client that is gone."""
    return {
        **settings,
        "default_transaction_isolation": "read committed",
        "default_transaction_read_only": "off",
        "tcp_keepalives_idle": str(KEEPALIVE_IDLE_S),
        "tcp_keepalives_interval": str(KEEPALIVE_INTERVAL_S),
        "tcp_keepalives_count": str(KEEPALIVE_COUNT),
    }


def _check(facts: Facts, address: Address) -> None:
    if facts.standby:
        raise RepositoryUnavailableError(
            f"the store {address.url} is on a standby, which cannot be written: name the primary, "
            "or several hosts and target_session_attrs=primary"
        )
    if facts.version < VERSION_MIN:
        raise RepositoryError(
            f"{address.url} is PostgreSQL {facts.version // 10000}: kokugen needs {VERSION_MIN // 10000} or newer"
        )
    if facts.encoding != "UTF8":
        raise RepositoryError(
            f"{address.url} is encoded in {facts.encoding}, which cannot hold every text: "
            "use a database that was made with ENCODING 'UTF8'"
        )


def _is_near(link: Any) -> bool:
    sock = link._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return sock is not None
    return ip_address(sock.getpeername()[0].partition("%")[0]).is_loopback


def _keep_alive(link: Any) -> None:
    """Let the operating system notice a peer that is gone without a word."""
    sock = link._transport.get_extra_info("socket")
    if sock is None or sock.family not in (socket.AF_INET, socket.AF_INET6):
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    if sys.platform == "linux":
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE, KEEPALIVE_IDLE_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL, KEEPALIVE_INTERVAL_S)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT, KEEPALIVE_COUNT)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, _USER_TIMEOUT_MS)


_USER_TIMEOUT_MS = (KEEPALIVE_IDLE_S + KEEPALIVE_INTERVAL_S * KEEPALIVE_COUNT) * 1000
