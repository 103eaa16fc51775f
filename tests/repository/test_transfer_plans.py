"""How a store is copied: each row, also of the log, is looked up by an index, and none by a walk through all."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from kokugen.clock import SystemClock
from kokugen.repository.locate import open_archive, open_repository
from kokugen.repository.postgres.transfer import PostgresArchive
from kokugen.repository.sqlite import transfer as sqlite
from kokugen.repository.sqlite.transfer import SQLiteArchive
from kokugen.repository.transfer import certain_of
from tests.servers.stores import emptied_store
from tests.within.places import server_of
from tests.within.test_plans import FILL, TASKS

LOOKED_UP = {
    "attempt": "(namespace=? AND task_id=? AND fence=?)",
    "audit": "audit_task (namespace=? AND task_id=? AND at=?)",
    "ledger": "ledger_schedule (namespace=? AND schedule_id=? AND last=?)",
    "limit_bucket": "(namespace=? AND name=?)",
    "limit_rule": "(namespace=? AND name=?)",
    "node": "(node_id=?)",
    "occurrence_end": "occurrence_end_schedule (namespace=? AND schedule_id=? AND nominal=?)",
    "schedule": "(namespace=? AND id=?)",
    "schedule_audit": "schedule_audit_schedule (namespace=? AND schedule_id=? AND at=?)",
    "task": "(namespace=? AND id=?)",
}


def made(url: str) -> str:
    repository = open_repository(url, namespace="default", clock=SystemClock())
    repository.open()
    repository.close()
    return url


@pytest.fixture(params=["sqlite", "sqlite+sqlite3"])
def file(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[SQLiteArchive]:
    archive = open_archive(made(f"{request.param}:///{tmp_path}/tasks.db"), write=True, namespace=None)
    assert isinstance(archive, SQLiteArchive)
    yield archive
    archive.close()


def test_each_row_of_a_file_is_looked_up_by_an_index(file: SQLiteArchive) -> None:
    shapes = file.shapes()
    assert shapes.keys() == LOOKED_UP.keys()
    for table, shape in shapes.items():
        asked = [sqlite.find_sql(table, shape)]
        if not shape.key:  # the others rely on the conflict of their keys
            asked.append(sqlite.add_sql(table, shape))
        for sql in asked:
            plan = [row[3] for row in file._db.execute(f"EXPLAIN QUERY PLAN {sql}", {"rows": "[]"})]
            reads = [step for step in plan if step.split()[:2] in (["SEARCH", "t"], ["SCAN", "t"])]
            assert len(reads) == 1, plan
            assert reads[0].startswith("SEARCH"), reads
            assert LOOKED_UP[table] in reads[0], reads


LOGS = """
INSERT INTO {schema}.audit (namespace, task_id, at, what)
SELECT 'default', 'id-' || n, n, 'revived' FROM generate_series(1, {tasks}) AS n;
INSERT INTO {schema}.ledger (namespace, schedule_id, gen, first, last, count, reason, at)
SELECT 'default', 'id-' || n % 10, 1, n, n, 1, 'made', n FROM generate_series(1, {tasks}) AS n;
INSERT INTO {schema}.occurrence_end (namespace, schedule_id, nominal, task_id, state)
SELECT 'default', 'id-' || n % 10, n, 'id-' || n, 4 FROM generate_series(1, {tasks}) AS n;
INSERT INTO {schema}.schedule_audit (namespace, schedule_id, name, at, what)
SELECT 'default', 'id-' || n % 10, 'name', n, 'edit' FROM generate_series(1, {tasks}) AS n;
INSERT INTO {schema}.schedule (namespace, id, name, spec, policy, template, overlap, gen, rev, edition, decided, runs,
                               skipped, coalesced, created_at, modified_at)
SELECT 'default', 'id-' || n, 'name-' || n, '{{}}', '{{}}', '{{}}', 'allow', 1, 1, 1, 1, 0, 0, 0, 1, 1
  FROM generate_series(1, {tasks}) AS n
"""


@pytest.fixture
def schema(postgres: str) -> Iterator[PostgresArchive]:
    """A store with many rows, of which the planner was told when it had none."""
    url = made(emptied_store(postgres))
    name = url.partition("schema=")[2]
    with psycopg.connect(server_of(url), autocommit=True) as link:
        for table in LOOKED_UP:
            link.execute(f"ALTER TABLE {name}.{table} SET (autovacuum_enabled = false)".encode())
            link.execute(f"VACUUM ANALYZE {name}.{table}".encode())
        link.execute((FILL + LOGS).format(schema=name, tasks=TASKS).encode())
    archive = open_archive(url, write=True, namespace=None)
    assert isinstance(archive, PostgresArchive)
    yield archive
    archive.close()


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def test_each_row_of_a_schema_is_looked_up_by_an_index(schema: PostgresArchive) -> None:
    shapes = schema.shapes()
    for table in sorted(LOOKED_UP.keys() - {"node"}):  # of nodes there are never many
        shape = shapes[table]
        asked = [schema.find_sql(table, shape)]
        if not shape.key:
            asked.append(schema.add_sql(table, shape))
        for sql in asked:
            told = schema._run(schema._link.fetchval(f"EXPLAIN (FORMAT JSON) {sql}", "[]"))
            reads = [one for one in nodes(json.loads(told)[0]["Plan"]) if one.get("Alias") == "t"]
            assert [one["Node Type"] for one in reads] == ["Index Scan"], reads
            probed = reads[0]["Index Cond"]
            assert sum(f"({name} = " in probed for name in certain_of(table, shape)) >= 2, (table, probed)
