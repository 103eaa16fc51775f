"""The statements on a user's connection, where the planner is not told what to do: still, no table is read whole."""

from __future__ import annotations

import json
from contextlib import closing
from typing import Any

import psycopg
import pytest

from kokugen import Scheduler
from kokugen.repository.postgres.guest import load
from kokugen.repository.postgres.links import pyformat
from tests.within.places import server_of

TASKS = 50_000
FILL = """
INSERT INTO {schema}.task (namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care,
                           max_attempts, max_lost, created_at, modified_at)
SELECT 'default', 'id-' || n, 'w', 1, 1, '{{}}', 'default', -1, 0, 0, 1, 3, 1, 1 FROM generate_series(1, {tasks}) AS n;
INSERT INTO {schema}.attempt (namespace, task_id, fence, attempt, outcome, finished_at)
SELECT 'default', 'id-' || n, 1, 1, 'retry', 1 FROM generate_series(1, {tasks}) AS n;
UPDATE {schema}.task SET state = 1, claim = 'c', owner = 'o' WHERE id = 'id-77';
"""
FAILED = ["id-77", "c", 4, "failed", None, 0, 1, None, None, "an error", None]
NEW = ["new", "w", 1, 1, "{}", "default", -1, 0, 1, 3, *[None] * 7]
COMMON: dict[str, Any] = {"ns": "default", "now": None}
ASKED: dict[str, dict[str, Any]] = {
    "add": {"rows": json.dumps([NEW]), "line_up": 0},
    "holders": {"rows": json.dumps([["id-77", "a key"]])},
    "finish": {"rows": json.dumps([FAILED]), "kept": 100},
    "lock": {"id": "id-77"},
}


@pytest.mark.parametrize("analyzed", [False, True])
def test_no_table_is_read_whole_on_a_users_connection(analyzed: bool, postgres_store: str) -> None:
    schema = postgres_store.partition("schema=")[2]
    with closing(Scheduler(postgres_store)) as scheduler:
        scheduler.open()
    with psycopg.connect(server_of(postgres_store)) as link:
        for table in ("task", "attempt"):  # else what the planner knows depends on when that comes by
            link.execute(f"ALTER TABLE {schema}.{table} SET (autovacuum_enabled = false)".encode())
        link.execute(FILL.format(schema=schema, tasks=TASKS).encode())
        if analyzed:
            link.execute(f"ANALYZE {schema}.task, {schema}.attempt".encode())
        for name, values in ASKED.items():
            statement = pyformat(load(name, schema))
            plan = link.execute(f"EXPLAIN (COSTS OFF) {statement}".encode(), COMMON | values).fetchall()
            whole = [
                line for (line,) in plan if "Seq Scan on" in line and "limit_rule" not in line
            ]  # all are asked for
            assert whole == [], name
        link.rollback()
