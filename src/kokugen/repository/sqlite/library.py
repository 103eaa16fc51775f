"""The two libraries that open a file, behind one face: apsw, which brings its own SQLite, and the standard library's.

`connection` opens files with them; nothing else here knows which one it is. One process must never have one file
open with both: POSIX locks belong to the process, so that the one would let go of the other's.
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable, Iterable
from pathlib import Path
from threading import Event, Lock
from typing import Any, Protocol

import apsw

from kokugen.clock import SystemClock
from kokugen.errors import OptionError
from kokugen.ids import system_random

BUSY_MS = 10_000
EAGER_S, EAGER_FOR_S, CALM_S = (0.0002, 0.002), 1.0, (0.002, 0.02)
"""How long the steps are in which a lock is waited for: at first, for how long so, and after that."""

WAL_SINCE = (3, 51, 3)
"""Before it, two writers could damage a file in WAL mode (3.7.0 to 3.51.2)."""

NEEDED = (3, 38, 0)
"""For what the statements use: strict tables, UPDATE … FROM, and the operator ->>."""

FAULTS: tuple[type[Exception], ...] = (apsw.Error, sqlite3.Error)
"""What either library raises."""

REFUSALS: tuple[type[Exception], ...] = (*FAULTS, UnicodeError)
"""What a statement raises, or its values: half of a surrogate pair is in no text that SQLite can hold."""

Values = tuple[Any, ...] | dict[str, Any]


class Connection(Protocol):
    """What the statements need of a connection: it commits only where it is told to."""

    @property
    def in_transaction(self) -> bool: ...

    def execute(self, sql: str, values: Values = (), /) -> Iterable[tuple[Any, ...]]:
        """Carry out one statement, or, without values, a script of several."""
        ...

    def changes(self) -> int:
        """Return how many rows the last statement changed."""
        ...

    def close(self) -> None: ...


class Library(Protocol):
    """One of the two."""

    @property
    def scheme(self) -> str:
        """Return how its URLs begin."""
        ...

    @property
    def version(self) -> tuple[int, ...]:
        """Return which SQLite it has."""
        ...

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        """Open a file. Raises one of FAULTS."""
        ...


class Apsw:
    """The library of `sqlite://`."""

    scheme = "sqlite"

    def __init__(self) -> None:
        self.version = _version(apsw.sqlite_lib_version())

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        mode = apsw.SQLITE_OPEN_READONLY if read_only else apsw.SQLITE_OPEN_READWRITE | apsw.SQLITE_OPEN_CREATE
        place = path.parent.resolve() / path.name
        db = apsw.Connection(str(place), flags=mode | apsw.SQLITE_OPEN_NOFOLLOW)
        db.set_busy_handler(_patience())
        db.config(apsw.SQLITE_DBCONFIG_ENABLE_QPSG, 1)  # or each new value of a parameter prepares its statement anew
        return db


class Standard:
    """The library of `sqlite+sqlite3://`, for those who share the connection with code that uses `sqlite3`."""

    scheme = "sqlite+sqlite3"

    def __init__(self) -> None:
        self.version = sqlite3.sqlite_version_info
        if self.version < NEEDED:
            raise OptionError(
                f"this Python's sqlite3 has SQLite {sqlite3.sqlite_version}, and kokugen needs 3.38: use sqlite:///…"
            )

    def connect(self, path: Path, *, read_only: bool = False) -> Connection:
        address = f"{path.as_uri()}?mode={'ro' if read_only else 'rwc'}"
        return StandardConnection(
            sqlite3.connect(address, uri=True, timeout=BUSY_MS / 1000, isolation_level=None, check_same_thread=False)
        )


class StandardConnection:
    """A connection of the standard library that does as `Connection` says."""

    def __init__(self, db: sqlite3.Connection) -> None:
        self._db = db
        self.close = db.close

    @property
    def in_transaction(self) -> bool:
        return self._db.in_transaction

    def execute(self, sql: str, values: Values = (), /) -> Iterable[tuple[Any, ...]]:
        if values or not sql.startswith(("CREATE", "ALTER")):
            return self._db.execute(sql, values)
        for statement in statements(sql):
            self._db.execute(statement)
        return ()

    def changes(self) -> int:
        return int(self._db.execute("SELECT changes()").fetchone()[0])


def statements(script: str) -> Iterable[str]:
    """Yield the statements of a script."""
    lines: list[str] = []
    for line in script.splitlines(keepends=True):
        lines.append(line)
        if sqlite3.complete_statement("".join(lines)):
            yield "".join(lines)
            lines.clear()
    if rest := "".join(lines).strip():
        yield rest


def _patience() -> Callable[[int], bool]:
    """Return what waits for a lock of another process, in short steps by chance, up to BUSY_MS.

    SQLite's own steps grow to 100 ms, so that among busy processes whoever waits is ever less likely to be next:
    four that commit all the time kept each other waiting for up to 1.7 s so, and for up to 0.1 s like this.
    """
    clock, random, pause = SystemClock(), system_random(), Event()
    began_s = 0.0

    def wait(tries: int) -> bool:
        nonlocal began_s
        if tries == 0:
            began_s = clock.boot_s()
        waited_s = clock.boot_s() - began_s
        pause.wait(random.uniform(*(EAGER_S if waited_s < EAGER_FOR_S else CALM_S)))
        return waited_s < BUSY_MS / 1000

    return wait


def code_of(error: Exception) -> int:
    """Return SQLite's primary result code of what either library raised; 1 where it has none."""
    code: int = getattr(error, "result", None) or getattr(error, "sqlite_errorcode", None) or 1
    return code & 0xFF


def _version(text: str) -> tuple[int, ...]:
    return tuple(map(int, text.split(".")))


class Occupancy:
    """Which files this process has open, and with which library."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[Path, list[str]] = {}
        if hasattr(os, "register_at_fork"):
            os.register_at_fork(after_in_child=self._forget)

    def _forget(self) -> None:
        """Begin anew: a forked child has nothing open."""
        self._lock = Lock()
        self._open.clear()

    def enter(self, path: Path, scheme: str) -> None:
        """Take note that a file is opened. Raises OptionError where it is open with the other library."""
        with self._lock:
            held = self._open.get(path, [scheme])
            if held[0] != scheme:
                raise OptionError(f"{path} is open in this process as {held[0]}:///: use one of the two for a file")
            self._open.setdefault(path, []).append(scheme)

    def leave(self, path: Path, scheme: str) -> None:
        """Take note that it is closed."""
        with self._lock:
            held = self._open[path]
            held.remove(scheme)
            if not held:
                del self._open[path]
