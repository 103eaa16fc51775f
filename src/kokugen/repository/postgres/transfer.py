"""A schema of a PostgreSQL database as an archive: read in one transaction, or written in one.

See `kokugen.repository.transfer`, whose calls are of a thread: here they are carried out on a loop of their own.
"""

from __future__ import annotations

from collections.abc import Coroutine, Iterator, Sequence
from typing import Any, TypeVar

import asyncpg
import msgspec

from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.background import Background
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.migration import stored_version
from kokugen.repository.postgres.session import PINNED, Kind, Session, connect
from kokugen.repository.transfer import Busy, Row, Shape, certain_of, encode
from kokugen.task import NodeInfo

T = TypeVar("T")
OWN = ("meta",)
DERIVED = {("task", "care"): "CASE WHEN (j->>{lost})::int > 0 THEN 2 ELSE (j->>{mode})::int END"}
"""Columns that follow from others, and that only this kind of store has."""
LOG_KEY = "seq"
FETCHED = 100
LIMIT_S = 86_400.0
_COLUMNS = """
SELECT c.relname::text, a.attname::text, format_type(a.atttypid, a.atttypmod),
       coalesce(array_position(i.indkey::smallint[], a.attnum), -1)
  FROM pg_class c
  JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
  LEFT JOIN pg_index i ON i.indrelid = c.oid AND i.indisprimary
 WHERE c.relnamespace = $1::text::regnamespace AND c.relkind = 'r'
"""
_SETTINGS = PINNED | {
    "statement_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "jit": "off",
    "plan_cache_mode": "force_custom_plan",  # a plan for tables that were empty at first is none for what they become
}


