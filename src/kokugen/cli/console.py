"""What goes to a person: escaped text, one-line complaints, tables, JSON. Called by every command."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from typing import Any

import click

CELL_MAX = 60


def escaped(text: str) -> str:
    """Return the text with everything that could steer a terminal, or break a line, as an escape."""
    if text.isprintable():
        return text
    return "".join(char if char.isprintable() else char.encode("unicode_escape").decode() for char in text)


def complain(reason: str, code: int) -> int:
    """Say on stderr, in one line, why nothing was done; return the exit code."""
    line = escaped(" ".join(reason.split()))
    click.echo(f"kokugen: {line}", err=True)
    return code


def say(text: str = "") -> None:
    """Print lines of text that may hold stored text."""
    for line in text.split("\n"):
        click.echo(fitting(escaped(line)))


def fitting(line: str) -> str:
    """Return the line as stdout's encoding can carry it."""
    encoding = sys.stdout.encoding or "utf-8"
    return line.encode(encoding, "backslashreplace").decode(encoding)


def counted(number: int, noun: str) -> str:
    """Return a number with its noun: `1 task`, `2,000 tasks`."""
    return f"{number:,} {noun}" + ("" if number == 1 else "s")


def say_json(value: Any) -> None:
    """Print one value as JSON, in ASCII so that no terminal and no pipe can spoil it."""
    click.echo(json.dumps(value, indent=2))


def say_json_list(values: Iterable[Any]) -> None:
    """Print a JSON array, an element a line, as the elements come."""
    click.echo("[", nl=False)
    for index, value in enumerate(values):
        click.echo(",\n " if index else "", nl=False)
        click.echo(json.dumps(value), nl=False)
    click.echo("]")


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
