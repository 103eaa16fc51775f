"""The checkup of a SQLite file: which SQLite opens it, how it is written, whether it is whole, and who may read it."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

from kokugen.clock import SystemClock
from kokugen.errors import InvalidEntryError, RepositoryError
from kokugen.repository.checkup import (
    Checkup,
    Finding,
    Level,
    Patience,
    index_finding,
    ok,
    places_finding,
    problem,
    schema_finding,
    warning,
)
from kokugen.repository.sqlite.connection import check_place, connect, explain, file_system, one, schema_version
from kokugen.repository.sqlite.library import FAULTS, WAL_SINCE, Connection, Library
from kokugen.repository.sqlite.reading import nodes
from kokugen.task import AT, NodeInfo

FREE_MIN, FREE_LAST = 200 * 1024 * 1024, 16 * 1024 * 1024
WAL_MAX = 256 * 1024 * 1024
BESIDE = ("", "-wal", "-shm", "-journal")
SHOWN = 3
WRONG: tuple[type[Exception], ...] = (*FAULTS, RepositoryError)
UNREADABLE: tuple[type[Exception], ...] = (*FAULTS, msgspec.MsgspecError)
RESTORE = "stop what uses it, and restore it from a backup"


def checkup(library: Library, path: Path, patience: Patience) -> Checkup:
    """Look a file over, and change nothing that is stored in it."""
    findings = [_version(library), *_place(path)]
    try:
        check_place(path)
        before = _journal(library, path)
        db = connect(library, path)
    except WRONG as error:
        return Checkup([*findings, problem("store", str(_told(error, path)), "")])
    try:
        findings += [_tried(name, check, path) for name, check in _checks(library, path, db, before, patience)]
        found = _nodes(db)
    finally:
        db.close()
    return Checkup(findings, found)


def hindrances(library: Library, path: Path) -> list[str]:
    """Return what keeps tasks from being written into a file, in words; nothing, where they can be."""
    db = connect(library, path)
    try:
        found = [_tried("disk", lambda: _space(path), path), _tried("writing", lambda: _writing(path, db), path)]
    finally:
        db.close()
    return [one.said for one in found if one.level is Level.PROBLEM]


def _checks(
    library: Library, path: Path, db: Connection, before: str, patience: Patience
) -> Iterator[tuple[str, Callable[[], Finding]]]:
    yield "schema", lambda: schema_finding(__package__, schema_version(db))
    yield "writing", lambda: _writing(path, db)
    yield "journal", lambda: _journaling(library, before)
    yield "durability", lambda: _durability(db)
    yield "oldest snapshot", lambda: _snapshot(path)
    yield "places", lambda: _places(db)
    yield "indexes", lambda: index_finding(__package__, schema_version(db), _indexes(db), set())
    yield "integrity", lambda: _integrity(db, patience)


def _tried(name: str, check: Callable[[], Finding], path: Path) -> Finding:
    try:
        return check()
    except WRONG as error:
        return problem(name, str(_told(error, path)), "")


def _told(error: Exception, path: Path) -> RepositoryError | InvalidEntryError:
    return error if isinstance(error, RepositoryError) else explain(error, path)


def _nodes(db: Connection) -> list[NodeInfo]:
    try:
        return nodes(db)
    except UNREADABLE:
        return []


def _places(db: Connection) -> Finding:
    now_us = SystemClock().wall_us()
    sql = (
        "SELECT queue, count(*), min(due_at) FROM task WHERE state = 0 AND hold IS NULL AND due_at < ?"
        " AND instr(queue, ?) GROUP BY queue"
    )
    return places_finding([(str(row[0]), int(row[1]), int(row[2])) for row in db.execute(sql, (now_us, AT))], now_us)


# -- The library


def _version(library: Library) -> Finding:
    version = ".".join(map(str, library.version))
    if library.version < WAL_SINCE:
        gate = ".".join(map(str, WAL_SINCE))
        return ok("sqlite", f"{version}: older than {gate}, so that its older journal is used, which is slower")
    return ok("sqlite", version)


def _journal(library: Library, path: Path) -> str:
    """Return the journal mode of the file as others left it."""
    db = library.connect(path, read_only=True)
    try:
        return str(one(db, "PRAGMA journal_mode"))
    finally:
        db.close()


def _journaling(library: Library, before: str) -> Finding:
    if library.version < WAL_SINCE and before == "wal":
        return problem(
            "journal",
            "WAL, which this SQLite may damage when several connections write",
            "use sqlite:/// for every process on this file, or sqlite+sqlite3:/// for every one",
        )
    return ok("journal", "write-ahead log" if before == "wal" else "rollback journal")


def _durability(db: Connection) -> Finding:
    level = one(db, "PRAGMA synchronous")
    if level < 2:
        return problem("durability", f"synchronous={level}", "report this: kokugen sets it to FULL")
    return ok("durability", "synchronous=FULL, set by each process for itself")


# -- The file


def _place(path: Path) -> Iterator[Finding]:
    try:
        yield _permissions(path)
        yield _space(path)
        yield ok("file system", file_system(path.parent.resolve()) or "unknown")
    except OSError as error:
        yield problem("file", f"{error.filename}: {error.strerror}", "give this user the right to look at it")


def _permissions(path: Path) -> Finding:
    """Return who may read and write the file and those beside it, where permissions are bits."""
    if os.name == "nt":
        return ok("permissions", "as the folder's: see its properties")
    files = [path.with_name(path.name + end) for end in BESIDE]
    modes = {file: stat.S_IMODE(file.stat().st_mode) for file in files if file.exists()}
    owner = path.stat().st_uid
    open_to = [file for file, mode in modes.items() if mode & 0o007]
    shared = [file for file, mode in modes.items() if mode & 0o070]
    if open_to:
        told = ", ".join(f"{file.name} has mode {modes[file]:04o}" for file in open_to)
        return problem("permissions", f"{told}: every user of this machine may read the tasks", _chmod(open_to))
    if shared:
        told = ", ".join(f"{file.name} has mode {modes[file]:04o}" for file in shared)
        return warning(
            "permissions", f"{told}: its group may read the tasks", f"if that is not wanted, {_chmod(shared)}"
        )
    if owner != os.geteuid():
        return warning(
            "permissions", f"{path.name} belongs to user {owner}, not to you", "run kokugen as one user on a file"
        )
    return ok("permissions", f"{path.name} has mode {modes[path]:04o}")


def _chmod(files: list[Path]) -> str:
    return "chmod 600 " + " ".join(map(str, files))


def _space(path: Path) -> Finding:
    """Return whether there is room, at least for the log to be folded in."""
    free = shutil.disk_usage(path.parent).free
    said, advice = f"{free / 1e9:,.1f} GB free", "free some space: a full disk stops all work"
    if free < max(FREE_LAST, _log_size(path)):
        return problem("disk", f"the disk is full, or nearly: {free / 1e6:,.1f} MB free", advice)
    return ok("disk", said) if free >= FREE_MIN else warning("disk", said, advice)


def _writing(path: Path, db: Connection) -> Finding:
    """Return whether tasks can be written, by a statement that takes the lock to write and writes nothing."""
    advice = "give this user the right to write the file and its directory, on a file system that may be written"
    for place in (path, path.parent):
        if not os.access(place, os.W_OK):
            return problem("writing", f"{place} may not be written", advice)
    db.execute("DELETE FROM meta WHERE false")
    return ok("writing", "the file and its directory may be written")


def _log_size(path: Path) -> int:
    log = path.with_name(path.name + "-wal")
    return log.stat().st_size if log.exists() else 0


def _snapshot(path: Path) -> Finding:
    """Return whether the write-ahead log grows, because a reader keeps it from being folded in."""
    size = _log_size(path)
    if size > WAL_MAX:
        return warning(
            "oldest snapshot",
            f"{path.name}-wal has {size / 1e6:,.0f} MB: a reader may hold an old snapshot open",
            "end readings that take long, such as an open transaction in another program",
        )
    return ok("oldest snapshot", f"{size / 1e6:,.1f} MB of log")


# -- What is in it


def _indexes(db: Connection) -> set[str]:
    sql = "SELECT json_group_array(name) FROM sqlite_schema WHERE type = 'index'"
    return set(msgspec.json.decode(one(db, sql)))


def _integrity(db: Connection, patience: Patience) -> Finding:
    pragma = "quick_check" if patience.quick else "integrity_check"
    lines = [str(line) for (line,) in db.execute(f"PRAGMA {pragma}(100)")]
    if lines == ["ok"]:
        return ok("integrity", f"{pragma} finds nothing")
    more = f", and {len(lines) - SHOWN} more" if len(lines) > SHOWN else ""
    return problem("integrity", "; ".join(" ".join(line.split()) for line in lines[:SHOWN]) + more, RESTORE)
