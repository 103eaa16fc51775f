"""`kokugen copy FROM TO`: a store into another, with ids, states and history. Calls kokugen.repository.transfer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

import click

from kokugen.cli import console, store, times
from kokugen.cli.progress import progress
from kokugen.clock import to_us
from kokugen.options import check_name
from kokugen.process import is_gone, this_node
from kokugen.repository.locate import discard, mask, open_archive
from kokugen.repository.transfer import Copied, copy, shared_shapes

if TYPE_CHECKING:
    from kokugen.repository.transfer import Archive

SILENT_AFTER = timedelta(days=1)
"""Longer than any node goes without a beat."""


@click.command("copy")
@click.argument("source", metavar="FROM")
@click.argument("target", metavar="TO")
@click.option("--namespace", metavar="NAME", help="Only this part of the store. Without: all of it.")
@click.option("--live", is_flag=True, help="Even while workers run on FROM, or tasks are being run.")
@store.json_option
def copy_command(source: str, target: str, namespace: str | None, live: bool, as_json: bool) -> None:
    """Copy all tasks of the store FROM into the store TO.

    Both are URLs, of any kind. Tasks keep their ids, states, results and history. TO is made if it is not there. If it
    has one of them already, and it is not the same, nothing is copied.
    """
    if namespace is not None:
        check_name("namespace", namespace)
    refuse_same(source, target)
    store.refuse_missing(store.usable(source))
    with archive(source, namespace, write=False) as taken:
        if not live:
            refuse_busy(taken)
        with made_for(target):
            copied = copied_into(target, taken, namespace)
    console.remember(f"copied {console.counted(sum(copied.rows.values()), 'row')}")
    if as_json:
        console.say_json({"from": mask(source), "to": mask(target), "rows": copied.rows, "before": copied.before})
    else:
        say_copied(copied)


def copied_into(target: str, taken: Archive, namespace: str | None) -> Copied:
    """Copy, with a bar, into a store that is made if it is not there. Raises RepositoryError."""
    with store.opened(target, make=True):
        pass
    with archive(target, namespace, write=True) as given:
        total = sum(taken.count(table, shape) for table, shape in shared_shapes(taken, given).items())
        with progress("copy", total) as bar:
            return copy(taken, given, bar.advance)


@contextmanager
def made_for(target: str) -> Iterator[None]:
    """Remove the file of a target that was not there before, if a block that copies into it comes to nothing."""
    path = store.file_of(target)
    new = path is not None and not path.exists()
    try:
        yield
    except BaseException:
        if new:
            discard(target)
        raise


def refuse_same(source: str, target: str) -> None:
    """Refuse to copy a store into itself. Raises UsageError."""
    paths = store.file_of(store.usable(source)), store.file_of(store.usable(target))
    same = source == target
    if paths[0] is not None and paths[1] is not None and paths[0].exists() and paths[1].exists():
        same = paths[0].samefile(paths[1])
    if same:
        raise click.UsageError("FROM and TO are one store: name another one")


def refuse_busy(source: Archive) -> None:
    """Refuse a store whose tasks are run meanwhile: both stores would run them. Raises UsageError."""
    busy = source.busy(to_us(times.now() - SILENT_AFTER))
    here = this_node("", label=None, version="", now_us=to_us(times.now()))
    if working := [node.label for node in busy.nodes if not is_gone(node, here)]:
        named = ", ".join(working[:3]) + (", …" if len(working) > 3 else "")
        raise click.UsageError(
            f"workers run on {source.url} ({named}), or were killed on another machine, and both stores would run its "
            "tasks: stop them, or add --live"
        )
    if busy.running:
        raise click.UsageError(
            f"tasks of {source.url} are being run, or were cut off ({busy.running:,}): start and stop a worker there, "
            "which takes them back, or add --live"
        )


@contextmanager
def archive(url: str, namespace: str | None, *, write: bool) -> Iterator[Archive]:
    """Open an archive for a block."""
    opened = open_archive(url, write=write, namespace=namespace)
    try:
        yield opened
    finally:
        opened.close()


def say_copied(copied: Copied) -> None:
    """Print how many rows of each table that has any there are now, and how many were there before."""
    for table, count in copied.rows.items():
        if not count:
            continue
        before = copied.before[table]
        console.say(f"{count:>12,} {table}" + (f"  ({before:,} of them there before)" if before else ""))
    console.say("each row was read back, and is the same")
