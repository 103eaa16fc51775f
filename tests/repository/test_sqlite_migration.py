"""The schema of an SQLite store is numbered: a store of an older one is brought up to date, whole or not at all."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from importlib.resources import files
from pathlib import Path

import pytest

from kokugen import Scheduler, TaskState
from kokugen.clock import SystemClock
from kokugen.errors import SchemaVersionError
from kokugen.repository import sqlite
from kokugen.repository.locate import stored_version
from kokugen.repository.sqlite import SQLiteRepository, connection

PATIENCE_S = 20
SCRIPTS = sorted(one.name for one in files(sqlite).joinpath("sql").iterdir() if one.name.endswith(".sql"))
VERSIONS = [int(name[:3]) for name in SCRIPTS]
OLDER, NEWEST = VERSIONS[:-1], VERSIONS[-1]
LONG = '{"args":["' + "x" * 2000 + '"]}'
COLUMNS = "namespace, id, queue, rank, due_at, work_id, mode, max_attempts, max_lost, scheduled_time, created_at,"


def old_store(path: Path, version: int) -> None:
    """Make a store as an older kokugen left it: a task that waits, one with much to say, and one that is over."""
    now = SystemClock().wall_us()
    with closing(sqlite3.connect(path)) as db:
        for name in SCRIPTS[: VERSIONS.index(version) + 1]:
            db.executescript(files(sqlite).joinpath("sql", name).read_text(encoding="utf-8"))
        facts = {"schema_version": str(version), "min_compatible": "1", "cluster_id": "old"}
        db.executemany("INSERT INTO meta VALUES (?, ?)", facts.items())
        for task_id, param in (("short", '{"args":["Ann"]}'), ("long", None)):
            db.execute(
                f"INSERT INTO task ({COLUMNS} modified_at, param)"
                " VALUES ('default', ?, 'default', 0, ?, 'note', 0, 1, 3, ?, ?, ?, ?)",
                (task_id, now, now, now, now, param),
            )
        db.execute("INSERT INTO task_param VALUES ('default', 'long', ?)", (LONG,))
        db.execute(
            f"INSERT INTO task ({COLUMNS} modified_at, state, finished_at, param, result)"
            " VALUES ('default', 'over', 'default', 0, 1, 'note', 0, 1, 3, 1, 1, 1, 2, 1, '{}', '1')"
        )
        db.commit()


def schema(path: Path) -> list[tuple[str, ...]]:
    """All that the file's schema says, but for the way it is written."""
    with closing(sqlite3.connect(path)) as db:
        tables = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY 1")]
        columns = [("column", name, *map(str, row[1:])) for name in tables for row in columns_of(db, name)]
        others = db.execute("SELECT type, name, sql FROM sqlite_schema WHERE type <> 'table' AND sql <> '' ORDER BY 2")
        return columns + [tuple(row) for row in others]


def columns_of(db: sqlite3.Connection, table: str) -> list[tuple[object, ...]]:
    return list(db.execute("SELECT * FROM pragma_table_info(?) ORDER BY name", (table,)))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.mark.parametrize("version", OLDER)
def test_what_an_older_kokugen_stored_is_all_there_and_runs(path: Path, version: int) -> None:
    old_store(path, version)
    assert stored_version(f"sqlite:///{path}") == version
    scheduler, noted = Scheduler(f"sqlite:///{path}"), list[str]()
    scheduler.work(id="note")(noted.append)
    with scheduler:
        assert scheduler.health().schema_version == NEWEST
        for task_id in ("short", "long"):
            scheduler.result(task_id)
        over = scheduler.get("over")
    assert sorted(noted) == ["Ann", "x" * 2000]
    assert (over.state, over.result) == (TaskState.DONE, "1")


@pytest.mark.parametrize("version", OLDER)
def test_a_store_that_was_brought_up_to_date_is_as_one_that_was_made_today(path: Path, version: int) -> None:
    old_store(path, version)
    new = path.with_name("new.db")
    for one in (path, new):
        repository = SQLiteRepository(one)
        repository.open()
        repository.close()
    assert schema(path) == schema(new)


def test_an_upgrade_that_fails_leaves_the_store_as_it_was(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old_store(path, OLDER[0])
    before = schema(path)
    monkeypatch.setattr(connection, "_scripts", lambda: [*SCRIPTS, "999_missing.sql"])
    with pytest.raises(FileNotFoundError):
        SQLiteRepository(path).open()
    monkeypatch.undo()
    assert (stored_version(f"sqlite:///{path}"), schema(path)) == (OLDER[0], before)


def test_many_that_open_an_older_store_together_upgrade_it_once(path: Path) -> None:
    old_store(path, OLDER[0])
    repositories = [SQLiteRepository(path) for _ in range(8)]
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(SQLiteRepository.open, repositories))
    versions = {one.health().result(PATIENCE_S).schema_version for one in repositories}
    for one in repositories:
        one.close()
    assert versions == {NEWEST}


def test_a_store_of_a_newer_kokugen_is_refused_unless_it_says_that_it_is_compatible(path: Path) -> None:
    repository = SQLiteRepository(path)
    repository.open()
    repository.close()

    def say(key: str, value: str) -> None:
        with closing(sqlite3.connect(path)) as db:
            db.execute("UPDATE meta SET value = ? WHERE key = ?", (value, key))
            db.commit()

    say("schema_version", "99")
    repository.open()
    repository.close()
    say("min_compatible", "9")
    with pytest.raises(SchemaVersionError, match="use a newer kokugen"):
        repository.open()
