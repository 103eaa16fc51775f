"""A disk with a cache: what is written can be read at once, and survives a power cut once it was synced.

It lies under SQLite as a VFS of apsw's. The files themselves are its cache; beside them it keeps what would be left of
each. `cut` leaves of what was not synced any part, in any order and torn anywhere, and files whose directory was not
synced may be gone, or there again. It can also fail: every call of some kinds, for as long as it is told.
"""

from __future__ import annotations

import os
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from itertools import count
from pathlib import Path
from random import Random
from typing import Any, cast
from unittest.mock import patch

import apsw

from kokugen.repository.sqlite.library import Apsw, Connection

SECTOR = 512
"""What a disk writes as a whole, if anything."""
KEPT = (0.0, 0.1, 0.5, 0.9, 1.0)
"""How much of what was not synced may be left."""
TORN = 0.2
"""How many of the writes that were not synced are torn."""
JOURNALS = apsw.SQLITE_OPEN_MAIN_JOURNAL | apsw.SQLITE_OPEN_WAL | apsw.SQLITE_OPEN_SUPER_JOURNAL
CACHED = JOURNALS | apsw.SQLITE_OPEN_MAIN_DB
"""The kinds of files that are kept track of; others are gone with the power, and nobody minds."""

FAULTS: Mapping[str, Mapping[str, int]] = {
    "error": {
        "open": apsw.SQLITE_CANTOPEN,
        "read": apsw.SQLITE_IOERR_READ,
        "write": apsw.SQLITE_IOERR_WRITE,
        "sync": apsw.SQLITE_IOERR_FSYNC,
        "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        "delete": apsw.SQLITE_IOERR_DELETE,
    },
    "error of writing": {"write": apsw.SQLITE_IOERR_WRITE},
    "error of syncing": {"sync": apsw.SQLITE_IOERR_FSYNC},
    "full": {"write": apsw.SQLITE_FULL},
    "read-only": {
        "open": apsw.SQLITE_CANTOPEN,
        "write": apsw.SQLITE_IOERR_WRITE,
        "truncate": apsw.SQLITE_IOERR_TRUNCATE,
        "delete": apsw.SQLITE_IOERR_DELETE,
    },
}
"""Which calls fail, and with which code, while the disk has this fault."""

_numbers = count()
Change = tuple[int, bytes] | int
"""Bytes at an offset, or a new length."""


class _Kept:
    """What is on the disk of one file, and the changes that are in the cache alone."""

    def __init__(self, content: bytes, *, linked: bool) -> None:
        self.content = content
        self.linked = linked
        self.cached: list[Change] = []

    def sync(self) -> None:
        self.content = _applied(self.content, self.cached)
        self.cached.clear()


def _applied(content: bytes, changes: Sequence[Change]) -> bytes:
    whole = bytearray(content)
    for change in changes:
        if isinstance(change, int):
            del whole[change:]
            continue
        offset, data = change
        if len(whole) < offset:
            whole.extend(bytes(offset - len(whole)))
        whole[offset : offset + len(data)] = data
    return bytes(whole)


