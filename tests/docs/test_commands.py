"""Every `kokugen …` in the documentation is a command that there is, with options that there are."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import click
import pytest

from kokugen.cli.commands import COMMANDS, main
from tests.docs.markdown import PAGES, ROOT, blocks, prose
from tests.docs.session import commands

CLI = ROOT / "docs" / "reference" / "cli.md"
_INLINE = re.compile(r"`(kokugen [^`]+)`")
_ABBREVIATED = {"…", "ID", "[ARGUMENTS]"}


def typed(page: Path) -> Iterator[str]:
    """The command lines of a page that begin with kokugen: in its blocks, and in its prose."""
    for block in blocks(page):
        if block.kind == "console":
            yield from (line for line, _ in commands(block) if line.startswith("kokugen "))
        if block.kind == "ini":
            yield from (found[1] for found in re.finditer(r"^ExecStart=\S*/(kokugen .+)$", block.code, re.MULTILINE))
    for line in prose(page):
        yield from _INLINE.findall(line)


def words_of(line: str) -> list[str]:
    """The words behind `kokugen`, without what belongs to the shell."""
    words = shlex.split(line.removesuffix("&").partition(" > ")[0])[1:]
    return [word for word in words if word not in _ABBREVIATED]


EVERY_LINE = sorted({line for page in PAGES for line in typed(page)})


def all_commands(group: click.Group, before: str = "") -> Iterator[tuple[str, click.Command]]:
    """Every command with the words that call it, those inside of others too."""
    context = click.Context(group)
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        yield f"{before}{name}", command
        if isinstance(command, click.Group):
            yield from all_commands(command, f"{before}{name} ")


EVERY_COMMAND = dict(all_commands(main))


def parse(words: list[str], group: click.Group = main) -> None:
    """Parse a command line with the command's own parser, and run nothing. Raises UsageError.

    An argument may be left out, as prose does (`kokugen show`).
    """
    if not words or words[0] in {"--help", "--version"}:
        return
    command = group.get_command(click.Context(group), words[0])
    if command is None:
        raise click.UsageError(f"there is no command {words[0]!r}")
    if isinstance(command, click.Group):
        parse(words[1:], command)
        return
    with suppress(click.MissingParameter):
        command.make_context(words[0], [word for word in words[1:] if word != "--help"])


def test_there_are_command_lines_to_look_at() -> None:
    assert len(EVERY_LINE) > 50
    assert {words_of(line)[0] for line in EVERY_LINE if words_of(line)} >= COMMANDS.keys()


@pytest.mark.parametrize("line", EVERY_LINE)
def test_a_command_line_of_the_documentation_parses(line: str) -> None:
    parse(words_of(line))


@pytest.mark.parametrize(
    "words",
    [
        ["lsit"],
        ["import", "cron"],
        ["import", "celery", "--zone"],
        ["list", "--stat", "Done"],
        ["schedule", "w", "--priority", "utmost"],
    ],
)
def test_a_command_line_that_is_wrong_does_not_parse(words: list[str]) -> None:
    with pytest.raises(click.UsageError):
        parse(words)


@pytest.mark.parametrize("name", EVERY_COMMAND)
def test_the_reference_shows_the_help_of_every_command(name: str) -> None:
    """`test_a_page_does_what_it_says` compares what it shows with what the command says."""
    shown = [line for block in blocks(CLI) for line, _ in commands(block)]
    assert f"kokugen {name} --help" in shown


@pytest.mark.parametrize(("name", "command"), EVERY_COMMAND.items(), ids=EVERY_COMMAND)
def test_the_reference_names_every_option(name: str, command: click.Command) -> None:
    heading = f"\n### kokugen {name}\n" if " " in name else f"\n## kokugen {name}\n"
    text = CLI.read_text(encoding="utf-8").partition(heading)[2].partition("\n## ")[0].partition("\n### ")[0]
    flags = [flag for parameter in command.params for flag in (*parameter.opts, *parameter.secondary_opts)]
    assert text, "it has a part of its own"
    assert [flag for flag in flags if flag.startswith("--") and flag not in text] == []
