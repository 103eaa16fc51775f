"""Opening the file: safety of the path, settings of the connection, migrations, and errors told in plain words."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib.resources import files
from pathlib import Path
from typing import Any

import msgspec

from kokugen.errors import InvalidEntryError, RepositoryError, RepositoryUnavailableError, SchemaVersionError
from kokugen.repository.sqlite.library import FAULTS, WAL_SINCE, Connection, Library, Values, code_of

CHECKPOINT_PAGES = 4000
NETWORK = {"nfs", "nfs4", "cifs", "smb3", "smbfs", "9p", "fuse.sshfs", "afs", "ceph", "glusterfs"}
ADVICE = {  # by SQLite's primary result code
    5: "another process holds its lock for too long: try again later",
    6: "another connection holds its lock: try again later",
    13: "the disk is full: free some space; nothing that was accepted is lost",
    8: "it is read-only: give this user the right to write the file and its directory",
    10: "the disk reports an error: check the disk and the file system",
    14: "it cannot be opened: check that its directory exists and may be written",
    3: "access is denied: check the rights of the file and its directory",
}
BUSY, DISK_ERROR, CORRUPT, FULL, NOT_A_DATABASE = 5, 10, 11, 13, 26
SWITCH_TRIES = 100
NO_ROOM = 64 * 1024
BESIDE = ("-wal", "-shm", "-journal")


def open_store(library: Library, path: Path, cluster_id: str) -> Connection:
    """Open the file with its schema, which is made where it is new; if that fails, a new file is removed again.

    Raises RepositoryError.
    """
    check_place(path)
    made = _create(path)
    try:
        db = connect(library, path)
        try:
            migrate(db, path, cluster_id)
        except BaseException:
            db.close()
            raise
    except BaseException:
        if made:
            discard(library, path, lambda db: schema_version(db) == 0)
        raise
    return db


def discard(library: Library, path: Path, empty: Callable[[Connection], bool]) -> None:
    """Remove a file that was made for nothing, if it is empty, under a lock that keeps others from filling it."""
    with suppress(*FAULTS, OSError):
        if not path.exists():
            return
        db = library.connect(path)
        try:
            for setting in ("busy_timeout=0", "locking_mode=EXCLUSIVE"):  # which needs no room on the disk
                for _ in db.execute(f"PRAGMA {setting}"):
                    pass
            db.execute("BEGIN")
            if empty(db):
                for name in (*(path.name + end for end in BESIDE), path.name):
                    path.with_name(name).unlink(missing_ok=True)
        finally:
            db.close()


def holds_nothing(db: Connection) -> bool:
    """Return whether no task is in a store, and nobody ran work on it."""
    return schema_version(db) == 0 or not one(db, "SELECT EXISTS (SELECT 1 FROM task) OR EXISTS (SELECT 1 FROM node)")


def connect(library: Library, path: Path) -> Connection:
    """Open the file, made with mode 0600 where it is new, with full durability. Raises RepositoryError."""
    check_place(path)
    _create(path)
    db = library.connect(path)
    try:
        db.execute("PRAGMA trusted_schema=OFF")
        _refuse_foreign(db, path)
        if library.version >= WAL_SINCE:
            _write_ahead(db)
            db.execute(f"PRAGMA wal_autocheckpoint={CHECKPOINT_PAGES}")
        else:
            db.execute("PRAGMA journal_mode=TRUNCATE")
        db.execute("PRAGMA synchronous=FULL")
    except BaseException:
        db.close()
        raise
    return db


def _write_ahead(db: Connection) -> None:
    """Have the file keep a write-ahead log. Of many who would switch a new file at once, one does.

    SQLite refuses the others at once, whatever the busy timeout; to begin a transaction, it does wait.
    """
    for _ in range(SWITCH_TRIES - 1):
        try:
            db.execute("PRAGMA journal_mode=WAL")
            return
        except FAULTS as error:
            if code_of(error) != BUSY:
                raise
        db.execute("BEGIN IMMEDIATE")
        db.execute("COMMIT")
    db.execute("PRAGMA journal_mode=WAL")


def file_identity(path: Path) -> tuple[int, int] | None:
    """Return what tells the file at this path from any other; None where there is none."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_dev, found.st_ino


