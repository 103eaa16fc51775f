"""Copying a store into another, of whatever kind: all its tables, as they are, in one transaction.

`kokugen copy` calls `copy`; `kokugen.repository.locate` opens the two archives. Every row that was added is read back
and compared, and so is every row that was there before: the transaction is committed only where all are the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Protocol

import msgspec
from msgspec import Struct

from kokugen.errors import RepositoryError, SchemaVersionError
from kokugen.task import NodeInfo

ROWS_MAX = 1000
BYTES_MAX = 4_000_000
INFORMATION = frozenset({"node"})
"""Tables whose rows say something of a moment: one that is there already is left as it is."""
LOG_INDEXES = {
    "audit": ("namespace", "task_id", "at"),
    "ledger": ("namespace", "schedule_id", "last"),
    "occurrence_end": ("namespace", "schedule_id", "nominal"),
    "schedule_audit": ("namespace", "schedule_id", "at"),
}
"""The columns of each log that are never empty, and by an index on which its rows are found."""

Row = list[Any]


def encode(value: object) -> str:
    """Return JSON text, to be bound."""
    return msgspec.json.encode(value).decode()


class Shape(Struct, frozen=True):
    """A table: its columns in order of name, and those of its key; none for a log, whose numbers are its own."""

    columns: tuple[str, ...]
    key: tuple[str, ...]

    def key_of(self, row: Row) -> tuple[Any, ...]:
        """Return what tells this row from all others."""
        if not self.key:
            return tuple(row)
        return tuple(row[self.columns.index(name)] for name in self.key)


def certain_of(table: str, shape: Shape) -> tuple[str, ...]:
    """Return the columns of a table that are never empty, and by an index on which its rows are found."""
    return shape.key or LOG_INDEXES.get(table, ())


class Busy(Struct, frozen=True):
    """Who works on a store."""

    running: int
    """How many tasks are Working."""
    nodes: tuple[NodeInfo, ...]
    """The nodes that have not said that they stopped, and were seen of late."""


class Archive(Protocol):
    """A store that is copied, seen as it was at one moment, or one that is copied into, within one transaction."""

    @property
    def url(self) -> str: ...

    def version(self) -> int:
        """Return the version of its schema."""
        ...

    def shapes(self) -> dict[str, Shape]:
        """Return its tables, but what only this kind of store needs."""
        ...

    def busy(self, seen_after_us: int) -> Busy:
        """Return who works on it, in all namespaces."""
        ...

    def count(self, table: str, shape: Shape) -> int:
        """Return how many rows there are to copy."""
        ...

    def rows(self, table: str, shape: Shape) -> Iterator[str]:
        """Yield each row to copy as a JSON array."""
        ...

    def add(self, table: str, shape: Shape, rows: Sequence[Row]) -> int:
        """Add the rows that nothing stands in the way of, and return how many."""
        ...

    def find(self, table: str, shape: Shape, rows: Sequence[Row]) -> list[Row]:
        """Return the rows that have the keys of these."""
        ...

    def commit(self) -> None:
        """Make all that was added last."""
        ...

    def close(self) -> None:
        """Let go of it; what was not committed is gone."""
        ...


class Copied(Struct, frozen=True):
    """How many rows of each table were copied, and how many of them were there before."""

    rows: dict[str, int]
    before: dict[str, int]


def shared_shapes(source: Archive, target: Archive) -> dict[str, Shape]:
    """Return the tables to copy. Raises SchemaVersionError where the two do not have the same."""
    shapes = source.shapes()
    if source.version() != target.version() or shapes != target.shapes():
        raise SchemaVersionError(
            f"{source.url} has schema {source.version()} and {target.url} has {target.version()}: "
            "bring both up to date first, with `kokugen migrate`"
        )
    return shapes


def copy(source: Archive, target: Archive, advance: Callable[[int], object]) -> Copied:
    """Copy all rows and commit. Raises RepositoryError; then nothing was copied."""
    shapes = shared_shapes(source, target)
    rows, before = dict.fromkeys(shapes, 0), dict.fromkeys(shapes, 0)
    for table, shape in shapes.items():
        for batch in batches(source.rows(table, shape)):
            before[table] += len(batch) - target.add(table, shape, batch)
            rows[table] += len(batch)
            if table not in INFORMATION:
                refuse_others(target, table, shape, batch)
            advance(len(batch))
    target.commit()
    return Copied(rows, before)


def refuse_others(target: Archive, table: str, shape: Shape, batch: Sequence[Row]) -> None:
    """Compare what the target has now with what it should have. Raises RepositoryError."""
    found = {shape.key_of(row): row for row in target.find(table, shape, batch)}
    for row in batch:
        key = shape.key_of(row)
        if found.get(key) != row:
            why = "is another there" if key in found else "cannot be added: one with its unique key is there"
            raise RepositoryError(
                f"nothing was copied: the {table} {' '.join(map(str, key))} {why}; copy into an empty store"
            )


def batches(texts: Iterable[str]) -> Iterator[list[Row]]:
    """Yield rows in lists that one statement carries well."""
    batch: list[Row] = []
    size = 0
    for text in texts:
        batch.append(msgspec.json.decode(text))
        size += len(text)
        if len(batch) == ROWS_MAX or size > BYTES_MAX:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch
