"""The plans of the engine's statements on a million tasks: index probes, whatever the planner knew when it made them.

A plan is made once for each connection, maybe while the store is empty, and maybe without statistics. So each statement
is looked at as it was planned on the empty store, and as it is planned once the tables were analyzed.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from typing import Any

import asyncpg
import pytest

from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.migration import migrate
from kokugen.repository.postgres.session import PINNED
from kokugen.repository.postgres.statement import load
from tests.servers.postgres import is_installed
from tests.servers.stores import store_url

WAITING = 1_000_000
ENDED = 200_000
WORKING = 2_000
BATCH = 1_000
DUE_US = 2_000_000_000_000_000
STEP_US = 1_000
EARLY, LATE = DUE_US - 10_000_000, DUE_US + WAITING // 2 * STEP_US
"""Before any task is due, and once half of them are."""
NOTHING_DUE_BUFFERS_MAX = 20
NODE, CLAIM = "n" * 36, "c" * 32

FILL = f"""
INSERT INTO {{schema}}.task (namespace, id, work_id, due_at, scheduled_time, param, queue, rank, mode, care,
  max_attempts, max_lost, created_at, modified_at, state, owner, claim, ttl_s, finished_at, final_claim)
SELECT 'default', '01990000-0000-7000-8000-' || lpad(to_hex(n), 12, '0'), 'work', {DUE_US} + n * {STEP_US},
  {DUE_US}, '{{{{}}}}', 'default', -1, 0, 0, 1, 3, 0, 0, state,
  CASE state WHEN 1 THEN '{NODE}' END, CASE state WHEN 1 THEN '{CLAIM}' END, CASE state WHEN 1 THEN 30.0 END,
  CASE state WHEN 2 THEN n END, CASE state WHEN 2 THEN '{CLAIM}' END
FROM (SELECT n, CASE WHEN n <= {WAITING} THEN 0 WHEN n <= {WAITING + ENDED} THEN 2 ELSE 1 END AS state
        FROM generate_series(1, {WAITING + ENDED + WORKING}) n) t
"""


def task_id(number: int) -> str:
    return f"01990000-0000-7000-8000-{number:012x}"


def running_rows(*more: Any) -> str:
    first = WAITING + ENDED + 1
    return json.dumps([[task_id(number), CLAIM, *more] for number in range(first, first + BATCH)])


CLAIMING = {
    "queues": ["default"],
    "slots": 10,
    "buffer": BATCH - 10,
    "lost_max": 1,
    "strict": [],
    "ahead": 20_000,
    "ageing": 600_000_000,
    "only": ["work"],
    "skip": [],
    "node": NODE,
    "nonce": "d" * 32,
    "ttl": 30.0,
}
NEW = [["new-" + str(n), "work", 2 * DUE_US, 1, "{}", "default", -1, 0, 1, 3, *[None] * 6] for n in range(BATCH)]
FAILED = (4, "failed", None, 0, 1, None, "raised", "Oops", None)
PAST = {"done": WAITING + ENDED // 2, "cancelled": 0, "failed": 0, "most": BATCH}

REVISED = dict.fromkeys(("rev", "scheduled_time", "zone", "local_time", "rank", "work_id", "param", "hold", "by"))

STATEMENTS: dict[str, tuple[str, Mapping[str, Any]]] = {
    "claim of nothing": ("claim", {**CLAIMING, "now": EARLY}),
    "add": ("add", {"rows": json.dumps(NEW), "line_up": 0}),
    "holders": ("holders", {"rows": json.dumps([[task_id(n), "key"] for n in range(BATCH)])}),
    "claim of nothing in queues": ("claim", {**CLAIMING, "now": EARLY, "queues": ["default", "a", "b"]}),
    "claim": ("claim", {**CLAIMING, "now": LATE}),
    "claim of other work": ("claim", {**CLAIMING, "now": EARLY, "only": None, "skip": ["work"]}),
    "held": ("held", {"node": NODE, "nonce": CLAIM}),
    "finish": ("finish", {"rows": running_rows(2, "done", None, 0, 1, None, None, None, "1"), "kept": 100}),
    "finish in failure": ("finish", {"rows": running_rows(*FAILED), "kept": 100}),
    "outcomes": ("outcomes", {"rows": running_rows()}),
    "beat": ("beat", {"rows": running_rows(), "ttl": None}),
    "report": ("report", {"rows": running_rows()}),
    "leases": ("leases", {"rows": running_rows()}),
    "watch": ("watch", {"node": "m" * 36}),
    "owned": ("owned", {"node": NODE}),
    "recover": ("recover", {"rows": running_rows(0)}),
    "cancel": ("cancel", {"ids": [task_id(n) for n in range(BATCH)], "force": True, "reason": None, "by": None}),
    "prune": ("prune", PAST),
    "transition": (
        "transition",
        {"id": task_id(1), "old": [0, 1], "new": 2, "reason": None, "nonce": "e" * 32, "by_id": "by-id"},
    ),
    "revive": ("revive", {"ids": [task_id(WAITING + 1)], "due": 2 * DUE_US, "by": None}),
    "revise": ("revise", {**REVISED, "id": task_id(1), "due_at": 2 * DUE_US, "release": True, "detail": "[]"}),
    "supersede": ("supersede", {"id": task_id(1), "row": json.dumps(NEW[0])}),
    "attempts": ("attempts", {"id": task_id(1)}),
}


class Planner:
    """One connection as the engine's are, with its statements prepared on the empty store."""

    def __init__(self, url: str) -> None:
        self.address: Address = parse(url)
        self._loop = asyncio.new_event_loop()
        self._link: Any = None

    def run(self, work: Any) -> Any:
        return self._loop.run_until_complete(work)

    def open(self) -> None:
        self.run(self._open())

    async def _open(self) -> None:
        self._link = await asyncpg.connect(self.address.dsn, server_settings={**PINNED, "jit": "off"})
        await migrate(self._link, self.address, "test")
        await self._link.execute(f"ALTER TABLE {self.address.quoted}.task SET (autovacuum_enabled = false)")
        for name in {name for name, _ in STATEMENTS.values()}:
            await self._link.execute(f"PREPARE {name} AS {load(name, self.address.schema).sql}")
        for name, values in STATEMENTS.values():
            await self._explain(name, values)

    def fill(self) -> None:
        self.execute(FILL.format(schema=self.address.quoted))

    def execute(self, sql: str) -> None:
        self.run(self._link.execute(sql))

    def explain(self, what: str) -> dict[str, Any]:
        """Run a statement, undo it, and return what was done and what was read."""
        plan: dict[str, Any] = self.run(self._explain(*STATEMENTS[what]))
        return plan

    async def _explain(self, name: str, values: Mapping[str, Any]) -> Any:
        names = load(name, self.address.schema).names
        bound = ", ".join(literal({"ns": "default", "now": LATE, **values}[one]) for one in names)
        await self._link.execute("BEGIN")
        try:
            told = await self._link.fetchval(f"EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) EXECUTE {name}({bound})")
        finally:
            await self._link.execute("ROLLBACK")
        return json.loads(told)[0]["Plan"]

    def close(self) -> None:
        self.execute(f"DROP SCHEMA {self.address.quoted} CASCADE")
        self.run(self._link.close())
        self._loop.close()