def check_unmoved(path: Path, identity: tuple[int, int] | None) -> None:
    """Refuse to go on with an open file that is no longer the one at its path: what it is told would be lost.

    Raises RepositoryUnavailableError.
    """
    if file_identity(path) != identity:
        raise RepositoryUnavailableError(
            f"the store {path} was moved, deleted or replaced while it was open: put it back, or restart what uses it"
        )


def explain(error: Exception, path: Path) -> RepositoryError | InvalidEntryError:
    """Return what SQLite said, or a text that is none, as an error of ours, with what to do."""
    if isinstance(error, UnicodeError):
        return InvalidEntryError(f"the store {path} cannot hold a value that it was given: {error}")
    code = code_of(error)
    if code == DISK_ERROR and _no_room(path):
        code = FULL
    if code in ADVICE:
        return RepositoryUnavailableError(f"the store {path} cannot be used just now, {ADVICE[code]} ({error})")
    if code == NOT_A_DATABASE:
        return RepositoryError(f"{path} is not an SQLite database: name another file, or move this one away")
    if code == CORRUPT:
        return RepositoryError(f"the store {path} is damaged ({error}): restore it from a backup")
    return RepositoryError(f"the store {path} refused: {error}")


def _no_room(path: Path) -> bool:
    """Return whether a disk error is one because the disk is full, as where SQLite cannot make its shared memory."""
    try:
        return shutil.disk_usage(path.parent).free < NO_ROOM
    except OSError:
        return False


def migrate(db: Connection, path: Path, cluster_id: str) -> int:
    """Bring the schema up to date, once, whoever comes first, and return its version. Raises SchemaVersionError."""
    newest = newest_version()
    if schema_version(db) < newest:
        _upgrade(db, _scripts(), newest, cluster_id)
    version = schema_version(db)
    if version > newest and _fact(db, "min_compatible") > newest:
        raise SchemaVersionError(f"{path} has schema {version}; this kokugen knows {newest}: use a newer kokugen")
    return version


def newest_version() -> int:
    """Return the version that this kokugen makes."""
    return int(_scripts()[-1][:3])


def _scripts() -> list[str]:
    return sorted(one.name for one in files(__package__).joinpath("sql").iterdir() if one.name.endswith(".sql"))


def _upgrade(db: Connection, scripts: Sequence[str], newest: int, cluster_id: str) -> None:
    """Run the scripts that were not run yet; meanwhile a newer kokugen may have gone further, and that stays."""
    db.execute("BEGIN IMMEDIATE")
    try:
        version = schema_version(db)
        for name in scripts:
            if int(name[:3]) > version:
                db.execute(files(__package__).joinpath("sql", name).read_text(encoding="utf-8"))
        facts = {"schema_version": str(max(version, newest)), "min_compatible": "1", "cluster_id": cluster_id}
        db.execute(
            "INSERT INTO meta SELECT key, value FROM json_each(?) WHERE true"
            " ON CONFLICT (key) DO UPDATE SET value = excluded.value WHERE key = 'schema_version'"
            " OR (key = 'min_compatible' AND CAST(value AS INTEGER) < CAST(excluded.value AS INTEGER))",
            (msgspec.json.encode(facts).decode(),),
        )
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:  # SQLite rolls back by itself where the disk is full
            db.execute("ROLLBACK")
        raise


def stored_version(library: Library, path: Path) -> int | None:
    """Return the schema version of a file as it is, and change nothing; None where there is no store yet."""
    if not path.exists():
        return None
    check_place(path)
    try:
        logged = path.with_name(f"{path.name}-wal").exists()
        db = library.connect(path, read_only=logged)  # one that only reads leaves the files behind that it needs for it
        try:
            _refuse_foreign(db, path)
            return schema_version(db) or None
        finally:
            db.close()
    except FAULTS as error:
        raise explain(error, path) from error


