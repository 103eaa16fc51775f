"""A connection that only reads, for one call at a time, in the thread that asks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from kokugen.errors import KokugenError, RepositoryUnavailableError
from kokugen.reply import Reply
from kokugen.repository.sqlite.connection import explain
from kokugen.repository.sqlite.library import REFUSALS
from kokugen.repository.sqlite.line import Line

T = TypeVar("T")


class Reader:
    """Reads once it is opened, and never again once it is closed."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._line: Line | None = None

    def open(self, line: Line) -> None:
        """Read from this line from now on."""
        self._line = line

    def close(self) -> None:
        """Wait for the call under way, and close the line."""
        line, self._line = self._line, None
        if line is not None:
            line.close()

    def read(self, query: Callable[..., T], *arguments: Any) -> Reply[T]:
        """Return the answer to a query, once those who asked before have theirs."""
        line = self._line
        try:
            if line is None:
                raise RepositoryUnavailableError(f"the store {self._path} was closed: open it again")
            with line as db:
                return Reply.of(query(db, *arguments))
        except REFUSALS as error:
            return Reply.failed(explain(error, self._path))
        except KokugenError as error:
            return Reply.failed(error)
