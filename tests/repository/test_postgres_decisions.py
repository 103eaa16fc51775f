"""Many decisions at once leave in a cluster's store what they leave one by one, and cost the same when it is full."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from random import Random
from typing import Any

import asyncpg
import pytest

from kokugen.clock import from_us
from kokugen.repository.limit_rows import LimitRule
from kokugen.repository.postgres import PostgresRepository
from kokugen.repository.postgres.adding import encode
from kokugen.repository.schedule_rows import Changed, ScheduleChange
from kokugen.testing.clock import ManualClock
from tests.repository import decided
from tests.repository.decided import MINUTE_US, compare, compare_order, schedule
from tests.servers.stores import store_url

SEEDS = range(8)
BATCHES, BATCH = 20, 100
READ_MAX = 30
"""How many rows a decision may look up: its schedule's, and those next to them in the indexes."""


class Database:
    """A store that is called as a node calls it, and looked at over a connection of its own."""

    def __init__(self, server: str, name: str) -> None:
        url = store_url(server, name)
        self.schema = url.partition("schema=")[2]
        self._clock = ManualClock(from_us(0))
        self._repository = PostgresRepository(url, clock=self._clock)
        self._loop = asyncio.new_event_loop()
        self._link: Any = self._loop.run_until_complete(asyncpg.connect(server))
        self.execute(f"DROP SCHEMA IF EXISTS {self.schema} CASCADE")
        self._repository.open()

    def close(self) -> None:
        self._repository.close()
        self.execute(f"DROP SCHEMA {self.schema} CASCADE")
        self._loop.run_until_complete(self._link.close())
        self._loop.close()

    def execute(self, sql: str) -> None:
        self._loop.run_until_complete(self._link.execute(sql))

    def value(self, sql: str, *values: Any) -> Any:
        return self._loop.run_until_complete(self._link.fetchval(sql, *values))

    def apply(self, changes: Sequence[ScheduleChange], now: int, *, at_once: bool) -> list[Changed]:
        self._clock.step_wall(from_us(now) - self._clock.now)
        parts = [changes] if at_once else [[change] for change in changes]
        return [answer for part in parts for answer in self._repository.change_schedules(part).result()]

    def content(self) -> dict[str, list[Any]]:
        """One by one a task is added on hold, and released; together it is free from the start, a change less."""
        return {table: self._rows(table, "rev" if table == "task" else "seq") for table in decided.TABLES}

    def _rows(self, table: str, without: str) -> list[str]:
        row = f"(to_jsonb(t) - '{without}')::text"
        return list(self.value(f"SELECT array_agg({row} ORDER BY {row}) FROM {self.schema}.{table} t") or ())

    def limit(self, rule: LimitRule) -> None:
        self._repository.declare_limits([rule.name], [rule]).result()

    def rows_read(self) -> int:
        """Return how many rows of tasks and ledgers were read so far, whatever for."""
        self.execute("SELECT pg_stat_force_next_flush()")
        sql = (
            "SELECT sum(seq_tup_read + idx_tup_fetch)::bigint FROM pg_stat_user_tables"
            f" WHERE schemaname = '{self.schema}' AND relname IN ('task', 'ledger')"
        )
        return int(self.value(sql))

    def finish(self, now: int, ended: str) -> None:
        self.execute(
            f"UPDATE {self.schema}.task SET state = 2, modified_at = {now} WHERE state = 0 AND hold IS NULL AND {ended}"
        )


@pytest.fixture
def stores(postgres: str) -> Iterator[tuple[Database, Database]]:
    databases = Database(postgres, "decisions alone"), Database(postgres, "decisions together")
    yield databases
    for database in databases:
        database.close()


@pytest.mark.parametrize("seed", SEEDS)
def test_it_is_as_if_they_came_one_by_one(stores: tuple[Database, Database], seed: int) -> None:
    compare(*stores, seed)


def test_two_changes_of_one_schedule_are_made_in_their_order(stores: tuple[Database, Database]) -> None:
    compare_order(*stores)


def test_a_plan_that_was_made_while_the_store_was_empty_is_not_kept(stores: tuple[Database, Database]) -> None:
    """Else each decision reads all that was decided before, until the tables are analyzed by chance."""
    store, chance = stores[0], Random(1)
    rows = sorted((schedule(number, chance) for number in range(BATCHES * BATCH)), key=lambda row: row.id)
    store.apply([ScheduleChange(row=row) for row in rows], 0, at_once=True)
    store.execute(f"VACUUM ANALYZE {store.schema}.task")
    store.execute(f"VACUUM ANALYZE {store.schema}.ledger")
    store.execute("SET plan_cache_mode = force_generic_plan")
    before = store.rows_read()
    for first in range(0, len(rows), BATCH):
        changes = [decided.decided(row, 1, MINUTE_US, chance) for row in rows[first : first + BATCH]]
        sql = f"SELECT cardinality({store.schema}.decide_schedules('default', $1, {MINUTE_US}))"
        assert store.value(sql, encode(changes)) == BATCH
        store.finish(MINUTE_US, "true")
    assert store.value(f"SELECT count(*) FROM {store.schema}.task") >= len(rows)
    assert store.rows_read() - before <= READ_MAX * len(rows)
