"""The file of a store: what is no regular file is refused, what is empty is no store, and nothing is left behind."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from kokugen.repository.sqlite import checkup
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
