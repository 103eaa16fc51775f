"""The command `kokugen` as a whole: help, version, speed, its commands found."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import version

import click
import pytest

from kokugen.cli import main
from kokugen.cli.commands import COMMANDS

from .conftest import CommandLine


def test_help_lists_every_command(kokugen: CommandLine) -> None:
    for words in ((), ("--help",), ("-h",)):
        shown = kokugen.done(*words)
        assert all(f"\n  {name} " in shown for name in COMMANDS)


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_explains_itself_in_the_words_of_the_list(kokugen: CommandLine, name: str) -> None:
    command = main.get_command(click.Context(main), name)
    assert command is not None
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name][1]
    assert f"Usage: kokugen {name} " in kokugen.done(name, "--help")


def test_every_command_that_tells_something_can_tell_it_as_json() -> None:
    def plain(command: click.Command | None) -> list[str]:
        """The commands within this one, or itself, that know no --json."""
        assert command is not None
        if isinstance(command, click.Group):
            within = click.Context(command)
            return [name for one in command.list_commands(within) for name in plain(command.get_command(within, one))]
        return [] if any("--json" in one.opts for one in command.params) else [command.name or ""]

    assert plain(main) == ["worker", "completion"]


def test_the_version_is_the_installed_one(kokugen: CommandLine) -> None:
    assert kokugen.done("--version") == f"kokugen {version('kokugen')}\n"


def test_help_loads_no_store_and_no_engine() -> None:
    """Importing them takes most of the 150 ms that help may take."""
    script = "import sys, kokugen.cli; print(sorted({'apsw', 'asyncio', 'msgspec', 'rich'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert shown.stdout == "[]\n"


def test_the_package_can_be_run_as_a_module() -> None:
    shown = subprocess.run([sys.executable, "-m", "kokugen.cli"], capture_output=True, text=True, check=True)
    assert shown.stdout.startswith("Usage: kokugen ")
