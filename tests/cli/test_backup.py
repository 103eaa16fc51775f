"""`kokugen backup`: a whole store of one moment, while others write; or no file at all."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from threading import Barrier, Event, Thread

import pytest

from kokugen import Scheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.errors import RepositoryError
from kokugen.repository.locate import back_up
from kokugen.repository.sqlite import backup
from kokugen.repository.sqlite.connection import schema_version
from kokugen.repository.sqlite.library import Connection

from .conftest import Add, CommandLine


def test_a_backup_is_a_store_with_every_task(kokugen: CommandLine, add: Add, tmp_path: Path) -> None:
    ids = {add(param={"text": "x" * 3000}) for _ in range(20)}
    said = kokugen.json("backup", str(tmp_path / "backup.db"))
    found = kokugen.json("list", "--url", f"sqlite:///{tmp_path / 'backup.db'}")
    assert {task["id"] for task in found} == ids
    assert {len(task["param"]["kwargs"]["text"]) for task in found} == {3000}
    assert said == {"file": str(tmp_path / "backup.db"), "bytes": (tmp_path / "backup.db").stat().st_size}


@pytest.mark.skipif(os.name == "nt", reason="permissions are bits elsewhere")
def test_only_its_owner_may_read_it(kokugen: CommandLine, add: Add, tmp_path: Path) -> None:
    add()
    before = os.umask(0)
    try:
        kokugen.done("backup", str(tmp_path / "backup.db"))
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "backup.db").stat().st_mode) == 0o600
    assert list(tmp_path.glob("*.part")) == []


def test_a_backup_while_others_write_has_no_half_of_anything(
    kokugen: CommandLine, scheduler: Scheduler, tmp_path: Path
) -> None:
    begun, enough = Event(), Event()
    now = from_us(SystemClock().wall_us())

    def write() -> None:
        while not enough.is_set():
            scheduler.schedule_many(TaskParam(work_id="pair", scheduled_time=now, param={"n": n}) for n in (1, 2))
            begun.set()

    writer = Thread(target=write)
    writer.start()
    assert begun.wait(60)
    for number in range(5):
        kokugen.done("backup", str(tmp_path / f"{number}.db"))
    enough.set()
    writer.join()
    for number in range(5):
        copy = f"sqlite:///{tmp_path / f'{number}.db'}"
        held = [task["param"]["kwargs"]["n"] for task in kokugen.json("list", "--limit", "1000000", "--url", copy)]
        assert held.count(1) == held.count(2) > 0
        assert kokugen("doctor", "--url", copy).exit_code == 0


@pytest.mark.parametrize("kind", ["a file", "a link", "a directory", "the store"])
def test_nothing_is_overwritten(kokugen: CommandLine, add: Add, tmp_path: Path, kind: str) -> None:
    add()
    target = kokugen.path if kind == "the store" else tmp_path / "there"
    if kind == "a file":
        target.write_text("mine", encoding="utf-8")
    if kind == "a link":
        target.symlink_to(tmp_path / "nowhere")
    if kind == "a directory":
        target.mkdir()
    assert "is there already" in kokugen.refused("backup", str(target))
    assert kind != "a file" or target.read_text(encoding="utf-8") == "mine"
    assert kind != "a link" or not (tmp_path / "nowhere").exists()
    assert len(kokugen.json("list")) == 1


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("no-such-folder/backup.db",), "there is no directory"),
        (("",), "names no file"),
        (("b.db", "--url", "sqlite:///no-such.db"), "no store"),
        (("b.db", "--url", "postgresql://host/db"), "pg_dump"),
        (("b.db", "--url", "memory://"), "memory"),
        ((), "FILE"),
    ],
)
def test_what_cannot_be_backed_up_is_refused(
    kokugen: CommandLine, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], reason: str
) -> None:
    add()
    monkeypatch.chdir(tmp_path)
    assert reason in kokugen.refused("backup", *words)
    assert not (tmp_path / "b.db").exists()


def test_a_damaged_store_makes_no_backup(kokugen: CommandLine, tmp_path: Path) -> None:
    kokugen.done("schedule", "remind", "--in", "5m")
    data = bytearray(kokugen.path.read_bytes())
    data[4096 * 2 : 4096 * 6] = b"\xa5" * 4096 * 4
    kokugen.path.write_bytes(data)
    assert "damaged" in kokugen.refused("backup", str(tmp_path / "backup.db"))
    assert list(tmp_path.glob("backup*")) == []


def test_a_store_of_the_standard_library_is_backed_up_too(kokugen: CommandLine, tmp_path: Path) -> None:
    url = f"sqlite+sqlite3:///{tmp_path / 'other.db'}"
    kokugen.done("schedule", "remind", "--in", "5m", "--id", "a", "--url", url)
    kokugen.done("backup", str(tmp_path / "backup.db"), "--url", url)
    assert kokugen.json("show", "a", "--url", f"sqlite+sqlite3:///{tmp_path / 'backup.db'}")["id"] == "a"


def test_of_two_backups_to_one_file_at_once_one_is_refused_and_the_file_is_whole(
    kokugen: CommandLine, add: Add, tmp_path: Path
) -> None:
    ids = {add() for _ in range(20)}
    for number in range(10):
        target = tmp_path / f"{number}.db"
        said: list[int | str] = []
        both = Barrier(2)

        def back(target: Path = target, said: list[int | str] = said, both: Barrier = both) -> None:
            both.wait(60)
            try:
                said.append(back_up(kokugen.url, target))
            except RepositoryError as error:
                said.append(str(error))

        threads = [Thread(target=back) for _ in range(2)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert sorted(map(str, said)) == sorted(
            [str(target.stat().st_size), f"{target} is there already: name a new file"]
        )
        assert {task["id"] for task in kokugen.json("list", "--url", f"sqlite:///{target}")} == ids
        assert stat.S_IMODE(target.stat().st_mode) == 0o600 or os.name == "nt"
    assert list(tmp_path.glob("*.part")) == []


def test_a_copy_that_somebody_replaces_meanwhile_is_no_backup(
    kokugen: CommandLine, add: Add, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    add()
    version = schema_version

    def replaced(db: Connection) -> int:
        (part,) = tmp_path.glob("*.part")
        part.unlink()
        part.touch()
        return version(db)

    monkeypatch.setattr(backup, "schema_version", replaced)
    assert "no backup was made" in kokugen.refused("backup", str(tmp_path / "backup.db"))
    assert list(tmp_path.glob("backup*")) == []
