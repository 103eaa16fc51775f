"""Long work shows a bar where somebody looks: on a terminal, and never in what is piped."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from contextlib import suppress

import pytest

from .conftest import Add, CommandLine

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="pseudo-terminals are of POSIX")

WITH_RICH = "from kokugen.cli import main; main()"
WITHOUT = f"import sys; sys.modules['rich'] = None; {WITH_RICH}"
LONG_WORK = {
    "cancel": ("cancel", "--work", "remind", "--yes"),
    "revive": ("revive", "--state", "Cancelled", "--yes"),
    "prune": ("prune", "--older-than", "0s"),
}
EACH = pytest.mark.parametrize("label", LONG_WORK)


@pytest.fixture
def store(kokugen: CommandLine, add: Add, label: str) -> CommandLine:
    """A store with three tasks that the command is about: waiting for `cancel`, ended for the others."""
    for name in ("a", "b", "c"):
        add(id=name)
    if label != "cancel":
        kokugen.done("cancel", "a", "b", "c")
    return kokugen


def on_terminal(kokugen: CommandLine, script: str, *words: str) -> tuple[str, str]:
    """Run a command whose stderr alone is a terminal, and return what it printed to stdout, and to the terminal."""
    ours, theirs = os.openpty()
    variables = {**os.environ, "KOKUGEN_URL": kokugen.url, "TERM": "xterm", "COLUMNS": "80"}
    command = [sys.executable, "-c", script, *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs, env=variables, text=True) as process:
        os.close(theirs)
        drawn = b""
        with suppress(OSError):  # how a pseudo-terminal says that nobody is at its other end any more
            while part := os.read(ours, 65_536):
                drawn += part
        os.close(ours)
        said = process.stdout.read() if process.stdout else ""
    assert process.returncode == 0, drawn
    return said, drawn.decode()


@EACH
def test_a_bar_is_drawn_on_a_terminal_and_what_is_piped_stays_data(store: CommandLine, label: str) -> None:
    said, drawn = on_terminal(store, WITH_RICH, *LONG_WORK[label], "--json")
    assert re.search(rf"{label} .*3/3", drawn), drawn
    assert json.loads(said)


@pytest.mark.parametrize("label", ["prune"])
def test_it_needs_no_rich(store: CommandLine, label: str) -> None:
    said, drawn = on_terminal(store, WITHOUT, *LONG_WORK[label], "--json")
    assert re.search(rf"{label} .*100%", drawn), drawn
    assert json.loads(said)


@EACH
def test_where_nobody_looks_nothing_is_drawn(store: CommandLine, label: str) -> None:
    result = store(*LONG_WORK[label])
    assert (result.exit_code, result.stderr) == (0, "")
