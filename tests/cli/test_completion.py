"""Tab completes commands, options, and what stands in the store: in a real shell."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from kokugen.cli.commands import COMMANDS

from .conftest import Add, CommandLine

BASH = shutil.which("bash")
TAB = """
eval "$(kokugen completion bash)"
COMP_WORDS=("$@")
COMP_CWORD=$(($# - 1))
_kokugen_completion kokugen
printf '%s\\n' "${COMPREPLY[@]}"
"""


@pytest.fixture
def path(tmp_path: Path) -> str:
    """A PATH on which `kokugen` is the one that is tested."""
    script = tmp_path / "bin" / "kokugen"
    script.parent.mkdir()
    script.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m kokugen.cli "$@"\n', encoding="utf-8")
    script.chmod(0o755)
    return f"{script.parent}{os.pathsep}{os.environ['PATH']}"


def tab(kokugen: CommandLine, path: str, *words: str, **variables: str) -> list[str]:
    """What bash offers once Tab is pressed behind these words."""
    assert BASH is not None
    environment = {**os.environ, "PATH": path, "KOKUGEN_URL": kokugen.url, **variables}
    command = [BASH, "--norc", "-c", TAB, "bash", "kokugen", *words]
    result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120, check=True)
    assert result.stderr == ""
    return result.stdout.split()


@pytest.mark.skipif(BASH is None, reason="install bash")
class TestBash:
    def test_it_completes_commands(self, kokugen: CommandLine, path: str) -> None:
        assert set(tab(kokugen, path, "")) == set(COMMANDS)
        assert tab(kokugen, path, "resch") == ["reschedule"]

    def test_it_completes_options(self, kokugen: CommandLine, path: str) -> None:
        assert tab(kokugen, path, "schedule", "remind", "--retry-a") == ["--retry-attempts"]
        assert tab(kokugen, path, "schedule", "remind", "--priority", "u") == ["urgent"]
        assert tab(kokugen, path, "list", "--state", "wo") == ["Working"]

    def test_it_completes_what_stands_in_the_store(self, kokugen: CommandLine, path: str, add: Add) -> None:
        add(id="tea-1", tags=("xmas",), queue="mail")
        add(id="tea-2", work_id="brew")
        assert tab(kokugen, path, "show", "tea") == ["tea-1", "tea-2"]
        assert tab(kokugen, path, "cancel", "tea-1", "tea-2") == ["tea-2"]
        assert tab(kokugen, path, "list", "--work", "b") == ["brew"]
        assert tab(kokugen, path, "list", "--tag", "") == ["xmas"]
        assert tab(kokugen, path, "list", "--queue", "m") == ["mail"]

    def test_it_completes_the_names_of_schedules(self, kokugen: CommandLine, path: str) -> None:
        for name in ("report-tokyo", "report-osaka", "tidy"):
            kokugen.done("every", "@daily", "report", "--name", name)
        for command in ("pause", "remove", "edit", "ledger", "calendar"):
            assert tab(kokugen, path, command, "report-") == ["report-osaka", "report-tokyo"]

    def test_it_completes_in_the_namespace_that_is_named(self, kokugen: CommandLine, path: str, add: Add) -> None:
        add(id="here")
        kokugen.done("schedule", "remind", "--in", "5m", "--id", "there", "--namespace", "shop")
        assert tab(kokugen, path, "show", "--namespace", "shop", "") == ["there"]
        assert tab(kokugen, path, "show", "", KOKUGEN_NAMESPACE="shop") == ["there"]

    @pytest.mark.parametrize(
        "url", ["", "sqlite:///no-such.db", "memory://", "nonsense", "postgresql://nobody@/x?host=/"]
    )
    def test_a_store_that_is_not_there_offers_nothing(self, kokugen: CommandLine, path: str, url: str) -> None:
        assert tab(kokugen, path, "show", "", KOKUGEN_URL=url) == []
        assert not Path("no-such.db").exists()


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_the_script_is_for_the_shell_that_was_named(kokugen: CommandLine, shell: str) -> None:
    script = kokugen.done("completion", shell)
    assert f"_KOKUGEN_COMPLETE={shell}_complete" in script
    program = shutil.which(shell)
    if program is not None:
        subprocess.run([program, "-n"], input=script, text=True, check=True, timeout=60)


def test_an_unknown_shell_is_refused(kokugen: CommandLine) -> None:
    assert "'bash', 'zsh', 'fish'" in kokugen.refused("completion", "csh")
