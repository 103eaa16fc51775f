"""Only the schedules that are due are touched, however many there are, and only the tasks of the schedule at hand."""

from __future__ import annotations

import asyncio
import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.session import PINNED
from kokugen.repository.postgres.statement import load
from kokugen.repository.sqlite import decisions, schedules
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw, Connection
from tests.servers.stores import store_url

# -- SQLite

INDEX_OF = {
    "due": (schedules._DUE, "schedule", "schedule_due (namespace=? AND wake_at>? AND wake_at<?)"),
    "write": (schedules._WRITE, "schedule", "(namespace=? AND id=?)"),
    "remove": (schedules._REMOVE, "schedule", "(namespace=? AND id=?)"),
    "take back": (schedules._TAKE_BACK, "schedule", "(namespace=? AND id=?)"),
    "drop": (schedules._DROP, "task", "task_occurrence (namespace=? AND schedule_id=? AND nominal>?)"),
    "latest of the ledger": (schedules._LATEST, "ledger", "ledger_schedule (namespace=? AND schedule_id=?)"),
    "matching decisions": (decisions._MATCHING, "s", "(namespace=? AND id=?)"),
    "write decisions": (decisions._WRITE, "schedule", "INTEGER PRIMARY KEY (rowid=?)"),
    "release after decisions": (decisions._RELEASE, "task", "(namespace=? AND id=?)"),
    "latest of ledgers": (decisions._LATEST, "ledger", "INTEGER PRIMARY KEY (rowid=?)"),
    "extend ledgers": (decisions._EXTEND, "ledger", "INTEGER PRIMARY KEY (rowid=?)"),
    "overdue": (schedules._OVERDUE, "task", "task_overlap_due (namespace=? AND due_at<?)"),
    "tasks of a ledger": (schedules._TASKS, "task", "(namespace=? AND schedule_id=? AND nominal>? AND nominal<?)"),
    "rows of a ledger": (schedules._LEDGER, "ledger", "ledger_schedule (namespace=? AND schedule_id=? AND last>?)"),
    "ends": (schedules._ENDS, "occurrence_end", "(namespace=? AND schedule_id=? AND nominal>? AND nominal<?)"),
}
BY_SCHEDULE = {
    "release": schedules._RELEASE,
    "judge": schedules._JUDGE,
    "ask to stop": schedules._ASK_TO_STOP,
    "end what waits": schedules._END_WAITING,
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "tasks.db"
    db = connect(Apsw(), path)
    migrate(db, path, "cluster")
    yield db
    db.close()


def plan(db: Connection, sql: str, table: str) -> list[str]:
    names = dict.fromkeys(re.findall(r":([a-z]\w*)", sql))
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", names)]
    return [step for step in steps if re.search(rf"\b(SEARCH|SCAN) {table}\b", step)]


@pytest.mark.parametrize(("sql", "table", "index"), INDEX_OF.values(), ids=INDEX_OF)
def test_each_statement_reads_the_rows_it_is_about(db: Connection, sql: str, table: str, index: str) -> None:
    steps = plan(db, sql, table)
    assert steps
    assert all(index in step for step in steps), steps


@pytest.mark.parametrize("sql", BY_SCHEDULE.values(), ids=BY_SCHEDULE)
def test_overlap_looks_at_the_tasks_of_one_schedule_alone(db: Connection, sql: str) -> None:
    steps = plan(db, sql, "task")
    assert steps
    keys = ("(namespace=? AND schedule_id=?", "(namespace=? AND id=?)")
    assert all(any(key in step for key in keys) for step in steps), steps


# -- PostgreSQL

SCHEDULES = 100_000
TASKS = 100_000
STEP_US = 1_000
BUFFERS_MAX = 120
"""An index probe of such a table reads three or four pages; a change with a task writes to twenty of them."""

FILL = f"""
INSERT INTO {{schema}}.schedule (decided, next_at, wake_at, created_at, modified_at, gen, rev, edition, runs, skipped,
  coalesced, namespace, id, name, spec, policy, template, overlap)
SELECT 0, n * {STEP_US}, n * {STEP_US}, 0, 0, 1, 1, 1, 0, 0, 0, 'default', 's' || n, 'n' || n, '', '', '', 'queue_one'
  FROM generate_series(1, {SCHEDULES}) n;
INSERT INTO {{schema}}.task (namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care,
  max_attempts, max_lost, created_at, modified_at, schedule_id, nominal, overlap, hold)
SELECT 'default', 't' || n, 'work', n, n, '{{{{}}}}', 'default', -1, 0, 0, 1, 3, 0, 0, 's' || n / 2, n, 'queue_one',
  CASE n % 2 WHEN 1 THEN 'overlap' END
  FROM generate_series(1, {TASKS}) n;
INSERT INTO {{schema}}.ledger (first, last, count, at, gen, namespace, schedule_id, reason)
SELECT n, n, 1, 0, 1, 'default', 's' || n / 2, 'made' FROM generate_series(1, {TASKS}) n;
"""
ROW = ["s7", "n7", None, "", "", "", "queue_one", 1, 2, 1, 5, 9, 9, *[None] * 5, 0, 0, 0, 0, 0, None, 0, None, 0]
NEW_TASK = ["new", "work", 1, 1, "{}", "default", -1, 0, 1, 3, *[None] * 8, "s7", 10**9, "queue_one", True]
ENTRY = ["s7", 1, 10**9, 10**9, 1, "made", None, None, 1]
CHANGE = [ROW, 1, False, 10**9, [NEW_TASK], [ENTRY], None]
ASKED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "nothing is due": ("due_schedules", {"until": 0, "most": 200}),
    "the next one": ("due_schedules", {"until": 2**62, "most": 1}),
    "a change": ("change_schedules", {"changes": json.dumps([CHANGE]), "now": 1}),
    "nothing is on hold": ("settle_overlaps", {"until": 0, "most": 200, "now": 1}),
    "one is on hold": ("settle_overlaps", {"until": 1, "most": 200, "now": 1}),
    "a part of a ledger": ("ledger", {"id": "s7", "first": 7, "last": 8, "most": 10}),
}


