"""A table of another application's database, read once and never written: the job store of an importer.

The one place besides kokugen's own stores with SQL. The command line asks for rows by the URL of the database, which
may be as SQLAlchemy writes it, `postgresql+psycopg://…`.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from kokugen.errors import OptionError, RepositoryError
from kokugen.repository.locate import POSTGRES, SQLITE, mask

TABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?")
COLUMN = re.compile(r"[a-z_]{1,62}")
ROWS_MAX = 100_000
LIMIT_S = 60.0


def read_table(url: str, table: str, columns: tuple[str, ...]) -> list[tuple[Any, ...]]:
    """Return these columns of a table's rows, in order of the first. Raises OptionError, RepositoryError.

    `table` may name a schema before it. More than 100,000 rows are refused.
    """
    scheme, separator, rest = url.partition("://")
    scheme = scheme.partition("+")[0]
    if not TABLE.fullmatch(table):
        raise OptionError(f"table {table!r}: use a name of letters, digits and _, with or without SCHEMA. before it")
    assert all(COLUMN.fullmatch(column) for column in columns), "the columns are the importer's own"
    name = ".".join(f'"{part}"' for part in table.split("."))
    query = f"SELECT {', '.join(columns)} FROM {name} ORDER BY {columns[0]} LIMIT {ROWS_MAX + 1}"  # noqa: S608 - names were checked
    if separator and scheme in SQLITE and rest.startswith("/") and rest != "/":
        rows = _of_file(Path(rest[1:]).absolute(), query)
    elif separator and scheme in POSTGRES:
        rows = _of_server(f"{scheme}://{rest}", query)
    else:
        raise OptionError(f"{mask(url)!r} is no database that can be read: use sqlite:///jobs.db or postgresql://…")
    if len(rows) > ROWS_MAX:
        raise OptionError(f"the table {table!r} has more than {ROWS_MAX:,} rows")
    return rows


def _of_file(path: Path, query: str) -> list[tuple[Any, ...]]:
    from kokugen.repository.sqlite.library import FAULTS, Apsw

    if not path.is_file():
        raise OptionError(f"there is no file {path}")
    try:
        db = Apsw().connect(path, read_only=True)
        try:
            db.execute("PRAGMA trusted_schema=OFF")
            return [tuple(row) for row in db.execute(query)]
        finally:
            db.close()
    except FAULTS as error:
        raise RepositoryError(f"{path} cannot be read: {error}") from error


def _of_server(url: str, query: str) -> list[tuple[Any, ...]]:
    from kokugen.repository.locate import driver

    with driver():
        from kokugen.repository.postgres.look import rows_at
    return rows_at(url, query, LIMIT_S)
