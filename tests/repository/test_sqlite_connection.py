"""Opening a file that others open at the same time."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import apsw
import pytest

from kokugen.repository.sqlite import connection
from kokugen.repository.sqlite.connection import connect, migrate, one
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


def test_an_upgrade_that_a_newer_kokugen_overtook_leaves_the_newer_schema_as_it_is(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    db, path = connect(Apsw(), tmp_path / "tasks.db"), tmp_path / "tasks.db"
    migrate(db, path, "cluster")
    look, looks = connection.schema_version, [5]

    def overtaken(db: Connection) -> int:
        if not looks:
            return look(db)
        db.execute("UPDATE meta SET value = '99' WHERE key = 'schema_version'")  # just after the first look
        db.execute("UPDATE meta SET value = '0' WHERE key = 'min_compatible'")
        return looks.pop()

    monkeypatch.setattr(connection, "schema_version", overtaken)
    assert migrate(db, path, "cluster") == 99
    assert look(db) == 99
    assert one(db, "SELECT value FROM meta WHERE key = 'min_compatible'") == "1", "what this schema needs is told"
    db.close()
