"""Transactions that are committed long after their rows were stamped: who looks for changes, and what is missed.

Claims see every committed row that is due, and have no cursor; the feed of changes goes back a minute each time. The
control is what many systems do: it asks for what is newer than the newest that it has seen.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Any

import asyncpg

from kokugen.clock import SystemClock
from kokugen.ids import IdSource, system_random
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.rows import ClaimRequest
from kokugen.task import TaskInfo
from kokugen.task_storage.feed import ChangeFeed
from tests.chaos.stage import SHOWING, Findings, Stage
from tests.faults.ground import PostgresGround
from tests.faults.judge import Kind, Verdict

WRITERS = 40
DELAY_MAX_S = 0.3
WATCHED, CLAIMED = "watched", "claimed"
INSERT = """
    INSERT INTO {schema}.task (namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care,
      max_attempts, max_lost, created_at, modified_at)
    SELECT namespace, $1, 'w', stamp.us, stamp.us, '{{}}', 'default', -1, 0, 0, 1, 3, stamp.us, stamp.us
      FROM unnest(ARRAY['watched', 'claimed']) AS namespace,
           (SELECT (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS us) AS stamp
"""
NEWER = (
    "SELECT id, modified_at FROM {schema}.task WHERE namespace = 'watched' AND modified_at > $1 ORDER BY modified_at"
)

Look = Callable[[set[str]], Awaitable[None]]


def delay_commits(stage: Stage, count: int) -> Findings:
    with stage.server() as server:
        ground = PostgresGround(server.url, stage.folder)
        stores = {name: PostgresRepository(ground.url, namespace=name) for name in (WATCHED, CLAIMED)}
        try:
            for store in stores.values():
                store.open()
            written, seen = asyncio.run(watched(stage, count, server.url, ground.schema, stores))
        finally:
            for store in stores.values():
                store.close()
    missed = {name: len(written - ids) for name, ids in seen.items()}
    verdicts = [
        Verdict(Kind.LOST, f"{name} missed {missed[name]} of {count}") for name in ("feed", "claims") if missed[name]
    ]
    if count >= SHOWING and not missed["control"]:
        verdicts.append(Verdict(Kind.UNEXPLAINED, "nothing was shown: the control missed nothing"))
    notes = {f"missed_by_{name}": number for name, number in missed.items()}
    return Findings(count=count, tasks=len(written), verdicts=verdicts, notes=notes)


async def watched(
    stage: Stage, count: int, server: str, schema: str, stores: dict[str, PostgresRepository]
) -> tuple[set[str], dict[str, set[str]]]:
    """Have tasks written while three look for them, each to its end; return what was written, and seen by whom."""
    link = await asyncpg.connect(server)
    looks: dict[str, Look] = {
        "control": control(link, NEWER.format(schema=schema)),
        "feed": feed(stores[WATCHED]),
        "claims": claims(stores[CLAIMED]),
    }
    seen: dict[str, set[str]] = {name: set() for name in looks}
    over = asyncio.Event()
    looking = [asyncio.create_task(keep_looking(look, seen[name], over)) for name, look in looks.items()]
    written = await write(stage, count, server, INSERT.format(schema=schema))
    over.set()
    await asyncio.gather(*looking)
    await link.close()
    return written, seen


async def keep_looking(look: Look, seen: set[str], over: asyncio.Event) -> None:
    """Look again and again, and once more when all is written."""
    while not over.is_set():
        await look(seen)
        await asyncio.sleep(0)
    await look(seen)


async def write(stage: Stage, count: int, server: str, sql: str) -> set[str]:
    """Insert so many tasks in transactions that stay open for a while, many at once."""
    written: set[str] = set()
    left = iter(range(count))
    ids = IdSource(SystemClock(), system_random())

    async def writer() -> None:
        link = await asyncpg.connect(server)
        for _ in left:
            task_id = ids.task_id()
            async with link.transaction():
                await link.execute(sql, task_id)
                await pause(stage.random.random() * DELAY_MAX_S)
            written.add(task_id)
            if len(written) % 1000 == 0:
                stage.say(f"{len(written)} of {count} changes")
        await link.close()

    await asyncio.gather(*(writer() for _ in range(WRITERS)))
    return written


async def pause(span_s: float) -> None:
    """Leave the transaction open for so long: this is the fault."""
    over = asyncio.Event()
    asyncio.get_running_loop().call_later(span_s, over.set)
    await over.wait()


# -- Those who look


def control(link: Any, sql: str) -> Look:
    newest = 0

    async def look(seen: set[str]) -> None:
        nonlocal newest
        for task_id, stamp in await link.fetch(sql, newest):
            seen.add(task_id)
            newest = max(newest, stamp)

    return look


def feed(store: PostgresRepository) -> Look:
    async def fetch(since: datetime) -> list[TaskInfo]:
        return list(await store.get_updated_since(since))

    changes = ChangeFeed(fetch)

    async def look(seen: set[str]) -> None:
        async for info in changes.changes():
            seen.add(info.id)
            changes.learn(info)

    return look


def claims(store: PostgresRepository) -> Look:
    ids = IdSource(SystemClock(), system_random())
    node_id = ids.node_id()

    async def look(seen: set[str]) -> None:
        more = True
        while more:
            answer = await store.claim(ClaimRequest(node_id=node_id, nonce=ids.nonce(), slots=1000))
            seen |= {task.id for task in answer.tasks}
            more = bool(answer.tasks)

    return look
