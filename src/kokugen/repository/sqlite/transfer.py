"""A SQLite file as an archive: read in one transaction, or written in one (see `kokugen.repository.transfer`)."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, TypeVar

import msgspec

from kokugen.repository.sqlite.connection import connect, explain, one, schema_version
from kokugen.repository.sqlite.library import FAULTS, Library
from kokugen.repository.sqlite.tasks import BODY_MAX
from kokugen.repository.transfer import Busy, Row, Shape, certain_of, encode
from kokugen.task import NodeInfo

T = TypeVar("T")
OWN = ("meta", "task_param", "task_result")
LOG_KEY = "seq"
BODIES = ("param", "result")


class SQLiteArchive:
    """One file; of one namespace, or of all. Raises RepositoryError."""

    def __init__(self, library: Library, path: Path, *, write: bool, namespace: str | None) -> None:
        self._path = path
        self._namespace = namespace
        self.url = f"{library.scheme}:///{path}"
        self._db = self._told(connect, library, path)
        self._told(self._db.execute, "BEGIN IMMEDIATE" if write else "BEGIN")
        self._version = self._told(schema_version, self._db)  # this reads: from here on it is one moment

    def version(self) -> int:
        return self._version

    def shapes(self) -> dict[str, Shape]:
        sql = (
            "SELECT json_group_array(json_array(s.name, c.name, c.pk))"
            " FROM sqlite_schema s, pragma_table_info(s.name) c"
            " WHERE s.type = 'table' AND s.name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
        )
        tables: dict[str, list[tuple[str, int]]] = {}
        for table, column, place in msgspec.json.decode(self._told(one, self._db, sql)):
            if table not in OWN:
                tables.setdefault(table, []).append((column, place))
        return {table: _shape(columns) for table, columns in sorted(tables.items())}

    def busy(self, seen_after_us: int) -> Busy:
        running = self._told(one, self._db, "SELECT count(*) FROM task WHERE state = 1")
        pairs = ", ".join(f"'{name}', {name}" for name in NodeInfo.__struct_fields__)
        nodes = f"SELECT json_group_array(json_object({pairs})) FROM node WHERE stopped_at IS NULL AND seen_at > ?"
        found = self._told(one, self._db, nodes, (seen_after_us,))
        return Busy(running, msgspec.json.decode(found, type=tuple[NodeInfo, ...]))

    def count(self, table: str, shape: Shape) -> int:
        where, values = self._where(shape)
        return int(self._told(one, self._db, f"SELECT count(*) FROM {table} t{where}", values))

    def rows(self, table: str, shape: Shape) -> Iterator[str]:
        where, values = self._where(shape)
        order = ", ".join(shape.key) or LOG_KEY
        sql = f"SELECT {_row(table, shape)} FROM {table} t{where} ORDER BY {order}"
        try:
            for (text,) in self._db.execute(sql, values):
                yield text
        except FAULTS as error:
            raise explain(error, self._path) from error

    def add(self, table: str, shape: Shape, rows: Sequence[Row]) -> int:
        names = {"rows": encode(rows)}
        self._told(self._db.execute, add_sql(table, shape), names)
        added = self._db.changes()
        for body in BODIES if table == "task" else ():
            self._told(self._db.execute, _body_sql(shape, body), names)
        return added

    def find(self, table: str, shape: Shape, rows: Sequence[Row]) -> list[Row]:
        text = self._told(one, self._db, find_sql(table, shape), {"rows": encode(rows)})
        return msgspec.json.decode(text, type=list[Row])

    def commit(self) -> None:
        self._told(self._db.execute, "COMMIT")

    def close(self) -> None:
        self._db.close()

    def _where(self, shape: Shape) -> tuple[str, tuple[str, ...]]:
        if self._namespace is None or "namespace" not in shape.columns:
            return "", ()
        return " WHERE namespace = ?", (self._namespace,)

    def _told(self, call: Callable[..., T], *arguments: Any) -> T:
        try:
            return call(*arguments)
        except FAULTS as error:
            raise explain(error, self._path) from error


def add_sql(table: str, shape: Shape) -> str:
    """Return the statement that adds the rows that are not there."""
    values = ", ".join(_value(table, name, f"j.value->>{n}") for n, name in enumerate(shape.columns))
    columns = ", ".join(shape.columns)
    where = "true" if shape.key else f"NOT EXISTS (SELECT 1 FROM {table} t WHERE {_same(table, shape)})"
    source = f"SELECT {values} FROM json_each(:rows) j WHERE {where}"
    return f"INSERT INTO {table} ({columns}) {source} ON CONFLICT DO NOTHING"


def find_sql(table: str, shape: Shape) -> str:
    """Return the query for the rows that have the keys of these."""
    found = f"json_group_array(json({_row(table, shape)}))"
    return f"SELECT {found} FROM json_each(:rows) j CROSS JOIN {table} t ON {_same(table, shape)}"


def _shape(columns: list[tuple[str, int]]) -> Shape:
    key = tuple(name for name, place in sorted(columns, key=lambda column: column[1]) if place)
    names = sorted(name for name, _ in columns if name != LOG_KEY)
    return Shape(tuple(names), () if key == (LOG_KEY,) else key)


def _row(table: str, shape: Shape) -> str:
    """Return the expression for a row as a JSON array; the bodies of a task are part of it."""
    return f"json_array({', '.join(_column(table, name) for name in shape.columns)})"


def _column(table: str, name: str) -> str:
    if table == "task" and name in BODIES:
        body = f"SELECT body FROM task_{name} b WHERE b.namespace = t.namespace AND b.id = t.id"
        return f"coalesce(t.{name}, ({body}))"
    return f"t.{name}"


def _value(table: str, name: str, value: str) -> str:
    return f"iif(length({value}) > {BODY_MAX}, NULL, {value})" if table == "task" and name in BODIES else value


def _same(table: str, shape: Shape) -> str:
    """Return the condition that a row of the table is the one of `j`."""
    certain = certain_of(table, shape)
    return " AND ".join(
        f"t.{name} {'=' if name in certain else 'IS'} j.value->>{shape.columns.index(name)}"
        for name in shape.key or shape.columns
    )


def _body_sql(shape: Shape, body: str) -> str:
    namespace, task_id, text = (f"value->>{shape.columns.index(name)}" for name in ("namespace", "id", body))
    return (
        f"INSERT INTO task_{body} SELECT {namespace}, {task_id}, {text} FROM json_each(:rows)"
        f" WHERE length({text}) > {BODY_MAX} ON CONFLICT DO NOTHING"
    )
