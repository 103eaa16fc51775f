"""URLs of stores on a test server: each test has a schema of its own there."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any
from urllib.parse import urlencode

import asyncpg


def store_url(server: str, name: object, **options: str) -> str:
    """Return the URL of a store on the server, the same for the same name."""
    digest = hashlib.sha256(str(name).encode()).hexdigest()[:16]
    return f"{server}{'&' if '?' in server else '?'}{urlencode({'schema': f'test_{digest}', **options})}"


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
