"""How limits are looked up: by gates and by keys, however many tasks wait at a gate that is taken."""

from __future__ import annotations

import asyncio
import itertools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import apsw
import pytest

from kokugen.repository.limit_rows import KEY, QUEUE, WORK
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.postgres.statement import source
from kokugen.repository.rows import ClaimRequest
from kokugen.repository.sqlite import limits, tasks
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw, Connection
from kokugen.repository.sqlite.tasks import Scope
from tests.repository.test_schedule_plans import buffers
from tests.servers.stores import query, store_url

BY_ID = "sqlite_autoindex_task_1 (namespace=? AND id=?)"
LATER = "task_gate_later (namespace=? AND due_at<?)"
STEPS = {
    "gates of tasks": (limits.GATES_OF, [BY_ID]),
    "new tasks stop": (limits.STOP, [BY_ID]),
    "what is due": (limits.RIPE, [LATER]),
    "lining up": (limits.LINE_UP, ["INTEGER PRIMARY KEY (rowid=?)"]),
    "who is next": (limits.LINE, ["task_gate (namespace=? AND gate=?)"]),
    "letting go": (limits.GO_ON, ["INTEGER PRIMARY KEY (rowid=?)"]),
    "letting go later": (limits.GO_ON_LATER, ["INTEGER PRIMARY KEY (rowid=?)"]),
    "who was not claimed": (tasks.ANY_LEFT, ["INTEGER PRIMARY KEY (rowid=?)"]),
    "all gates": (limits.ALL_GATES, ["task_gate (namespace=? AND gate>?)"] * 2),
    "the next that is due": (limits.NEXT_DUE, ["task_gate_later (namespace=?)"]),
    "too late": (limits.EXPIRE, ["task_gate_deadline (namespace=? AND start_deadline>? AND start_deadline<?)", BY_ID]),
    "slots of a key": (limits.counted_sql(KEY, rated=False), ["task_key_slot (namespace=? AND limit_key=?)"]),
    "slots of a work": (limits.counted_sql(WORK, rated=False), ["task_work_slot (namespace=? AND limit_work=?)"]),
    "slots of a queue": (
        limits.counted_sql(QUEUE, rated=True),
        ["task_queue_slot (namespace=? AND limit_queue=?)"] * 2,
    ),
}
BUSY = 20_000


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "tasks.db"
    db = connect(Apsw(), path)
    migrate(db, path, "cluster")
    yield db
    db.close()


@pytest.mark.parametrize(("sql", "indexes"), STEPS.values(), ids=STEPS.keys())
def test_each_statement_reads_the_rows_it_is_about(db: Connection, sql: str, indexes: list[str]) -> None:
    names = dict.fromkeys(re.findall(r":([a-z]\w*)", sql))
    steps = [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", names)]
    reads = [step for step in steps if re.search(r"\b(SEARCH|SCAN) (task|t)\b", step)]
    assert sorted(re.sub(r"^S\w+ (task|t) USING (COVERING )?(INDEX )?", "", step) for step in reads) == sorted(indexes)


def test_nothing_reads_the_rest_of_a_key_that_is_taken(db: Connection) -> None:
    """Claims, and looks at all gates, take as many steps beside 20,000 tasks that wait at a gate as beside 20."""
    steps = {count: steps_beside(db, count) for count in (2, 20, BUSY)}  # the first time reads the schema, too
    assert steps[BUSY] == steps[20] > 100


def steps_beside(db: Connection, count: int) -> int:
    """Return how many steps SQLite's machine takes for a claim and a look, beside so many tasks at a gate."""
    fill(db, count)
    scope = Scope(db, "default", 1_000_000)
    request = ClaimRequest(node_id="n", nonce=f"{count}", slots=10, ahead_us=0)
    tasks.claim(scope, request)  # what has passed
    counted = itertools.count()
    apsw_of(db).set_progress_handler(lambda: next(counted) < 0, 1)
    tasks.claim(scope, request)
    limits.admit(scope, 0, everywhere=True)
    apsw_of(db).set_progress_handler(None)
    return next(counted)


def fill(db: Connection, count: int) -> None:
    """Have tasks of one key wait, one of which has passed."""
    db.execute("DELETE FROM task")
    db.execute(
        "WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < :count)"
        " INSERT INTO task (namespace, id, queue, rank, due_at, work_id, mode, max_attempts, max_lost, scheduled_time,"
        " created_at, modified_at, param, limit_key, gate, hold) SELECT 'default', 't' || i, 'default', -1, 1, 'work',"
        " 0, 1, 3, 1, 1, 1, '{}', 'key:busy', iif(i = 1, NULL, 'key:busy'), iif(i = 1, NULL, 'limit') FROM n",
        {"count": count},
    )


def apsw_of(db: Connection) -> apsw.Connection:
    assert isinstance(db, apsw.Connection)
    return db


# -- PostgreSQL

ASKED: dict[str, tuple[str, Mapping[str, Any]]] = {
    "a look at all gates": ("admit", {"ahead": 0, "most": 1000, "gates_max": 1000, "after": "", "now": 1}),
    "a look at what is due": ("admit", {"ahead": 0, "most": 1000, "gates_max": 1000, "after": None, "now": 1}),
    "the end of a run of the key": ("admit_after", {"ids": ["t1"], "ahead": 0, "most": 1000, "now": 1}),
    "the end of another run": ("admit_after", {"ids": ["other"], "ahead": 0, "most": 1000, "now": 1}),
}
BUFFERS_MAX = 150
"""A few index probes, and what the functions of the schema read of the catalogue."""


@pytest.fixture(scope="module")
def filled(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> str:
    url = store_url(postgres, tmp_path_factory.getbasetemp() / "limit plans")
    repository = PostgresRepository(url)
    repository.open()
    repository.close()
    schema = url.partition("schema=")[2]
    query(
        postgres,
        f"INSERT INTO {schema}.task (namespace, id, queue, rank, due_at, work_id, mode, care, max_attempts, max_lost,"
        " scheduled_time, created_at, modified_at, param, limit_key, gate, hold) SELECT 'default', 't' || i, 'default',"
        " -1, 1, 'work', 0, 0, 1, 3, 1, 1, 1, '{}', 'key:busy', CASE WHEN i > 1 THEN 'key:busy' END,"
        " CASE WHEN i > 1 THEN 'limit' END FROM generate_series(1, 100000) i",
    )
    return url


@pytest.mark.parametrize("analyzed", [False, True])
@pytest.mark.parametrize(("statement", "values"), ASKED.values(), ids=ASKED)
def test_beside_a_hundred_thousand_tasks_at_a_gate_few_pages_are_touched(
    filled: str, statement: str, values: Mapping[str, Any], analyzed: bool
) -> None:
    assert asyncio.run(buffers(filled, statement, values, analyzed=analyzed)) <= BUFFERS_MAX


def test_a_claim_knows_nothing_of_limits() -> None:
    """Its statements name no column of theirs, so that its plans cannot depend on them."""
    pick = tasks.pick_sql(ClaimRequest(node_id="n", nonce="c", slots=1), [(0, level) for level in tasks.LEVELS])
    for text in (source("claim"), tasks.look_sql(1), pick):
        assert not re.search("gate|limit_", text)
