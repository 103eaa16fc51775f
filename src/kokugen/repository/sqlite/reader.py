"""A connection that only reads, for one call at a time, in the thread that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from threading import Lock
from typing import Any, TypeVar

from kokugen.errors import KokugenError, RepositoryUnavailableError
from kokugen.reply import Reply
from kokugen.repository.sqlite.connection import check_unmoved, explain, file_identity
from kokugen.repository.sqlite.library import REFUSALS, Connection

T = TypeVar("T")


class Reader:
    """Reads once it is opened, and never again once it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = Lock()
        self._db: Connection | None = None
        self._file: tuple[int, int] | None = None

    def open(self, db: Connection) -> None:
        """Read from this connection from now on."""
        self._db, self._file = db, file_identity(self._path)

    def close(self) -> None:
        """Wait for the call under way, and close the connection."""
        with self._lock:
            db, self._db = self._db, None
        if db is not None:
            db.close()

    def read(self, query: Callable[..., T], *arguments: Any) -> Reply[T]:
        """Return the answer to a query, once those who asked before have theirs."""
        try:
            with self._lock:
                if self._db is None:
                    raise RepositoryUnavailableError(f"the store {self._path} was closed: open it again")
                check_unmoved(self._path, self._file)
                return Reply.of(query(self._db, *arguments))
        except REFUSALS as error:
            return Reply.failed(explain(error, self._path))
        except KokugenError as error:
            return Reply.failed(error)
