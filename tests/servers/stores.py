"""URLs of stores on a test server: each test has a schema of its own there."""

from __future__ import annotations

import asyncio
import hashlib
import os
from typing import Any
from urllib.parse import urlencode

import asyncpg


def store_url(server: str, name: object, **options: str) -> str:
    """Return the URL of a store on the server, the same for the same name."""
    digest = hashlib.sha256(str(name).encode()).hexdigest()[:16]
    return with_options(server, schema=f"test_{digest}", **options)


def with_options(url: str, **options: str) -> str:
    """Return a URL with more parameters."""
    return f"{url}{'&' if '?' in url else '?'}{urlencode(options)}"


def emptied_store(server: str, admin: str | None = None, *, schema: str | None = None, **options: str) -> str:
    """Return the URL of the one store that the tests of this process share on the server, emptied for the next of them.

    To make the tables anew for every test takes longer than most tests. `admin` is a way to the server, if not this.
    """
    schema = schema or f"test_{os.getpid()}"
    asyncio.run(_empty(admin or server, schema))
    return with_options(server, schema=schema, **options)


async def _empty(server: str, schema: str) -> None:
    link = await asyncpg.connect(server)
    try:
        tables = await link.fetch("SELECT tablename FROM pg_tables WHERE schemaname = $1", schema)
        for name in sorted((name for (name,) in tables), key=lambda name: name != "task"):  # it leaves traces in others
            if name != "meta":
                await link.execute(f'DELETE FROM "{schema}"."{name}"')
    finally:
        await link.close()


def query(server: str, sql: str, *values: Any) -> list[Any]:
    """Ask a server, and return the rows."""

    async def ask() -> list[Any]:
        link = await asyncpg.connect(server)
        try:
            return list(await link.fetch(sql, *values))
        finally:
            await link.close()

    return asyncio.run(ask())


def drop_stores(server: str) -> None:
    """Remove the schemas of all tests from a server that outlives them."""
    for (name,) in query(server, "SELECT nspname::text FROM pg_namespace WHERE nspname LIKE 'test\\_%'"):
        query(server, f'DROP SCHEMA "{name}" CASCADE')
