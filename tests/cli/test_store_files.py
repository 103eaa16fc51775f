"""The file of a store: what is no regular file is refused, what is empty is no store, and nothing is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

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
