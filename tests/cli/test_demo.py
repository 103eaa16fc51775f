"""`kokugen demo`, whole, in a process of its own: nothing lost, doubled without a takeover, or left over."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from kokugen.cli.demo.stage import Stage

from .conftest import CommandLine


def demo(folder: Path, *words: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "kokugen.cli", "demo", *words]
    environment = {**os.environ, "TMPDIR": str(folder)}
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def test_the_demo_loses_nothing_and_leaves_the_store_it_was_told_to_keep(tmp_path: Path) -> None:
    process = demo(tmp_path, "--json", "--keep", "kept.db")
    out, err = process.communicate(timeout=110)
    assert process.returncode == 0, err
    found = json.loads(out)
    assert found["scheduled"] >= 300
    assert (found["delivered"], found["lost"], found["early"]) == (found["scheduled"], 0, 0)
    assert found["delivered_twice"] == found["delivered_twice_after_takeover"]
    assert found["workers_killed"] == 2
    kept = CommandLine(f"sqlite:///{tmp_path / 'kept.db'}", tmp_path / "kept.db")
    assert len(kept.json("list", "--limit", "9999", "--state", "Done")) == found["scheduled"]


def test_a_demo_that_loses_a_reminder_fails_and_says_so(
    kokugen: CommandLine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(Stage, "play", lambda _: None)  # no worker ever runs
    result = kokugen("demo", "--json")
    found = json.loads(result.stdout)
    assert (result.exit_code, found["lost"], found["delivered"]) == (1, found["scheduled"], 0)


@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no SIGINT for one process")
def test_ctrl_c_ends_the_worker_and_removes_the_store(tmp_path: Path) -> None:
    process = demo(tmp_path)
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    worker = next(int(line.split()[1]) for line in lines if line.startswith("worker"))
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130
    assert err == "kokugen: interrupted\n"
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ProcessLookupError):
        os.kill(worker, 0)
