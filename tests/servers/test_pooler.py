"""The pooler of the tests outlives its clients, as PgBouncer does."""

from __future__ import annotations

import asyncio

import asyncpg

from tests.servers.pooler import SESSIONS, Pooler

PATIENCE_S = 30.0


async def ask(url: str) -> object:
    link = await asyncpg.connect(url, statement_cache_size=0)
    try:
        return await link.fetchval("SELECT 1")
    finally:
        await link.close()


async def die_in_a_transaction(url: str) -> None:
    link = await asyncpg.connect(url, statement_cache_size=0)
    await link.execute("BEGIN")
    link.terminate()


def test_a_client_that_dies_in_its_transaction_takes_no_session_along(pooler: Pooler) -> None:
    url = pooler.url.replace("&pooled=true", "")

    async def outlive() -> object:
        for _ in range(2 * SESSIONS):
            await die_in_a_transaction(url)
        return await asyncio.wait_for(ask(url), PATIENCE_S)

    assert asyncio.run(outlive()) == 1
