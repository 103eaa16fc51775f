"""From a URL to a repository. Libraries of a store are imported only when its URL is used."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

from kokugen.clock import Clock, StoreClock
from kokugen.errors import OptionError
from kokugen.repository.protocol import DurableRepository, TimedRepository

if TYPE_CHECKING:
    from kokugen.repository.checkup import Checkup, Patience
    from kokugen.repository.sqlite.library import Library
    from kokugen.repository.transfer import Archive

SQLITE = ("sqlite", "sqlite+sqlite3")
POSTGRES = ("postgresql", "postgres")
SCHEMES = (
    "sqlite:///file.db (relative), sqlite:////full/path.db, sqlite+sqlite3:///file.db, "
    "postgresql://user@host/database, or memory://"
)
MISSPELT_PASSWORD = re.compile(r":(?!/).*@")
SECRETS = ("password", "sslpassword")


def open_repository(url: str, *, namespace: str, clock: Clock) -> DurableRepository:
    """Return the repository behind `url`; it is opened at first use. Raises OptionError for a URL it cannot use."""
    scheme, separator, rest = url.partition("://")
    if separator and scheme == "memory" and not rest:
        from kokugen.repository.memory import MemoryRepository

        return MemoryRepository(namespace=namespace, clock=clock)
    if names_file(scheme, rest):
        from kokugen.repository.sqlite import SQLiteRepository

        return SQLiteRepository(rest[1:], namespace=namespace, clock=clock, library=sqlite_library(scheme))
    if separator and scheme in POSTGRES:
        with driver():
            from kokugen.repository.postgres import PostgresRepository
        return PostgresRepository(url, namespace=namespace, clock=clock)
    raise unknown(url)


def stored_version(url: str) -> int | None:
    """Return the schema version of a store as it is; None where there is none yet. Raises as `open_repository`."""
    scheme, separator, rest = url.partition("://")
    if names_file(scheme, rest):
        from kokugen.repository.sqlite.connection import stored_version

        return stored_version(sqlite_library(scheme), Path(rest[1:]).absolute())
    if separator and scheme in POSTGRES:
        with driver():
            from kokugen.repository.postgres.look import version_at
        return version_at(url)
    raise unknown(url)


def open_archive(url: str, *, write: bool, namespace: str | None) -> Archive:
    """Return a store that is there, to copy from or into. Raises OptionError, RepositoryError."""
    scheme, separator, rest = url.partition("://")
    if names_file(scheme, rest):
        from kokugen.repository.sqlite.transfer import SQLiteArchive

        path = Path(rest[1:]).absolute()
        return SQLiteArchive(sqlite_library(scheme), path, write=write, namespace=namespace)
    if separator and scheme in POSTGRES:
        with driver():
            from kokugen.repository.postgres.transfer import PostgresArchive
        return PostgresArchive(url, write=write, namespace=namespace)
    raise unknown(url)


def check_up(url: str, patience: Patience) -> Checkup:
    """Look a store over that is there; nothing that is wrong with it raises. Raises OptionError for its URL."""
    scheme, separator, rest = url.partition("://")
    if names_file(scheme, rest):
        from kokugen.repository.sqlite import checkup as of_file

        return of_file.checkup(sqlite_library(scheme), Path(rest[1:]).absolute(), patience)
    if separator and scheme in POSTGRES:
        with driver():
            from kokugen.repository.postgres import checkup as of_server
        return of_server.checkup(url, patience)
    raise unknown(url)


def discard(url: str) -> None:
    """Remove the file of a SQLite store that was made for nothing, if nothing is in it."""
    from kokugen.repository.sqlite import connection

    scheme, _, path = url.partition(":///")
    connection.discard(sqlite_library(scheme), Path(path).absolute(), connection.holds_nothing)


def hindrances(url: str) -> list[str]:
    """Return what keeps tasks from being written into a store that is open, in words; a server says so itself."""
    scheme, _, path = url.partition(":///")
    if scheme not in SQLITE:
        return []
    from kokugen.repository.sqlite import checkup as of_file

    return of_file.hindrances(sqlite_library(scheme), Path(path).absolute())


def back_up(url: str, target: Path) -> int:
    """Copy the file of a SQLite store to another path, and return its size. Raises RepositoryError."""
    from kokugen.repository.sqlite import backup

    scheme, _, path = url.partition(":///")
    return backup.back_up(sqlite_library(scheme), Path(path).absolute(), target)


def names_file(scheme: str, rest: str) -> bool:
    """Return whether a URL names a file for SQLite, and not what SQLite itself would keep in memory."""
    return scheme in SQLITE and rest.startswith("/") and rest.strip("/") != "" and rest[1:] != ":memory:"


def sqlite_library(scheme: str) -> Library:
    """Return what opens the files of a scheme. Raises OptionError where it is too old."""
    from kokugen.repository.sqlite.library import Apsw, Standard

    return Apsw() if scheme == Apsw.scheme else Standard()


def clock_of(repository: DurableRepository | None, clock: Clock) -> Clock:
    """Return the clock by which the tasks of a store are due: its own, as this machine tells it, or the machine's."""
    if isinstance(repository, TimedRepository):
        return StoreClock(clock, lambda: repository.ahead_us)
    return clock


@contextmanager
def driver() -> Iterator[None]:
    """Say what to install where the driver of a store is missing."""
    try:
        yield
    except ModuleNotFoundError as error:
        if error.name != "asyncpg":
            raise
        raise OptionError("a postgresql:// store needs asyncpg: pip install 'kokugen[postgres]'") from error


def unknown(url: str) -> OptionError:
    """Return the refusal of a URL."""
    return OptionError(f"{mask(url)!r} is not a store that is known here: use {SCHEMES}")


def mask(url: str) -> str:
    """Return a URL without the passwords in it, wherever they stand; what only resembles one may hold one too."""
    scheme, separator, rest = url.partition("://")
    if not separator:  # it is no URL, and may have been meant as one
        return MISSPELT_PASSWORD.sub(":***@", url)
    credentials, place = _credentials(rest)
    place, mark, query = place.partition("?")
    user, colon, _ = credentials.partition(":")
    shown = f"{user}:***@{place}" if colon else f"{credentials}@{place}" if credentials else place
    pairs = (pair.partition("=") for pair in query.split("&"))
    hidden = "&".join(f"{name}=***" if unquote(name) in SECRETS else name + is_ + value for name, is_, value in pairs)
    return f"{scheme}://{shown}{mark}{hidden}"


def _credentials(rest: str) -> tuple[str, str]:
    """Split what follows the scheme where the credentials end; a password may hold a ? that should have been quoted."""
    before = rest.partition("?")[0]
    if "@" in before or ":" not in before:
        credentials, at, _ = before.rpartition("@")
    else:
        credentials, at, _ = rest.rpartition("@")
    return credentials, rest[len(credentials) + len(at) :]
