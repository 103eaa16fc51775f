"""Output that cannot be written, and commands that come to no end: what was done is said all the same."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from kokugen import Scheduler, TaskState
from kokugen.cli import changes

from .conftest import Add, CommandLine

SOON = ("--in", "5m")
FULL = "No space left on device"
WITHOUT_STDOUT = """
import os, sys
os.close(1)
os.execv(sys.executable, [sys.executable, "-m", "kokugen.cli", *sys.argv[1:]])
"""
Ended = subprocess.CompletedProcess[str]
Run = Callable[..., Ended]


def ended(kokugen: CommandLine, *command: str, stdout: int) -> Ended:
    env = {**os.environ, "KOKUGEN_URL": kokugen.url}
    words = [sys.executable, *command]
    return subprocess.run(words, stdout=stdout, stderr=subprocess.PIPE, text=True, env=env, check=False)


@pytest.fixture
def without_stdout(kokugen: CommandLine) -> Run:
    """Runs `kokugen … >&-`."""
    return lambda *words: ended(kokugen, "-c", WITHOUT_STDOUT, *words, stdout=subprocess.DEVNULL)


@pytest.fixture
def on_a_full_disk(kokugen: CommandLine) -> Run:
    """Runs `kokugen … >/dev/full`."""
    full = Path("/dev/full")
    if not full.exists():
        pytest.skip("needs /dev/full")

    def run(*words: str) -> Ended:
        with full.open("w", encoding="ascii") as stdout:
            return ended(kokugen, "-m", "kokugen.cli", *words, stdout=stdout.fileno())

    return run


@pytest.fixture
def for_nobody(kokugen: CommandLine) -> Run:
    """Runs `kokugen … | true`, where true has ended already."""

    def run(*words: str) -> Ended:
        read, write = os.pipe()
        os.close(read)
        try:
            return ended(kokugen, "-m", "kokugen.cli", *words, stdout=write)
        finally:
            os.close(write)

    return run


def test_a_task_is_scheduled_and_named_though_stdout_is_closed(kokugen: CommandLine, without_stdout: Run) -> None:
    run = without_stdout("schedule", "remind", *SOON, "--id", "tea")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
    assert run.stderr.startswith("kokugen: scheduled tea, but its line could not be written: ")
    assert [task["id"] for task in kokugen.json("list")] == ["tea"]


def test_a_list_for_a_closed_stdout_is_one_line_of_complaint(
    kokugen: CommandLine, add: Add, without_stdout: Run
) -> None:
    add(id="tea")
    run = without_stdout("list", "--json")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
    assert run.stderr.startswith("kokugen: the output could not be written: ")


def test_a_list_for_nobody_ends_silently(add: Add, for_nobody: Run) -> None:
    add(id="tea")
    run = for_nobody("list", "--json")
    assert (run.returncode, run.stderr) == (141, "")


def test_a_change_whose_reader_has_gone_is_said_on_stderr(add: Add, for_nobody: Run) -> None:
    add(id="tea")
    run = for_nobody("cancel", "tea")
    assert (run.returncode, run.stderr.count("\n")) == (1, 1), run.stderr
    assert run.stderr.startswith("kokugen: 1 task cancelled, but its line could not be written: ")


CHANGES = {
    "schedule": (("schedule", "remind", *SOON, "--id", "new"), "scheduled new"),
    "cancel": (("cancel", "waiting"), "1 task cancelled"),
    "cancel by a filter": (("cancel", "--work", "remind", "--yes"), "1 task cancelled"),
    "reschedule": (("reschedule", "waiting", *SOON), "moved waiting"),
    "revive": (("revive", "ended"), "1 task revived"),
    "prune": (("prune", "--older-than", "0s"), "1 task deleted"),
    "backup": (("backup", "{folder}/copy.db"), "wrote {folder}/copy.db"),
    "copy": (("copy", "{url}", "sqlite:///{folder}/other.db"), "copied"),
}


@pytest.mark.parametrize(("words", "said"), CHANGES.values(), ids=CHANGES.keys())
def test_what_was_changed_is_said_where_its_line_cannot_be_written(
    kokugen: CommandLine, add: Add, scheduler: Scheduler, on_a_full_disk: Run, words: tuple[str, ...], said: str
) -> None:
    add(id="waiting"), add(id="ended")
    scheduler.cancel("ended")
    scheduler.close()
    names = {"folder": str(kokugen.path.parent), "url": kokugen.url}
    run = on_a_full_disk(*(word.format(**names) for word in words))
    assert run.stderr.startswith(f"kokugen: {said.format(**names)}"), run.stderr
    assert run.stderr.endswith(f"but its line could not be written: {FULL}\n"), run.stderr
    assert (run.returncode, run.stderr.count("\n")) == (1, 1)


def test_looking_onto_a_full_disk_changes_nothing_and_fails(add: Add, on_a_full_disk: Run) -> None:
    add(id="tea")
    run = on_a_full_disk("show", "tea")
    assert (run.returncode, run.stderr) == (1, f"kokugen: the output could not be written: {FULL}\n")


@pytest.fixture
def three(monkeypatch: pytest.MonkeyPatch, add: Add) -> None:
    """Three tasks, and batches of one."""
    monkeypatch.setattr(changes, "BATCH", 1)
    for task_id in ("a", "b", "c"):
        add(id=task_id)


def stop_at(monkeypatch: pytest.MonkeyPatch, task_id: str, error: BaseException) -> None:
    """Make cancelling this task raise."""
    cancel = Scheduler.cancel

    def cancel_until(self: Scheduler, *ids: str, **options: object) -> object:
        if task_id in ids:
            raise error
        return cancel(self, *ids, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Scheduler, "cancel", cancel_until)


def test_an_interrupted_change_says_how_many_were_changed_by_then(
    kokugen: CommandLine, three: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, "c", KeyboardInterrupt())
    result = kokugen("cancel", "--work", "remind", "--yes")
    assert result.exit_code == 130
    assert result.stderr.strip() == "kokugen: interrupted: 2 tasks cancelled, and perhaps some of the next 1"
    assert sum(task["state"] == TaskState.CANCELLED.label for task in kokugen.json("list")) == 2


def test_a_change_that_fails_half_way_says_how_many_were_changed_and_is_no_refusal(
    kokugen: CommandLine, three: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    stop_at(monkeypatch, "b", OSError("the disk is gone"))
    result = kokugen("cancel", "--work", "remind", "--yes")
    assert result.exit_code == 1
    assert result.stderr == "kokugen: the disk is gone; before that: 1 task cancelled\n"


def test_json_that_can_be_written_is_as_ever(kokugen: CommandLine, add: Add) -> None:
    add(id="tea")
    assert json.loads(kokugen.done("cancel", "tea", "--json")) == [{"id": "tea", "result": "cancelled"}]
