"""A connection that is not open while the process forks.

SQLite keeps in the memory of a process which locks it has, and a forked child has a copy of that but not the locks:
the child found the file locked for ever, or went on without a lock of its own, so that others could remove the log it
wrote into. So every line is closed before a fork, once who uses it is through with a transaction, and opened again at
its next use; the child has nothing open, and opens what it needs itself.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from threading import Lock, RLock
from weakref import WeakSet

from kokugen.errors import RepositoryUnavailableError
from kokugen.repository.sqlite.connection import check_unmoved, connect, file_identity
from kokugen.repository.sqlite.library import FAULTS, Connection, Library


class Line:
    """A connection for one thread at a time: `with line as db`. `open_` opens it first; raises what that raises."""

    def __init__(self, library: Library, path: Path, open_: Callable[[Library, Path], Connection] = connect) -> None:
        self._library = library
        self._path = path
        self._lock = RLock()
        self._uses = 0
        self._closed = False
        self._db: Connection | None = None
        _forks.add(self)
        with self._lock:
            self._db = open_(library, path)
        self._file = file_identity(path)

    def __enter__(self) -> Connection:
        """Wait for who uses it, and return the connection. Raises RepositoryError, or what a library raises."""
        self._lock.acquire()
        try:
            db = self._opened()
        except BaseException:
            self._lock.release()
            raise
        self._uses += 1
        return db

    def __exit__(self, *_: object) -> None:
        self._uses -= 1
        self._lock.release()

    def close(self) -> None:
        """Close it for good, once who uses it is through."""
        with self._lock:
            self._closed = True
            db, self._db = self._db, None
            if db is not None:
                db.close()

    def _opened(self) -> Connection:
        if self._closed:
            raise RepositoryUnavailableError(f"the store {self._path} was closed: open it again")
        check_unmoved(self._path, self._file)
        if self._db is None:
            self._db = connect(self._library, self._path)
        return self._db

    def hold(self) -> None:
        """Close it until `release`, which the same thread calls; not where this thread is in the midst of using it."""
        self._lock.acquire()
        if self._db is not None and not self._uses:
            db, self._db = self._db, None
            with suppress(*FAULTS):  # its transactions are over: there is nothing to lose
                db.close()

    def release(self) -> None:
        self._lock.release()

    def leaks(self) -> bool:
        """Return whether it is open."""
        return self._db is not None


class _Forks:
    """All lines of this process, which are held while it forks."""

    def __init__(self) -> None:
        self._lines: WeakSet[Line] = WeakSet()
        self._held: list[Line] = []
        self._lock = Lock()
        self._abandoned: list[Line] = []

    def add(self, line: Line) -> None:
        with self._lock:
            self._lines.add(line)

    def before(self) -> None:
        self._lock.acquire()
        self._held = list(self._lines)
        for line in self._held:
            line.hold()

    def after_in_parent(self) -> None:
        held, self._held = self._held, []
        for line in held:
            line.release()
        self._lock.release()

    def after_in_child(self) -> None:
        """Begin anew. What is open even so is kept as it is: SQLite forbids a child even to close it."""
        self._abandoned += [line for line in self._lines if line.leaks()]
        self._lines, self._held, self._lock = WeakSet(), [], Lock()


_forks = _Forks()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(
        before=_forks.before, after_in_parent=_forks.after_in_parent, after_in_child=_forks.after_in_child
    )
