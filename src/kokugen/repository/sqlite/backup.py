"""A copy of a SQLite file as it was at one moment, made while others write. `kokugen.repository.locate` leads here.

It is written under another name beside its place, looked over, and put there only once it is whole and on the disk.
"""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from kokugen.errors import RepositoryError
from kokugen.repository.sqlite.connection import connect, explain, one
from kokugen.repository.sqlite.library import FAULTS, Connection, Library

PART = ".part"


def back_up(library: Library, path: Path, target: Path) -> int:
    """Write a copy, readable by its owner alone, and return its size. Raises RepositoryError; then there is none."""
    part = target.with_name(target.name + PART)
    _refuse_taken(target)
    try:
        _create(part)
        try:
            _copy(library, path, part)
            _settle(part, target)
        finally:
            part.unlink(missing_ok=True)
    except FAULTS as error:
        raise explain(error, path) from error
    except OSError as error:
        raise RepositoryError(f"no backup was made: {error.filename or target}: {error.strerror}") from error
    return target.stat().st_size


def _refuse_taken(target: Path) -> None:
    if os.path.lexists(target):
        raise RepositoryError(f"{target} is there already: name a new file")


def _create(part: Path) -> None:
    with suppress(FileNotFoundError):  # what an earlier backup left that was cut off
        part.unlink()
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))


def _copy(library: Library, path: Path, part: Path) -> None:
    db = connect(library, path)
    try:
        for _ in db.execute("VACUUM INTO ?", (str(part),)):
            pass
    finally:
        db.close()
    _refuse_damaged(library.connect(part), part)


def _refuse_damaged(db: Connection, part: Path) -> None:
    try:
        if one(db, "PRAGMA quick_check(1)") != "ok":
            raise RepositoryError(f"no backup was made: the copy {part} is damaged; look at the disk")
    finally:
        db.close()


def _settle(part: Path, target: Path) -> None:
    """See to it that the copy is on the disk, then give it its name, if nobody else took it meanwhile."""
    _sync(part, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.link(part, target)
    except FileExistsError:
        _refuse_taken(target)
        raise
    if os.name != "nt":
        _sync(target.parent, os.O_RDONLY)


def _sync(path: Path, flags: int) -> None:
    descriptor = os.open(path, flags)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
