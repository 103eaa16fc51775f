"""Two libraries, one file format: each opens what the other made, and never both at once in one process."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import apsw
import pytest

from kokugen import Scheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.errors import OptionError
from kokugen.repository.sqlite import connection
from kokugen.repository.sqlite import library as libraries
from kokugen.repository.sqlite.connection import connect, one
from kokugen.repository.sqlite.library import FAULTS, Apsw, Library, Standard, code_of, statements


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.mark.parametrize("order", [("sqlite", "sqlite+sqlite3"), ("sqlite+sqlite3", "sqlite")])
def test_either_opens_what_the_other_made_and_closed(path: Path, order: tuple[str, str]) -> None:
    first = Scheduler(f"{order[0]}:///{path}")
    task = first.schedule(TaskParam(work_id="w", scheduled_time=from_us(SystemClock().wall_us())))
    assert first.url == f"{order[0]}:///{path}"
    first.close()
    second = Scheduler(f"{order[1]}:///{path}")
    assert second.get(task.id).work_id == "w"
    second.close()


def test_one_process_never_has_a_file_open_with_both(path: Path) -> None:
    first, second = Scheduler(f"sqlite:///{path}"), Scheduler(f"sqlite+sqlite3:///{path}")
    first.open()
    with pytest.raises(OptionError, match="open in this process as sqlite:///"):
        second.open()
    first.close()
    second.open()
    with pytest.raises(OptionError, match="as sqlite\\+sqlite3:///"):
        first.open()
    second.close()


def test_a_file_that_could_not_be_opened_keeps_the_other_library_from_nothing(path: Path) -> None:
    path.write_text("no database, and long enough that SQLite sees it at once" * 100)
    for url in (f"sqlite:///{path}", f"sqlite+sqlite3:///{path}"):
        with pytest.raises(Exception, match="is not an SQLite database"):
            Scheduler(url).open()


@pytest.mark.parametrize("library", [Apsw(), Standard()], ids=lambda library: library.scheme)
def test_both_are_fully_durable_and_use_a_log_only_where_it_is_safe(path: Path, library: Library) -> None:
    db = connect(library, path)
    assert one(db, "PRAGMA synchronous") == 2
    assert one(db, "PRAGMA journal_mode") == ("wal" if library.version >= (3, 51, 3) else "truncate")
    assert one(db, "PRAGMA trusted_schema") == 0
    db.close()


def test_a_standard_library_that_is_too_old_is_refused_in_words(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sqlite3, "sqlite_version_info", (3, 34, 0))
    with pytest.raises(OptionError, match=r"needs 3\.38"):
        Scheduler("sqlite+sqlite3:///old.db").open()


@pytest.mark.parametrize("library", [Apsw(), Standard()], ids=lambda library: library.scheme)
def test_a_fault_has_the_code_that_sqlite_gave_it(path: Path, library: Library) -> None:
    db = library.connect(path)
    db.execute("CREATE TABLE t (x UNIQUE)")
    db.execute("INSERT INTO t VALUES (?)", (1,))
    with pytest.raises((apsw.Error, sqlite3.Error)) as caught:
        db.execute("INSERT INTO t VALUES (?)", (1,))
    assert code_of(caught.value) == 19
    db.close()


def test_a_script_is_cut_where_its_statements_end() -> None:
    script = "CREATE TABLE a (\n  x -- one; two\n);\n\nCREATE TABLE b (y TEXT DEFAULT ';');\n"
    assert [one.split()[2] for one in statements(script)] == ["a", "b"]


@pytest.mark.parametrize("library", [Apsw(), Standard()], ids=lambda library: library.scheme)
def test_a_lock_of_another_connection_is_waited_for_but_not_for_ever(
    path: Path, library: Library, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(libraries, "BUSY_MS", 20)
    holder, waiting = library.connect(path), library.connect(path)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(FAULTS) as busy:
        waiting.execute("BEGIN IMMEDIATE")
    assert code_of(busy.value) == 5
    holder.close()
    waiting.execute("BEGIN IMMEDIATE")
    waiting.close()


def test_a_lock_that_is_let_go_ends_the_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    wait = libraries._patience()
    assert all(wait(tries) for tries in range(20))
    monkeypatch.setattr(libraries, "BUSY_MS", 0)
    assert not wait(20)
    assert not wait(0)


def test_a_link_that_takes_the_files_place_behind_our_back_is_not_followed(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    theirs = path.with_name("theirs.db")
    sqlite3.connect(theirs).close()
    path.symlink_to(theirs)
    monkeypatch.setattr(connection, "check_place", lambda _: None)  # it looked just before
    with pytest.raises(FAULTS) as refused:
        connect(Apsw(), path)
    assert code_of(refused.value) == 14


def test_a_folder_may_be_reached_by_a_link(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    connect(Apsw(), tmp_path / "link" / "tasks.db").close()
    assert (tmp_path / "real" / "tasks.db").exists()
