"""The file of a store: what is no regular file is refused, what is empty is no store, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
import stat
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import apsw
import pytest

from kokugen import Scheduler, TaskParam
from kokugen.cli import copy as copying
from kokugen.errors import RepositoryError
from kokugen.repository.sqlite import checkup, connection
from kokugen.repository.sqlite.library import Connection, Library

from .conftest import CommandLine

LOOKING = (("list",), ("health",), ("backup", "backup.db"), ("cancel", "a"), ("prune",))
pytestmark = pytest.mark.skipif(os.name == "nt", reason="pipes have no path there")


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


# -- What is no file


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+sqlite3"])
@pytest.mark.parametrize("words", [*LOOKING, ("migrate",), ("copy", "sqlite:///pipe", "sqlite:///to.db")])
def test_a_pipe_is_refused_and_never_waited_for(
    kokugen: CommandLine, tmp_path: Path, scheme: str, words: tuple[str, ...]
) -> None:
    os.mkfifo(tmp_path / "pipe")
    url = () if words[0] == "copy" else ("--url", f"{scheme}:///{tmp_path / 'pipe'}")
    assert "is no regular file" in kokugen.refused(*words, *url)


def test_a_device_is_refused(kokugen: CommandLine) -> None:
    assert "is no regular file" in kokugen.refused("list", "--url", "sqlite:////dev/null")


def test_the_doctor_finds_that_a_pipe_is_no_store(kokugen: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe", 0o600)
    result = kokugen("doctor", "--url", f"sqlite:///{tmp_path / 'pipe'}", "--json")
    told = {one["check"]: one for one in json.loads(result.stdout)["findings"]}
    assert (result.exit_code, told["store"]["level"]) == (1, "problem")
    assert "is no regular file" in told["store"]["said"]


# -- What cannot be written

NEARLY, LITTLE = 10_000_000, 100_000_000
Hinder = Callable[[pytest.MonkeyPatch, Path], None]


def full(monkeypatch: pytest.MonkeyPatch, _: Path, free: int = 0) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**12, 10**12 - free, free))


def read_only(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    monkeypatch.setattr(os, "access", lambda *_: False)


def unwilling(monkeypatch: pytest.MonkeyPatch, _: Path) -> None:
    def opened_to_read(library: Library, path: Path) -> Connection:
        return library.connect(path, read_only=True)

    monkeypatch.setattr(checkup, "connect", opened_to_read)


HINDERED = [(full, "disk", "0.0 MB free"), (read_only, "writing", "may not be"), (unwilling, "writing", "read-only")]


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+sqlite3"])
@pytest.mark.parametrize(("hinder", "check", "said"), HINDERED)
def test_a_store_that_cannot_be_written_is_not_well(
    kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch, scheme: str, hinder: Hinder, check: str, said: str
) -> None:
    url = f"{scheme}:///{kokugen.path}"
    kokugen.done("migrate", "--url", url)
    assert kokugen.done("health", "--url", url).endswith("\nwell\n")
    before = kokugen.path.read_bytes()
    hinder(monkeypatch, kokugen.path)
    health, doctor = kokugen("health", "--url", url), kokugen("doctor", "--url", url, "--json")
    told = {one["check"]: one for one in json.loads(doctor.stdout)["findings"]}
    assert (health.exit_code, doctor.exit_code, told[check]["level"]) == (1, 1, "problem")
    assert said in told[check]["said"]
    assert said in health.stdout.splitlines()[-1]
    assert kokugen.path.read_bytes() == before


@pytest.mark.parametrize(("free", "level"), [(NEARLY, "problem"), (LITTLE, "warning"), (10 * LITTLE, "ok")])
def test_the_doctor_says_that_the_disk_fills_up_before_it_is_full(
    kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch, free: int, level: str
) -> None:
    kokugen.done("migrate")
    full(monkeypatch, kokugen.path, free)
    result = kokugen("doctor", "--json")
    assert {one["check"]: one["level"] for one in json.loads(result.stdout)["findings"]}["disk"] == level
    assert result.exit_code == (1 if level == "problem" else 0)
    assert kokugen("health").exit_code == result.exit_code


def test_a_disk_without_room_for_the_log_is_a_problem(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kokugen.done("migrate")
    monkeypatch.setattr(checkup, "_log_size", lambda _: LITTLE + 1)
    full(monkeypatch, kokugen.path, LITTLE)
    assert kokugen("doctor").exit_code == 1


# -- What is empty, and what is left behind


@pytest.mark.parametrize("words", LOOKING)
def test_an_empty_file_is_no_store_and_stays_as_it_is(
    kokugen: CommandLine, tmp_path: Path, words: tuple[str, ...]
) -> None:
    kokugen.path.touch(0o644)
    assert "there is no store" in kokugen.refused(*words)
    assert kokugen("doctor").exit_code == 2
    assert kokugen.path.stat().st_size == 0
    assert list(tmp_path.iterdir()) == [kokugen.path]


def test_an_empty_file_that_becomes_a_store_is_closed_off(kokugen: CommandLine) -> None:
    kokugen.path.touch()
    kokugen.path.chmod(0o664)
    kokugen.done("schedule", "remind", "--in", "5m")
    assert stat.S_IMODE(kokugen.path.stat().st_mode) == 0o600
    kokugen.path.chmod(0o660)
    kokugen.done("schedule", "remind", "--in", "5m")
    assert stat.S_IMODE(kokugen.path.stat().st_mode) == 0o660, "who opens a store to others may"
    assert len(kokugen.json("list")) == 2


def test_an_empty_file_that_others_may_read_for_good_is_refused(
    kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    kokugen.path.touch()
    kokugen.path.chmod(0o644)
    monkeypatch.setattr(Path, "chmod", refuse)
    assert "others may read it" in kokugen.refused("schedule", "remind", "--in", "5m")
    assert kokugen.path.stat().st_size == 0


def broken(monkeypatch: pytest.MonkeyPatch, step: str) -> None:
    """No schema can be made: SQLite finds the disk full at this step."""

    def fail(*_: object) -> int:
        raise apsw.FullError("database or disk is full")

    monkeypatch.setattr(connection, step, fail)


@pytest.mark.parametrize("step", ["migrate", "_refuse_foreign"])
@pytest.mark.parametrize("words", [("schedule", "remind", "--in", "5m"), ("migrate",)])
def test_a_file_whose_schema_cannot_be_made_is_removed(
    kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, step: str, words: tuple[str, ...]
) -> None:
    broken(monkeypatch, step)
    kokugen.refused(*words)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_was_there_is_not_removed(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kokugen.path.touch()
    broken(monkeypatch, "migrate")
    kokugen.refused("migrate")
    assert kokugen.path.exists()


def test_a_file_that_another_process_filled_meanwhile_is_not_removed(
    kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch
) -> None:
    migrate = connection.migrate

    def cut_off(*arguments: Any) -> int:
        migrate(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(connection, "migrate", cut_off)
    with pytest.raises(KeyboardInterrupt):
        Scheduler(kokugen.url).open()
    monkeypatch.undo()
    assert kokugen.json("list", "--url", kokugen.url) == []


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+sqlite3"])
def test_a_copy_that_comes_to_nothing_leaves_no_file(
    kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, scheme: str
) -> None:
    kokugen.done("schedule", "remind", "--in", "5m")
    before = set(tmp_path.iterdir())

    def cut_off(*_: object) -> None:
        raise RepositoryError("the source is damaged")

    monkeypatch.setattr(copying, "copy", cut_off)
    kokugen.refused("copy", kokugen.url, f"{scheme}:///{tmp_path / 'to.db'}")
    assert set(tmp_path.iterdir()) == before


@pytest.mark.parametrize(("others", "held"), [(("migrate",), 0), (("schedule", "other", "--in", "5m"), 1)])
def test_a_copy_that_comes_to_nothing_leaves_what_was_there(
    kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, others: tuple[str, ...], held: int
) -> None:
    kokugen.done("schedule", "remind", "--in", "5m")
    target = f"sqlite:///{tmp_path / 'to.db'}"
    kokugen.done(*others, "--url", target)
    broken(monkeypatch, "migrate")
    kokugen.refused("copy", kokugen.url, target)
    monkeypatch.undo()
    assert len(kokugen.json("list", "--url", target)) == held


def test_a_target_into_which_somebody_scheduled_meanwhile_stays(
    kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kokugen.done("migrate")
    target = f"sqlite:///{tmp_path / 'to.db'}"

    def cut_off(_: object, given: Any, __: object) -> None:
        given.commit()
        with closing(Scheduler(target)) as other:
            other.schedule(TaskParam(work_id="other", scheduled_time=datetime(2099, 1, 1, tzinfo=UTC)))
        raise RepositoryError("the source is damaged")

    monkeypatch.setattr(copying, "copy", cut_off)
    kokugen.refused("copy", kokugen.url, target)
    assert len(kokugen.json("list", "--url", target)) == 1