class Disk(apsw.VFS):
    """One disk, on which one folder is. `happened` counts what was done to it."""

    def __init__(self, folder: Path, random: Random) -> None:
        self.name = f"disk-{next(_numbers)}"
        super().__init__(self.name, "")
        self.folder = folder
        self.random = random
        self.happened: Counter[str] = Counter()
        self.fault: str | None = None
        self.left: dict[str, bytes] | None = None
        """The files after the power cut; None before it."""
        self._lock = threading.RLock()
        self._until_cut: int | None = None
        self._kept = {one.name: _Kept(one.read_bytes(), linked=True) for one in folder.iterdir() if one.is_file()}
        self._deleted: dict[str, _Kept] = {}

    def cut_after(self, changes: int) -> None:
        """Have the power go away in the middle of the change with this number from here on, 1 being the next."""
        self._until_cut = changes

    @property
    def off(self) -> bool:
        return self.left is not None

    # -- What SQLite asks of a file system

    def xOpen(self, name: Any, flags: list[int]) -> apsw.VFSFile:
        path = name.filename() if isinstance(name, apsw.URIFilename) else name
        if path is None or not flags[0] & CACHED:
            return apsw.VFSFile("", name, flags)
        with self.call("open"):
            file = DiskFile(self, Path(path).name, name, flags)
            self._known(Path(path).name)
        return file

    def xDelete(self, filename: str, syncdir: bool) -> None:
        with self.call("delete", change=lambda: self._delete(Path(filename).name)):
            super().xDelete(filename, syncdir)
            if syncdir:
                self.sync_folder()

    def excepthook(self, *_: object) -> bool:
        """Say nothing: SQLite is told by a code, and whoever called it by an error."""
        return True

    # -- What is kept

    def _known(self, name: str) -> _Kept:
        return self._kept.setdefault(name, _Kept(b"", linked=False))

    def _delete(self, name: str) -> None:
        if (kept := self._kept.pop(name, None)) is not None and kept.linked:
            self._deleted[name] = kept

    def sync_folder(self) -> None:
        """Have the files that are there be there after a cut, and those that are gone be gone."""
        self._deleted.clear()
        for kept in self._kept.values():
            kept.linked = True

    def cache(self, name: str, change: Change) -> None:
        self.happened["page written"] += name.endswith(".db")
        self._known(name).cached.append(change)

    def sync(self, name: str) -> None:
        self._known(name).sync()

    def _forget(self) -> None:
        """Do as systems do when a sync fails: take pages for written that are not, for good."""
        for kept in self._kept.values():
            kept.cached = [change for change in kept.cached if self.random.random() < 0.5]

    @contextmanager
    def call(self, kind: str, *, change: Callable[[], object] | None = None) -> Iterator[None]:
        """Do one call at a time: it fails if the disk does, and its change may be the one that the cut meets."""
        with self._lock:
            if self.off:
                raise apsw.exception_for(apsw.SQLITE_IOERR)
            if self.fault is not None and kind in FAULTS[self.fault]:
                self.happened[f"{self.fault}: {kind}"] += 1
                if kind == "sync":
                    self._forget()
                raise apsw.exception_for(FAULTS[self.fault][kind])
            if change is not None:
                self._count_down(kind, change)
            yield

    def _count_down(self, kind: str, change: Callable[[], object]) -> None:
        if self._until_cut is not None:
            self._until_cut -= 1
        if kind == "sync" and self._until_cut == 0:
            self.cut(kind)
        change()
        if self._until_cut == 0:
            self.cut(kind)

    # -- The power

    def cut(self, kind: str = "nothing") -> None:
        """Take the power away. Raises what whoever is writing meets then."""
        with self._lock:
            self.happened[f"cut in {kind}"] += 1
            share = self.random.choice(KEPT)
            files = {name: kept for name, kept in self._deleted.items() if self.random.random() < 0.5}
            files |= {name: one for name, one in self._kept.items() if one.linked or self.random.random() < 0.5}
            self.left = {name: self._survived(kept, share) for name, kept in files.items()}
        raise apsw.exception_for(apsw.SQLITE_IOERR)

    def _survived(self, kept: _Kept, share: float) -> bytes:
        """Return a file with a part of what was not synced, in any order."""
        left: list[Change] = []
        for change in kept.cached:
            if not isinstance(change, int) and self.random.random() < TORN:
                left += self._torn(*change)
            elif self.random.random() < share:
                left.append(change)
            else:
                self.happened["change lost"] += 1
        return _applied(kept.content, left)

    def _torn(self, offset: int, data: bytes) -> Iterator[Change]:
        """Yield the sectors of a write that were written; one of them may hold anything."""
        self.happened["write torn"] += 1
        begin = 0
        while begin < len(data):
            end = min(begin + SECTOR - (offset + begin) % SECTOR, len(data))
            fate = self.random.random()
            if fate < 0.1:
                yield offset + begin, self.random.randbytes(end - begin)
            elif fate < 0.6:
                yield offset + begin, data[begin:end]
            begin = end

    def leave(self, folder: Path) -> None:
        """Write what was left into a new folder."""
        assert self.left is not None, "the power is on"
        folder.mkdir(mode=0o700)
        for name, content in self.left.items():
            with os.fdopen(os.open(folder / name, os.O_CREAT | os.O_WRONLY, 0o600), "wb") as file:
                file.write(content)