def literal(value: Any) -> str:
    if value is None:
        return "NULL"
    if isinstance(value, list):
        return "'{" + ",".join(map(str, value)) + "}'"
    return "'" + str(value) + "'"


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", ()):
        yield from nodes(child)


def buffers(plan: dict[str, Any]) -> int:
    return int(plan["Shared Hit Blocks"] + plan["Shared Read Blocks"])


SERVERS = [
    pytest.param("postgres", id="newest"),
    pytest.param(
        "postgres_15", id="15", marks=pytest.mark.skipif(not is_installed(15), reason="PostgreSQL 15 is not installed")
    ),
]


Plans = dict[tuple[str, str], dict[str, Any]]


@pytest.fixture(scope="module", params=SERVERS)
def plans(request: pytest.FixtureRequest) -> Iterator[Plans]:
    """What was done for each statement, by when it was planned. The first is a claim, of a store where nothing died."""
    planner = Planner(store_url(request.getfixturevalue(request.param), "plans"))
    planner.open()
    planner.fill()
    found = {("planned empty", what): planner.explain(what) for what in STATEMENTS}
    planner.execute(f"VACUUM (ANALYZE, INDEX_CLEANUP ON) {planner.address.quoted}.task")
    found |= {("analyzed", what): planner.explain(what) for what in STATEMENTS}
    yield found
    planner.close()


each_plan = pytest.mark.parametrize(
    ("stage", "what"), [(stage, what) for stage in ("planned empty", "analyzed") for what in STATEMENTS]
)


@pytest.mark.timeout(300)
@each_plan
def test_no_statement_reads_a_table_from_end_to_end(plans: Plans, stage: str, what: str) -> None:
    found = list(nodes(plans[stage, what]))
    scans = [node["Node Type"] for node in found if node.get("Relation Name") in {"task", "attempt"}]
    assert scans
    assert "Seq Scan" not in scans
    seen = [(node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"] for node in found]
    assert max(seen) <= 2 * BATCH, "no step sees the backlog"


@each_plan
def test_no_statement_sorts_the_backlog(plans: Plans, stage: str, what: str) -> None:
    found = nodes(plans[stage, what])
    sorts = [node["Actual Rows"] for node in found if node["Node Type"] in {"Sort", "Incremental Sort"}]
    assert max(sorts, default=0) <= 2 * BATCH


@each_plan
def test_a_statement_touches_few_pages_for_each_row(plans: Plans, stage: str, what: str) -> None:
    assert buffers(plans[stage, what]) <= 25 * BATCH


@pytest.mark.parametrize("stage", ["planned empty", "analyzed"])
def test_a_claim_where_nothing_is_due_touches_a_handful_of_pages(plans: Plans, stage: str) -> None:
    assert buffers(plans[stage, "claim of nothing"]) <= NOTHING_DUE_BUFFERS_MAX
