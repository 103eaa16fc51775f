"""From a URL to a repository. Libraries of a store are imported only when its URL is used."""

from __future__ import annotations

from pathlib import Path

from kokugen.clock import Clock
from kokugen.errors import OptionError
from kokugen.repository.protocol import DurableRepository

SCHEMES = "sqlite:///file.db (relative), sqlite:////full/path.db, or memory://"


def open_repository(url: str, *, namespace: str, clock: Clock) -> DurableRepository:
    """Return the repository behind `url`; it is opened at first use. Raises OptionError for a URL it cannot use."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        from kokugen.repository.memory import MemoryRepository

        return MemoryRepository(namespace=namespace, clock=clock)
    if separator and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from kokugen.repository.sqlite import SQLiteRepository

        return SQLiteRepository(rest[1:], namespace=namespace, clock=clock)
    raise unknown(url)


def stored_version(url: str) -> int | None:
    """Return the schema version of a store as it is; None where there is none yet. Raises as `open_repository`."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "sqlite" and rest.startswith("/") and rest != "/":
        from kokugen.repository.sqlite.connection import stored_version

        return stored_version(Path(rest[1:]).absolute())
    raise unknown(url)


def unknown(url: str) -> OptionError:
    """Return the refusal of a URL."""
    return OptionError(f"{mask(url)!r} is not a store that is known here: use {SCHEMES}")


def mask(url: str) -> str:
    """Return a URL without the password in it."""
    scheme, separator, rest = url.partition("://")
    credentials, at, place = rest.rpartition("@")
    if not separator or not at or ":" not in credentials:
        return url
    return f"{scheme}://{credentials.partition(':')[0]}:***@{place}"