class PostgresArchive:
    """One schema; of one namespace, or of all. Raises RepositoryError."""

    def __init__(self, url: str, *, write: bool, namespace: str | None) -> None:
        self._address: Address = parse(url)
        self.url = self._address.url
        self._namespace = namespace
        self._background = Background()
        self._session: Session | None = None
        try:
            self._types = self._run(self._begin(write))
        except BaseException:
            self.close()
            raise

    async def _begin(self, write: bool) -> dict[str, dict[str, tuple[str, int]]]:
        """Connect, begin, and return the type and the place in the key of every column of every table."""
        self._session = await connect(self._address, Kind(limit_s=LIMIT_S, pinned=False))
        mode = "READ COMMITTED" if write else "REPEATABLE READ, READ ONLY"
        local = "; ".join(f"SET LOCAL {name} = '{value}'" for name, value in _SETTINGS.items())
        await self._link.execute(f"BEGIN ISOLATION LEVEL {mode}; {local}")
        tables: dict[str, dict[str, tuple[str, int]]] = {}
        for table, column, kind, place in await self._link.fetch(_COLUMNS, self._address.quoted):
            tables.setdefault(table, {})[column] = (kind, place)
        return tables

    @property
    def _link(self) -> Any:
        assert self._session is not None, "connected before"
        return self._session.link

    def version(self) -> int:
        return self._run(stored_version(self._link, self._address)) or 0

    def shapes(self) -> dict[str, Shape]:
        return {table: _shape(table, columns) for table, columns in sorted(self._types.items()) if table not in OWN}

    def busy(self, seen_after_us: int) -> Busy:
        running = f"SELECT count(*) FROM {self._table('task')} WHERE state = 1"
        pairs = ", ".join(f"'{name}', {name}" for name in NodeInfo.__struct_fields__)
        alive = "stopped_at IS NULL AND seen_at > $1"
        nodes = f"SELECT json_build_object({pairs})::text FROM {self._table('node')} WHERE {alive}"
        texts = self._run(self._link.fetch(nodes, seen_after_us))
        found = [msgspec.json.decode(text, type=NodeInfo) for (text,) in texts]
        return Busy(self._run(self._link.fetchval(running)), tuple(found))

    def count(self, table: str, shape: Shape) -> int:
        where, values = self._where(shape)
        return int(self._run(self._link.fetchval(f"SELECT count(*) FROM {self._table(table)} t{where}", *values)))

    def rows(self, table: str, shape: Shape) -> Iterator[str]:
        where, values = self._where(shape)
        order = ", ".join(f"t.{name}" for name in shape.key) or f"t.{LOG_KEY}"
        sql = f"SELECT {self._row(table, shape)}::text FROM {self._table(table)} t{where} ORDER BY {order}"
        cursor = self._run(self._cursor(sql, values))
        while found := self._run(cursor.fetch(FETCHED)):
            for (text,) in found:
                yield text

    async def _cursor(self, sql: str, values: tuple[str, ...]) -> Any:
        return await self._link.cursor(sql, *values)

    def add(self, table: str, shape: Shape, rows: Sequence[Row]) -> int:
        return int(self._run(self._link.fetchval(self.add_sql(table, shape), encode(rows))))

    def add_sql(self, table: str, shape: Shape) -> str:
        """Return the statement that adds the rows that are not there, and counts them."""
        places = {name: n for n, name in enumerate(shape.columns)}
        values = {name: self._value(table, name, n) for name, n in places.items()}
        values |= {
            column: expression.format(**places)
            for (owner, column), expression in DERIVED.items()
            if owner == table and column in self._types[table]
        }
        same = f"NOT EXISTS (SELECT FROM {self._table(table)} t WHERE {self._same(table, shape)})"
        return (
            f"WITH added AS (INSERT INTO {self._table(table)} ({', '.join(values)}) SELECT {', '.join(values.values())}"
            f" FROM json_array_elements($1::json) j WHERE {'true' if shape.key else same}"
            " ON CONFLICT DO NOTHING RETURNING 1) SELECT count(*) FROM added"
        )

    def find(self, table: str, shape: Shape, rows: Sequence[Row]) -> list[Row]:
        found = self._run(self._link.fetch(self.find_sql(table, shape), encode(rows)))
        return [msgspec.json.decode(text) for (text,) in found]

    def find_sql(self, table: str, shape: Shape) -> str:
        """Return the query for the rows that have the keys of these.

        OFFSET 0 keeps the planner from walking through the table, which it takes for small while that is empty.
        """
        same = f"SELECT {self._row(table, shape)}::text AS told FROM {self._table(table)} t"
        return (
            "SELECT told FROM json_array_elements($1::json) j"
            f" CROSS JOIN LATERAL ({same} WHERE {self._same(table, shape)} OFFSET 0) AS found"
        )

    def commit(self) -> None:
        self._run(self._link.execute("COMMIT"))

    def close(self) -> None:
        if self._session is not None:
            self._background.loop.call_soon_threadsafe(self._session.drop)
        self._background.stop()

    def _table(self, table: str) -> str:
        return f'{self._address.quoted}."{table}"'

    def _where(self, shape: Shape) -> tuple[str, tuple[str, ...]]:
        if self._namespace is None or "namespace" not in shape.columns:
            return "", ()
        return " WHERE t.namespace = $1", (self._namespace,)

    def _row(self, table: str, shape: Shape) -> str:
        """Return the expression for a row as a JSON array, with numbers for yes and no."""
        types = self._types[table]
        columns = (f"t.{name}::int" if types[name][0] == "boolean" else f"t.{name}" for name in shape.columns)
        return f"json_build_array({', '.join(columns)})"

    def _value(self, table: str, name: str, place: int) -> str:
        return f"(j->>{place})::{self._types[table][name][0]}"

    def _same(self, table: str, shape: Shape) -> str:
        """Return the condition that a row of the table is the one of `j`."""
        certain = certain_of(table, shape)
        return " AND ".join(
            f"t.{name} {'=' if name in certain else 'IS NOT DISTINCT FROM'}"
            f" {self._value(table, name, shape.columns.index(name))}"
            for name in shape.key or shape.columns
        )

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        try:
            return self._background.run(work)
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
            raise explain(error, self.url) from error


def _shape(table: str, columns: dict[str, tuple[str, int]]) -> Shape:
    names = sorted(name for name in columns if name != LOG_KEY and (table, name) not in DERIVED)
    key = sorted((place, name) for name, (_, place) in columns.items() if place >= 0)
    return Shape(tuple(names), () if key and key[0][1] == LOG_KEY else tuple(name for _, name in key))
