"""The file of an SQLite store: for its owner alone, on a local disk, and with what is large beside the hot rows."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kokugen.errors import RepositoryError
from kokugen.repository.rows import ClaimRequest, Finish, NewTask
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.connection import NETWORK
from kokugen.task import TaskState

PATIENCE_S = 20
INLINE_MAX = 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


def task(task_id: str, param: str = "{}") -> NewTask:
    return NewTask(id=task_id, work_id="note", due_at=1, scheduled_time=1, param=param)


# -- Who may read it


@contextmanager
def umask(mask: int) -> Iterator[None]:
    before = os.umask(mask)
    try:
        yield
    finally:
        os.umask(before)


@pytest.mark.skipif(os.name == "nt", reason="file rights are of POSIX")
def test_a_new_store_and_the_files_beside_it_are_for_their_owner_alone_whatever_the_umask(path: Path) -> None:
    repository = SQLiteRepository(path)
    with umask(0):
        repository.add([task("a")]).result(PATIENCE_S)
    rights = {one.name: stat.S_IMODE(one.stat().st_mode) for one in path.parent.iterdir() if one.is_file()}
    repository.close()
    assert rights == dict.fromkeys(["tasks.db", "tasks.db-wal", "tasks.db-shm"], 0o600)


@pytest.mark.skipif(os.name == "nt", reason="file rights are of POSIX")
def test_a_folder_that_everyone_may_write_holds_no_store_unless_it_is_sticky(path: Path) -> None:
    path.parent.chmod(0o777)
    with pytest.raises(RepositoryError, match="may be written by everyone"):
        SQLiteRepository(path).open()
    assert list(path.parent.iterdir()) == []
    path.parent.chmod(0o1777)
    repository = SQLiteRepository(path)
    repository.open()
    repository.close()


# -- Where it may be


@pytest.fixture
def mounts(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What the kernel says is mounted."""
    lines = ["/dev/vda / ext4 rw 0 0"]
    read_text = Path.read_text

    def told(path: Path, encoding: str | None = None, errors: str | None = None) -> str:
        return "\n".join(lines) if path == Path("/proc/self/mounts") else read_text(path, encoding, errors)

    monkeypatch.setattr(Path, "read_text", told)
    return lines


@pytest.mark.parametrize("kind", sorted(NETWORK))
def test_a_network_file_system_holds_no_store(path: Path, mounts: list[str], kind: str) -> None:
    mounts.append(f"server:/export {path.parent} {kind} rw 0 0")
    with pytest.raises(RepositoryError, match=rf"network file system \({kind}\).*use a local disk"):
        SQLiteRepository(path).open()
    assert list(path.parent.iterdir()) == []


def test_a_local_disk_within_a_network_file_system_may_hold_one(path: Path, mounts: list[str]) -> None:
    local = path.parent / "local disk"
    local.mkdir()
    mounts += [
        f"server:/export {path.parent} nfs4 rw 0 0",
        f"/dev/vdb {str(local).replace(' ', chr(92) + '040')} ext4 rw 0 0",
    ]
    repository = SQLiteRepository(local / "tasks.db")
    repository.open()
    repository.close()


# -- What is beside the hot rows


@pytest.mark.parametrize(("size", "beside"), [(INLINE_MAX, False), (INLINE_MAX + 1, True)])
@pytest.mark.parametrize("alone", [True, False])
def test_what_is_larger_than_1_kib_is_kept_beside_the_row_that_is_written_again_and_again(
    path: Path, size: int, beside: bool, alone: bool
) -> None:
    body = '{"args":["' + "x" * (size - len('{"args":[""]}')) + '"]}'
    repository = SQLiteRepository(path)
    repository.add([task("a", body)] if alone else [task("a", body), task("b")]).result(PATIENCE_S)
    run = repository.claim(ClaimRequest(node_id="n", nonce="c", slots=1)).result(PATIENCE_S).tasks[0]
    end = Finish(id=run.id, claim="c", state=TaskState.DONE, outcome="done", result=body)
    repository.finish([end]).result(PATIENCE_S)
    repository.close()
    with closing(sqlite3.connect(path)) as db:
        row = db.execute("SELECT param, result FROM task WHERE id = 'a'").fetchone()
        bodies = [db.execute(f"SELECT body FROM {table}").fetchall() for table in ("task_param", "task_result")]
    assert row == ((None, None) if beside else (body, body))
    assert bodies == ([[(body,)]] * 2 if beside else [[], []])
    assert run.param == body
