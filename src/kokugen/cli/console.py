"""What goes to a person: escaped text, one-line complaints, tables, JSON. Called by every command."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from contextvars import ContextVar
from typing import Any

import click

CELL_MAX = 60
WORD_MAX = 250
_DEED: ContextVar[str | None] = ContextVar("kokugen.cli.deed", default=None)


class OutputError(Exception):
    """What was to be printed could not be written: whoever read it has gone, the disk is full."""

    def __init__(self, error: OSError) -> None:
        super().__init__(error.strerror or str(error))
        self.closed = isinstance(error, BrokenPipeError)


def remember(deed: str | None) -> None:
    """Keep what the command has done to the store, to be said on stderr should it not come to its end."""
    _DEED.set(deed)


def deed() -> str | None:
    """Return what the command has done to the store, as far as it told."""
    return _DEED.get()


def open_streams() -> None:
    """Give a process whose stdout or stderr was closed before it began ones that take nothing.

    Their numbers are taken, so that no file of the store gets them. Writing to such a stdout fails, as it should.
    """
    for name, number, flags in (("stdout", 1, os.O_RDONLY), ("stderr", 2, os.O_WRONLY)):
        if getattr(sys, name) is None:
            take_number(number, flags)
            setattr(sys, name, os.fdopen(number, "w", encoding="utf-8", closefd=False))


def take_number(number: int, flags: int) -> None:
    """Point a stream's number at nothing."""
    nowhere = os.open(os.devnull, flags)
    if nowhere != number:
        os.dup2(nowhere, number)
        os.close(nowhere)


def forget_output() -> None:
    """Point stdout at nothing, or Python complains once more when it flushes what could not be written at exit."""
    with suppress(OSError):
        take_number(sys.stdout.fileno(), os.O_WRONLY)


def echo(text: str = "", nl: bool = True) -> None:
    """Print text as it is. Raises OutputError."""
    try:
        click.echo(text, nl=nl)
    except OSError as error:
        raise OutputError(error) from None


def escaped(text: str) -> str:
    """Return the text with everything that could steer a terminal, or break a line, as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def complain(reason: str, code: int) -> int:
    """Say on stderr, in one line, why nothing was done; return the exit code."""
    line = escaped(" ".join(shortened(word) for word in reason.split()))
    click.echo(f"kokugen: {line}", err=True)
    return code


def shortened(word: str) -> str:
    """Return a word, cut where it is longer than any name that is allowed."""
    return word if len(word) <= WORD_MAX else cut(word)


def say(text: str = "") -> None:
    """Print lines of text that may hold stored text."""
    for line in text.split("\n"):
        echo(fitting(escaped(line)))


def say_painted(pieces: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Print a line of pieces of text, each with what `click.style` is told; plain unless to a terminal with colours."""
    shown = ((fitting(escaped(text)), ink) for text, ink in pieces)
    painted = [click.style(text, **ink) if ink else text for text, ink in shown]
    plain = bool(os.environ.get("NO_COLOR")) or os.environ.get("TERM") == "dumb"
    click.echo("".join(painted), color=False if plain else None)


def carries(text: str) -> bool:
    """Return whether stdout's encoding has all these characters."""
    return fitting(text) == text


def fitting(line: str) -> str:
    """Return the line as stdout's encoding can carry it."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 task`, `2,000 tasks`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def say_json(value: Any) -> None:
    """Print one value as JSON, in ASCII so that no terminal and no pipe can spoil it."""
    echo(json.dumps(value, indent=2))


def say_json_list(values: Iterable[Any]) -> None:
    """Print a JSON array, an element a line, as the elements come."""
    echo("[", nl=False)
    for index, value in enumerate(values):
        echo(",\n " if index else "", nl=False)
        echo(json.dumps(value), nl=False)
    echo("]")


def say_table(rows: Sequence[Sequence[str]], head: Sequence[str] | None) -> None:
    """Print columns, each as wide as its longest cell; a cell is cut at 60 characters, but never the first."""
    cells = [[cell if index == 0 else cut(cell) for index, cell in enumerate(map(escaped, row))] for row in rows]
    lines = cells if head is None else [list(head), *cells]
    widths = [max(len(cell) for cell in column) for column in zip(*lines, strict=True)]
    for row in lines:
        say("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())


def cut(text: str) -> str:
    """Return the text, or its beginning and an ellipsis."""
    return text if len(text) <= CELL_MAX else text[: CELL_MAX - 1] + "…"
