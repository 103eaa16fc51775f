"""Power cuts under a SQLite store, and what has to be there of it afterwards, row by row.

Calls are made of the store and, one by one, of a twin on a disk that keeps everything. After each cut the store's file
has to be whole, and every table in it as the twin's is after as many calls as were answered, or after some of those
that were under way. Then both go on from there: what reads the file next is the real repository, under the next cut.
"""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from random import Random
from threading import Event
from typing import Any
from unittest.mock import patch

import apsw
from msgspec import Struct

from kokugen.errors import KokugenError, RepositoryError
from kokugen.reply import Reply
from kokugen.repository.sqlite import SQLiteRepository, connection
from kokugen.testing import ManualClock
from tests.faults.disk import Disk, OnDisk, quiet
from tests.faults.judge import Kind, Verdict
from tests.faults.storecalls import Call, Calls

CALLS_MAX = 60
"""How many calls a store is asked to carry out between two cuts."""
CHANGES_MAX = 150
"""How many changes of files come before a cut at most."""
LIVES_MAX = 12
"""How many cuts befall one store, before the next one is made."""
CHECKPOINT_PAGES = (5, 20, 100)
SHOWN = 120
PATIENCE_S = 30.0

Content = dict[str, list[tuple[Any, ...]]]
EMPTY: Content = {}


class Way(Struct, frozen=True, kw_only=True):
    """How the store is kept."""

    log: bool = True
    """Whether changes go into a write-ahead log, or the old pages into a journal."""
    synchronous: str = "FULL"


class PowerCuts:
    """As many cuts as are asked for, and what was found."""

    def __init__(self, folder: Path, random: Random, way: Way) -> None:
        self.happened: Counter[str] = Counter()
        self.verdicts: list[Verdict] = []
        self.tasks = 0
        self._folder = folder
        self._random = random
        self._way = way

    def inflict(self, number: int) -> None:
        """Cut the power so many times, of one store after the other."""
        with quiet():
            for done in range(0, number, LIVES_MAX):
                self._store(self._folder / f"store-{done}", min(LIVES_MAX, number - done))

    def _store(self, folder: Path, lives: int) -> None:
        clock = ManualClock()
        calls = Calls(self._random, clock)
        folder.mkdir(mode=0o700)
        here = folder / "0"
        here.mkdir(mode=0o700)
        twin: Path | None = None
        for life in range(1, lives + 1):
            one = Life(here, twin, self._random, self._way, clock, calls)
            with patch.object(connection, "CHECKPOINT_PAGES", self._random.choice(CHECKPOINT_PAGES)):
                one.live()
            here = folder / str(life)
            one.disk.leave(here)
            self.happened += one.disk.happened
            if broken := self._judge(one, here):
                self.verdicts += broken
                return
            twin = _copied(here, folder / f"twin-{life}")
        self.tasks += calls.added
        shutil.rmtree(folder)

    def _judge(self, life: Life, left: Path) -> list[Verdict]:
        """Compare what was left with what was answered."""
        path = _copied(left, left.with_name(f"{left.name}-looked-at"))
        try:
            found = content(path) if path.exists() else EMPTY
        except apsw.Error as error:
            return [Verdict(Kind.UNEXPLAINED, f"{left}: the file is damaged: {error}")]
        shutil.rmtree(path.parent)
        expected = life.allowed[life.answered]
        if found in life.allowed[life.answered :]:
            self.happened["unanswered and there"] += found != expected
            return life.verdicts
        kind = Kind.LOST if found in life.allowed else Kind.UNEXPLAINED
        return [*life.verdicts, Verdict(kind, f"{left}: {_difference(expected, found)}")]


