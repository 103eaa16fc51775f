"""Opening a file that others open at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import apsw

from kokugen.repository.sqlite.connection import connect, one
from kokugen.repository.sqlite.library import Apsw, Connection


def test_a_file_that_others_switch_to_a_log_at_the_same_time_is_waited_for(tmp_path: Path) -> None:
    """SQLite answers such a switch with `database is locked` at once, however long it is told to wait."""
    refusals = 3

    class Crowded(apsw.Connection):
        def execute(self, statements: str, *more: Any, **options: Any) -> apsw.Cursor:
            nonlocal refusals
            if statements == "PRAGMA journal_mode=WAL" and refusals:
                refusals -= 1
                busy = apsw.BusyError("database is locked")
                busy.result = apsw.SQLITE_BUSY  # type: ignore[attr-defined]
                raise busy
            return super().execute(statements, *more, **options)

    class Library(Apsw):
        def connect(self, path: Path, *, read_only: bool = False) -> Connection:
            return cast("Connection", Crowded(str(path)))

    db = connect(Library(), tmp_path / "tasks.db")
    assert refusals == 0
    assert one(db, "PRAGMA journal_mode") == "wal"
    db.close()
