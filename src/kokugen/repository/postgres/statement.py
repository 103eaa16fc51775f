"""The statements: one SQL file each, with the tables in the schema `kokugen` and named parameters.

Loading puts the store's own schema in the place of `kokugen`, and numbers the parameters as PostgreSQL counts them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from importlib.resources import files
from typing import Any

from msgspec import Struct

from kokugen.clock import Clock, SystemClock

COMMENT = re.compile(r"--[^\n]*")
NAME = re.compile(r"(?<![:\w]):([a-z_]+)")
TABLE = re.compile(r"\bkokugen\.(?=[a-z])")


class Statement(Struct, frozen=True):
    """One statement as it is sent, and the names of its parameters in order."""

    sql: str
    names: tuple[str, ...]

    def values(self, named: Mapping[str, Any]) -> list[Any]:
        """Return the values to bind, in order."""
        return [named[name] for name in self.names]


def common(namespace: str, clock: Clock) -> dict[str, Any]:
    """Return the parameters that all statements have: the server's own time counts, unless a clock was given."""
    return {"ns": namespace, "now": None if isinstance(clock, SystemClock) else clock.wall_us()}


@cache
def load(name: str, schema: str) -> Statement:
    """Return the statement of a file, for one schema, whose name was checked."""
    return compiled(source(name), schema)


def source(name: str) -> str:
    """Return the text of a file."""
    return files(__package__).joinpath("statements", f"{name}.sql").read_text(encoding="utf-8")


def compiled(text: str, schema: str) -> Statement:
    """Return a statement written with named parameters and the schema `kokugen` as it is sent."""
    names: dict[str, int] = {}

    def number(match: re.Match[str]) -> str:
        return f"${names.setdefault(match[1], len(names) + 1)}"

    sql = TABLE.sub(f'"{schema}".', COMMENT.sub("", text))
    return Statement(NAME.sub(number, sql).strip(), tuple(names))
