"""A copy of a SQLite file as it was at one moment, made while others write. `kokugen.repository.locate` leads here.

It is written under a name of its own beside its place, looked over, and put there only once
it is whole and on the disk.
"""

from __future__ import annotations

import os
from pathlib import Path
from tempfile import mkstemp

from kokugen.errors import RepositoryError
from kokugen.repository.sqlite.connection import connect, explain, file_identity, one, schema_version
from kokugen.repository.sqlite.library import FAULTS, Connection, Library

PART = ".part"


def back_up(library: Library, path: Path, target: Path) -> int:
    """Write a copy, readable by its owner alone, and return its size. Raises RepositoryError; then there is none."""
    _refuse_place(target)
    try:
        part = _create(target)
        try:
            _copy(library, path, part)
            _settle(part, target)
        finally:
            part.unlink(missing_ok=True)
        return target.stat().st_size
    except FAULTS as error:
        raise explain(error, path) from error
    except OSError as error:
        raise RepositoryError(f"no backup was made: {target}: {error.strerror}") from error


def _refuse_place(target: Path) -> None:
    _refuse_taken(target)
    if not target.parent.is_dir():
        raise RepositoryError(f"{target} cannot be made: there is no directory {target.parent}; make it first")


def _refuse_taken(target: Path) -> None:
    if os.path.lexists(target):
        raise RepositoryError(f"{target} is there already: name a new file")


def _create(target: Path) -> Path:
    """Make an empty file that no other backup knows of, with mode 0600."""
    descriptor, name = mkstemp(prefix=f"{target.name}.", suffix=PART, dir=target.parent)
    os.close(descriptor)
    return Path(name)


def _copy(library: Library, path: Path, part: Path) -> None:
    made = file_identity(part)
    db = connect(library, path)
    try:
        for _ in db.execute("VACUUM INTO ?", (str(part),)):
            pass
        version = schema_version(db)
    finally:
        db.close()
    if file_identity(part) != made:
        raise RepositoryError(f"no backup was made: somebody removed or replaced {part} meanwhile")
    _refuse_damaged(library.connect(part, read_only=True), version, part)


def _refuse_damaged(db: Connection, version: int, part: Path) -> None:
    """Refuse a copy that is not whole; an empty file is none either, and SQLite would call it whole."""
    try:
        found = schema_version(db)
        if not 0 < found <= version or one(db, "PRAGMA quick_check(1)") != "ok":
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