async def buffers(url: str, statement: str, values: Mapping[str, Any], *, analyzed: bool) -> int:
    """Carry out a statement on a filled store, planned as a node plans it; return how many pages it looked at."""
    schema = url.partition("schema=")[2]
    link = await asyncpg.connect(parse(url).dsn, server_settings={**PINNED, "jit": "off"})
    try:
        sql = load(statement, schema)
        if analyzed:
            await link.execute(f"ANALYZE {schema}.schedule; ANALYZE {schema}.task; ANALYZE {schema}.ledger")
        await link.execute("BEGIN")
        bound = sql.values({"ns": "default", **values})
        await link.fetchrow(sql.sql, *bound)  # the first time reads the catalogue, too
        await link.execute("ROLLBACK; BEGIN")
        (told,) = await link.fetchrow(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) {sql.sql}", *bound)
        await link.execute("ROLLBACK")
        top = json.loads(told)[0]["Plan"]
        return int(top["Shared Hit Blocks"]) + int(top["Shared Read Blocks"])
    finally:
        await link.close()


@pytest.fixture(scope="module")
def filled(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = store_url(postgres, tmp_path_factory.getbasetemp() / "schedule plans")
    repository = PostgresRepository(url)
    repository.open()
    repository.close()

    async def fill() -> None:
        link = await asyncpg.connect(postgres)
        try:
            await link.execute(FILL.format(schema=url.partition("schema=")[2]))
        finally:
            await link.close()

    asyncio.run(fill())
    return url


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "values"), ASKED.values(), ids=ASKED)
def test_of_a_hundred_thousand_schedules_only_those_are_touched_that_are_due(
    filled: str, statement: str, values: Mapping[str, Any], analyzed: bool
) -> None:
    assert asyncio.run(buffers(filled, statement, values, analyzed=analyzed)) <= BUFFERS_MAX