def one(db: Connection, sql: str, values: Values = ()) -> Any:
    """Return the one value of the one row that a statement answers with."""
    for row in db.execute(sql, values):
        return row[0]
    return None


def _refuse_foreign(db: Connection, path: Path) -> None:
    """Leave the database of another application alone, before any setting of ours is written into it."""
    tables = set(msgspec.json.decode(one(db, "SELECT json_group_array(name) FROM sqlite_schema WHERE type = 'table'")))
    if tables and not tables >= {"meta", "task", "task_param"}:
        raise RepositoryError(f"{path} is the database of another application: name another file")


def schema_version(db: Connection) -> int:
    """Return the version of the schema as it is; nought where there is none."""
    if not one(db, "SELECT count(*) FROM sqlite_schema WHERE name = 'meta'"):
        return 0
    return _fact(db, "schema_version")


def _fact(db: Connection, key: str) -> int:
    return int(one(db, "SELECT value FROM meta WHERE key = ?", (key,)) or 0)


def check_place(path: Path) -> None:
    """Refuse a path at which no store may be, before anything opens it. Raises RepositoryError."""
    try:
        _check_file(path)
    except OSError as error:
        raise RepositoryError(f"the store {path} cannot be looked at: {error.strerror}") from error


def _check_file(path: Path) -> None:
    if not _is_name(str(path)):
        raise RepositoryError(
            f"{str(path)!a} can be no file of SQLite's: a path is UTF-8 without NUL; name another file"
        )
    if path.is_symlink():
        raise RepositoryError(f"{path} is a symbolic link, which a store may not be: name the file itself")
    if path.is_dir():
        raise RepositoryError(f"{path} is a directory: name a file in it")
    if path.exists() and not path.is_file():  # to open a pipe would wait for whoever writes into it
        raise RepositoryError(f"{path} is no regular file: name another file")
    parent = path.parent
    if not parent.is_dir():
        raise RepositoryError(f"{path} cannot be made: there is no directory {parent}; make it first")
    mode = parent.stat().st_mode
    if mode & stat.S_IWOTH and not mode & stat.S_ISVTX:
        raise RepositoryError(f"{parent} may be written by everyone: take that right away, or use another directory")
    if (kind := file_system(parent.resolve())) in NETWORK:
        raise RepositoryError(f"{path} is on a network file system ({kind}), where locks fail: use a local disk")


def _is_name(path: str) -> bool:
    try:
        return b"\0" not in path.encode()
    except UnicodeEncodeError:
        return False


def _create(path: Path) -> bool:
    """Make the file, for its owner alone, and return whether it was not there."""
    try:
        os.close(os.open(path, os.O_CREAT | os.O_EXCL | os.O_RDWR, 0o600))
    except FileExistsError:
        _close_off(path)
        return False
    except OSError as error:
        raise RepositoryError(f"{path} cannot be made: {error.strerror}") from error
    return True


def _close_off(path: Path) -> None:
    """Take everyone else's rights on a file away in which there is nothing yet, as one that is made has none."""
    found = path.lstat()  # it is never opened here: to close it would let go of this process's locks on it
    if os.name == "nt" or found.st_size or not stat.S_ISREG(found.st_mode) or not found.st_mode & 0o077:
        return
    try:
        path.chmod(0o600)
    except OSError as error:
        raise RepositoryError(
            f"{path} is empty, others may read it, and that cannot be changed ({error.strerror}): name another file"
        ) from error


def file_system(directory: Path) -> str:
    """Return the kind of file system a directory is on, as the kernel names it; empty where it does not tell."""
    try:
        mounts = Path("/proc/self/mounts").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return ""
    best, kind = "", ""
    for fields in (line.split() for line in mounts):
        place = fields[1].replace("\\040", " ")
        if directory.is_relative_to(place) and len(place) >= len(best):
            best, kind = place, fields[2]
    return kind