class Life:
    """A store from when it is opened until the power goes."""

    def __init__(
        self, folder: Path, twin: Path | None, random: Random, way: Way, clock: ManualClock, calls: Calls
    ) -> None:
        self.disk = Disk(folder, random)
        self.verdicts: list[Verdict] = []
        self.allowed: list[Content] = [content(twin) if twin is not None and twin.exists() else EMPTY]
        """What may be found, after as many calls as its index; the first of all is to make the store."""
        self.answered = 0
        self._random = random
        self._clock = clock
        self._calls = calls
        self._twin_path = twin or folder.with_name("twin-0") / "tasks.db"
        self._twin_path.parent.mkdir(mode=0o700, exist_ok=True)
        library = OnDisk(self.disk, log=way.log, synchronous=way.synchronous)
        self._store = SQLiteRepository(folder / "tasks.db", clock=clock, library=library)
        self._still = Disk(self._twin_path.parent, random)
        self._twin = SQLiteRepository(self._twin_path, clock=clock, library=OnDisk(self._still))

    def live(self) -> None:
        self._open()
        self.disk.cut_after(self._random.randint(1, CHANGES_MAX))
        with suppress(KokugenError):
            self._store.open()
            self.answered = 1
        for _ in range(CALLS_MAX):
            if self.disk.off:
                break
            self._ask(self._calls.draw())
        self._store.close()
        if not self.disk.off:
            with suppress(apsw.Error):
                self.disk.cut()
        self._twin.close()
        for disk in (self.disk, self._still):
            disk.unregister()

    def _open(self) -> None:
        self._twin.open()
        with _looking(self._twin_path) as db:
            self.allowed.append(_tables(db))

    def _ask(self, calls: Sequence[Call]) -> None:
        """Make calls at once of the store, and one by one of the twin."""
        self._clock.advance(timedelta(seconds=self._random.choice((0.001, 1.0, 5.0))))
        with self._together(len(calls) > 1):
            replies = [call.ask(self._store) for call in calls]
        answers = [_answer(reply) for reply in replies]
        unanswered = False
        for call, answer in zip(calls, answers, strict=True):
            expected = _answer(call.ask(self._twin))
            call.heard(expected)
            with _looking(self._twin_path) as db:
                self.allowed.append(_tables(db))
            if self.disk.off and isinstance(answer, Exception) and repr(answer) != repr(expected):
                unanswered = True
                if not isinstance(answer, RepositoryError):
                    self._tell(f"{call.name} was answered with {answer!r} when the power went")
            elif not unanswered:
                self.answered = len(self.allowed) - 1
                self._compare(call, answer, expected)

    def _compare(self, call: Call, answer: object, expected: object) -> None:
        if repr(answer) != repr(expected):
            self._tell(
                f"{call.name} was answered with {repr(answer)[:SHOWN]}, and by the twin with {repr(expected)[:SHOWN]}"
            )

    def _tell(self, words: str) -> None:
        self.verdicts.append(Verdict(Kind.UNEXPLAINED, words))

    @contextmanager
    def _together(self, several: bool) -> Iterator[None]:
        """Keep the writer in a transaction that all the calls join."""
        entered, leave = Event(), Event()

        def wait(_: object) -> None:
            entered.set()
            leave.wait(PATIENCE_S)

        if several:
            blocked: Reply[None] = self._store._submit(wait)
            blocked.when_done(entered.set)
            entered.wait(PATIENCE_S)
        yield
        leave.set()


def _answer(reply: Reply[Any]) -> Any:
    try:
        return reply.result(PATIENCE_S)
    except Exception as error:  # it is the answer
        return error


# -- What is in a file


def content(path: Path) -> Content:
    """Return every row of a file that is whole. Raises apsw.Error for one that is not."""
    with _looking(path) as db:
        for (told,) in db.execute("PRAGMA integrity_check"):
            if told != "ok":
                raise apsw.CorruptError(told)
        return _tables(db)


@contextmanager
def _looking(path: Path) -> Iterator[apsw.Connection]:
    db = apsw.Connection(str(path))
    try:
        yield db
    finally:
        db.close()


def _tables(db: apsw.Connection) -> Content:
    names = [name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")]
    where = {"meta": " WHERE key <> 'cluster_id'"}
    return {name: sorted(db.execute(f"SELECT * FROM {name}{where.get(name, '')}"), key=repr) for name in names}


def _copied(folder: Path, to: Path) -> Path:
    shutil.copytree(folder, to)
    return to / "tasks.db"


def _difference(expected: Content, found: Content) -> str:
    """Say in which tables what was left is another than what was answered."""
    told = []
    for table in sorted(expected.keys() | found.keys()):
        before, after = expected.get(table, []), found.get(table, [])
        gone, more = [row for row in before if row not in after], [row for row in after if row not in before]
        if gone or more:
            told.append(f"{table}: without {_shown(gone)}, with {_shown(more)}")
    return "; ".join(told) or "it has other tables"


def _shown(rows: Sequence[tuple[Any, ...]]) -> str:
    return ", ".join(repr(row)[:SHOWN] for row in rows[:2]) or "nothing"
