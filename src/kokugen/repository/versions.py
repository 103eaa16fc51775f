"""The version of a store's schema, as it is and as this kokugen makes it; to look at it makes and changes nothing."""

from __future__ import annotations

from typing import Protocol, runtime_checkable

from msgspec import Struct


class Schema(Struct, frozen=True):
    """Which version is stored, None where there is no store yet, and which one opening the store brings it to."""

    stored: int | None
    newest: int


@runtime_checkable
class VersionedRepository(Protocol):
    """A store with a schema of its own."""

    @property
    def url(self) -> str:
        """Return the store's address, without secrets."""
        ...

    def schema(self) -> Schema:
        """Return the versions of the schema. Raises RepositoryError for the database of another application."""
        ...
