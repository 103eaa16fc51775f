"""Which database a store is in, so that a connection to another one is told from it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec import Struct

from kokugen.repository.postgres.session import Session


class Identity(Struct, frozen=True):
    """The database's name, the number of one of its tables, and the random name that the store was given when made."""

    database: str
    table: int
    cluster_id: str

    @staticmethod
    def meta(schema: str) -> str:
        """Return the name of that table, as it is looked up."""
        return f'"{schema}".meta'

    def is_at(self, place: Sequence[Any]) -> bool:
        """Return whether a database of this name has this table: then it can be asked for the random name."""
        return (self.database, self.table) == tuple(place)


async def identify(session: Session, schema: str) -> Identity:
    """Return where the store is. Raises what asyncpg raises."""
    database, table = await session.row("place", {"meta": Identity.meta(schema)})
    (cluster_id,) = await session.row("cluster", {})
    return Identity(database, table, cluster_id)
