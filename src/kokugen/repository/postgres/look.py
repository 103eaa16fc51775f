"""A look at a store as it is, from outside: it makes nothing and changes nothing. The command line asks."""

from __future__ import annotations

import asyncio

import asyncpg

from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.migration import stored_version
from kokugen.repository.postgres.session import Kind, connect


def version_at(url: str) -> int | None:
    """Return the schema version of a store; None where there is none yet. Raises OptionError, RepositoryError."""
    return asyncio.run(_version(parse(url)))


async def _version(address: Address) -> int | None:
    try:
        async with asyncio.timeout(address.timeout_s):
            session = await connect(address, Kind(limit_s=address.timeout_s, pinned=False))
            try:
                return await stored_version(session.link, address)
            finally:
                session.drop()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        raise explain(error, address.url) from error
