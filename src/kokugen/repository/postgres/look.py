"""A look at a store as it is, or at another table, from outside: it makes nothing and changes nothing.

The command line asks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import asyncpg

from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.migration import stored_version
from kokugen.repository.postgres.session import Kind, Session, connect

T = TypeVar("T")


def version_at(url: str) -> int | None:
    """Return the schema version of a store; None where there is none yet. Raises OptionError, RepositoryError."""
    return version_of(parse(url))


def version_of(address: Address) -> int | None:
    """Return the schema version of a store by its address, as `version_at`."""
    return asyncio.run(_asked(address, address.timeout_s, lambda session: stored_version(session.link, address)))


def rows_at(url: str, query: str, limit_s: float) -> list[tuple[Any, ...]]:
    """Return what a query answers with. Raises OptionError, RepositoryError."""

    async def fetch(session: Session) -> list[tuple[Any, ...]]:
        async with session.link.transaction(readonly=True):
            return [tuple(row) for row in await session.link.fetch(query)]

    return asyncio.run(_asked(parse(url), limit_s, fetch))


async def _asked(address: Address, limit_s: float, ask: Callable[[Session], Awaitable[T]]) -> T:
    try:
        async with asyncio.timeout(limit_s):
            session = await connect(address, Kind(limit_s=limit_s, pinned=False))
            try:
                return await ask(session)
            finally:
                session.drop()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise explain(error, address.url) from error
