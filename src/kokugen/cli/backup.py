"""`kokugen backup FILE`: a copy of a SQLite store, made while workers run. Calls kokugen.repository.locate."""

from __future__ import annotations

from pathlib import Path

import click

from kokugen.cli import console, store
from kokugen.repository.locate import back_up


@click.command("backup")
@click.argument("file", type=click.Path())
@store.json_option
@store.url_option
def backup_command(file: str, url: str | None, as_json: bool) -> None:
    """Copy the SQLite store into the new file FILE, while workers run.

    The copy is of one moment, whole, readable by its owner alone, and a store itself. PostgreSQL has pg_dump for this.
    """
    if store.file_of(store.usable(url)) is None:
        raise click.UsageError("only a store in a file is backed up like this: use pg_dump, or kokugen copy")
    store.refuse_missing(store.usable(url))
    if not file:
        raise click.UsageError("'' names no file: name the new file to write")
    target = Path(file).absolute()
    size = back_up(store.usable(url), target)
    console.remember(f"wrote {target}")
    if as_json:
        console.say_json({"file": str(target), "bytes": size})
    else:
        console.say(f"{target}: {size:,} bytes")
