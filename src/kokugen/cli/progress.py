"""A bar on a terminal for work that takes long, and nothing elsewhere. Called by prune, cancel, revive and the demo.

rich draws it where it is installed, and click where not. It goes to stderr, so that stdout can be piped.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import NamedTuple

import click

from kokugen.cli import console

ERASE_LINE = "\r\x1b[K"


class Bar(NamedTuple):
    """What a block can do with its bar."""

    advance: Callable[[int], object]
    """Moves it by so many."""
    say: Callable[[str], object]
    """Prints a line above it."""


@contextmanager
def progress(label: str, total: int) -> Iterator[Bar]:
    """Show a bar up to `total` while the block runs."""
    if not sys.stderr.isatty():
        yield Bar(lambda _: None, console.say)
        return
    try:
        import rich.progress as drawn
        from rich.console import Console
    except ImportError:
        with click.progressbar(length=total, label=label, file=sys.stderr) as plain:
            yield Bar(plain.update, _say_over)
        return
    columns = (drawn.TextColumn("{task.description}"), drawn.BarColumn(), drawn.MofNCompleteColumn())
    view = drawn.Progress(
        *columns,
        drawn.TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        redirect_stdout=sys.stdout.isatty(),
    )
    with view:
        task = view.add_task(label, total=total)
        yield Bar(lambda count: view.advance(task, count), console.say)


def _say_over(text: str) -> None:
    click.echo(ERASE_LINE, nl=False, err=True)
    console.say(text)
