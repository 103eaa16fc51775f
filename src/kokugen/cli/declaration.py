"""The file with the code that allows imported commands: checked before anything is done, written, and told of.

`kokugen.cli.takeover` calls it for `kokugen import crontab --declare FILE`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from kokugen.cli import console

if TYPE_CHECKING:
    from kokugen.importers.found import Reading


def check_target(path: Path) -> None:
    """Raise UsageError where a file is there that this command did not write."""
    from kokugen.importers.allowance import MARK

    try:
        if path.exists() and not path.read_text(encoding="utf-8", errors="replace").startswith(MARK):
            raise click.UsageError(f"--declare {path}: there is another file: name a new one")
        if not path.parent.is_dir():
            raise click.UsageError(f"--declare {path}: there is no folder {path.parent}")
    except OSError as error:
        raise click.UsageError(f"--declare {path} cannot be read: {error.strerror}") from None


def write(reading: Reading, declare: str | None) -> None:
    """Write the code to the file that was named, in one go."""
    if declare is None or declare == "-" or reading.declaration is None:
        return
    path = Path(declare)
    part = path.with_name(f"{path.name}.part")
    try:
        part.write_text(reading.declaration, encoding="utf-8")
        part.replace(path)
    except OSError as error:
        raise click.UsageError(f"--declare {path} cannot be written: {error.strerror}") from None


def say(reading: Reading, declare: str | None, dry_run: bool) -> None:
    """Say where the code is, or how to have it."""
    if reading.declaration is None:
        return
    if declare == "-":
        console.say()
        console.say(reading.declaration.rstrip("\n"))
    elif declare is None:
        console.say("no worker runs these commands before its code allows them: --declare commands.py writes it")
    elif not dry_run:
        console.say(f"{declare} allows these commands: look it over before a worker runs it")