class DiskFile(apsw.VFSFile):
    """A file of the disk, as one connection has it open."""

    def __init__(self, disk: Disk, short: str, name: Any, flags: list[int]) -> None:
        super().__init__("", name, flags)
        self._disk = disk
        self._short = short
        self._unsynced = bool(flags[0] & JOURNALS and flags[0] & apsw.SQLITE_OPEN_CREATE)

    def xRead(self, amount: int, offset: int) -> bytes:
        with self._disk.call("read"):
            return super().xRead(amount, offset)

    def xWrite(self, data: Any, offset: int) -> None:
        copy = bytes(data)
        with self._disk.call("write", change=lambda: self._disk.cache(self._short, (offset, copy))):
            super().xWrite(data, offset)

    def xTruncate(self, newsize: int) -> None:
        with self._disk.call("truncate", change=lambda: self._disk.cache(self._short, newsize)):
            super().xTruncate(newsize)

    def xSync(self, flags: int) -> None:
        with self._disk.call("sync", change=self._synced):
            pass  # the files are the cache alone: what they need is in `_Kept`

    def _synced(self) -> None:
        """Sync, and the folder with a connection's first sync of a journal, as SQLite's own VFS does."""
        self._disk.sync(self._short)
        if self._unsynced:
            self._disk.sync_folder()
            self._unsynced = False

    def excepthook(self, *_: object) -> bool:
        return True


@contextmanager
def quiet() -> Iterator[None]:
    """Say nothing of the second error in one statement, which apsw has nobody to tell of."""

    tell = sys.unraisablehook

    def hook(about: sys.UnraisableHookArgs) -> None:
        if not isinstance(about.exc_value, apsw.Error):
            tell(about)

    with patch.object(sys, "unraisablehook", hook), patch.object(sys, "excepthook", lambda *_: None):
        yield


class OnDisk(Apsw):
    """The library that opens files of a disk; with another `synchronous` than ours, where it is told so."""

    def __init__(self, disk: Disk, *, log: bool = True, synchronous: str = "FULL") -> None:
        super().__init__()
        self._disk = disk
        self._synchronous = synchronous
        if not log:
            self.version = (3, 40, 1)

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        db = _Told(str(path), flags=mode, vfs=self._disk.name)
        db.synchronous = self._synchronous
        db.set_busy_timeout(10_000)
        return cast("Connection", db)


class _Told(apsw.Connection):
    """A connection that has apsw tell of faults as it would of those of a real disk.

    SQLite goes on when a checkpoint after a commit fails, or one while it closes; apsw would raise what our VFS raised.
    """

    synchronous: str

    def execute(self, statements: str, *values: Any, **options: Any) -> apsw.Cursor:
        setting, _, value = statements.partition("=")
        if setting == "PRAGMA wal_autocheckpoint":
            self.set_wal_hook(partial(_checkpoint, int(value)))
            return super().execute("SELECT 1 WHERE false")
        told = statements.replace("synchronous=FULL", f"synchronous={self.synchronous}")
        return super().execute(told, *values, **options)

    def close(self, force: bool = False) -> None:
        with suppress(apsw.Error):
            super().close(force)


def _checkpoint(pages_max: int, db: apsw.Connection, name: str, pages: int) -> int:
    """Do as SQLite does after a commit."""
    if pages >= pages_max:
        with suppress(apsw.Error):
            db.wal_checkpoint(name)
    return apsw.SQLITE_OK
