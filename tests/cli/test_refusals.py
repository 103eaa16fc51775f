"""Bad input of any kind: one clear line on stderr, exit code 2, nothing changed, no traceback."""

from __future__ import annotations

import hashlib
import os
import socket
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from kokugen import Scheduler
from kokugen.errors import OptionError

from .conftest import Add, CommandLine

NOBODY = 65534
SOON = ("--in", "5m")
PARTS = ("schedule", "remind")
FAR_BACK, FAR_OFF = "1969-12-31T23:59Z", "9500-01-01T00:00Z"

BAD = {
    "an unknown command": ("lst",),
    "an unknown option": ("list", "--colour"),
    "no work id": ("schedule",),
    "no time": PARTS,
    "two times": (*PARTS, *SOON, "--at", "2099-01-01T00:00Z"),
    "a time that is none": (*PARTS, "--at", "tomorrow"),
    "a 13th month": (*PARTS, "--at", "2099-13-01T00:00Z"),
    "a 25th hour": (*PARTS, "--at", "2099-01-01T25:00Z"),
    "an empty time": (*PARTS, "--at", ""),
    "a naive time": (*PARTS, "--at", "2099-12-24T18:00"),
    "a local time that is skipped": (*PARTS, "--at", "2026-03-29T02:30", "--tz", "Europe/Berlin"),
    "a local time that is skipped by half an hour": (*PARTS, "--at", "2026-10-04T02:15", "--tz", "Australia/Lord_Howe"),
    "an unknown zone": (*PARTS, "--at", "2099-12-24T18:00", "--tz", "Mars/Olympus"),
    "a zone that is a path": (*PARTS, "--at", "2099-12-24T18:00", "--tz", "../../etc/passwd"),
    "a zone that is a directory": (*PARTS, "--at", "2099-12-24T18:00", "--tz", "Europe"),
    "a zone and an offset": (*PARTS, "--at", "2099-12-24T18:00Z", "--tz", "Europe/Berlin"),
    "a zone without a time": (*PARTS, *SOON, "--tz", "Europe/Berlin"),
    "a time before 1970": (*PARTS, "--at", FAR_BACK),
    "a time too far off": (*PARTS, "--at", FAR_OFF),
    "a span that is none": (*PARTS, "--in", "soon"),
    "a span back": (*PARTS, "--in", "-5m"),
    "a span without end": (*PARTS, "--in", "99999999999d"),
    "a work id with a space": ("schedule", "remind me", *SOON),
    "an empty work id": ("schedule", "", *SOON),
    "a work id of 201 characters": ("schedule", "w" * 201, *SOON),
    "a keyword without a value": (*PARTS, *SOON, "--kwarg", "text"),
    "a keyword that is no name": (*PARTS, *SOON, "--kwarg", "a b=1"),
    "a keyword twice": (*PARTS, *SOON, "--kwarg", "a=1", "--kwarg", "a=2"),
    "JSON that is none": (*PARTS, *SOON, "--json-param", "{who: Ann}"),
    "JSON that is cut off": (*PARTS, *SOON, "--json-param", '{"who": '),
    "JSON that is no object": (*PARTS, *SOON, "--json-param", "3"),
    "JSON that is text": (*PARTS, *SOON, "--json-param", '"Ann"'),
    "JSON with a key twice": (*PARTS, *SOON, "--json-param", '{"a": 1, "a": 2}'),
    "JSON with NaN": (*PARTS, *SOON, "--json-param", '{"a": NaN}'),
    "JSON that is too deep": (*PARTS, *SOON, "--json-param", "[" * 100_000),
    "JSON that is too large": (*PARTS, *SOON, "--json-param", f'["{"x" * 2_000_000}"]'),
    "JSON beside arguments": (*PARTS, *SOON, "--json-param", "{}", "--arg", "Ann"),
    "an unknown priority": (*PARTS, *SOON, "--priority", "11"),
    "a queue with a slash": (*PARTS, *SOON, "--queue", "a/b"),
    "an empty unique key": (*PARTS, *SOON, "--unique", ""),
    "a unique key with a line break": (*PARTS, *SOON, "--unique", "a\nb"),
    "a unique key that is taken": (*PARTS, *SOON, "--unique", "taken"),
    "a tag with a space": (*PARTS, *SOON, "--tag", "a b"),
    "21 tags": (*PARTS, *SOON, *(word for n in range(21) for word in ("--tag", f"t{n}"))),
    "an id with a slash": (*PARTS, *SOON, "--id", "a/b"),
    "bytes that are not UTF-8": (*PARTS, *SOON, "--arg", "a\udcff"),
    "a NUL": (*PARTS, *SOON, "--arg", "a\0b"),
    "an unknown mode": (*PARTS, *SOON, "--mode", "twice"),
    "a retry of what runs at most once": (*PARTS, *SOON, "--mode", "at-most-once", "--retry-attempts", "2"),
    "no attempt": (*PARTS, *SOON, "--retry-attempts", "0"),
    "a retry that is faster each time": (*PARTS, *SOON, "--retry-factor", "0.5"),
    "a retry after no number": (*PARTS, *SOON, "--retry-factor", "nan"),
    "a retry that waits for too long": (*PARTS, *SOON, "--retry-initial", "31d"),
    "a longest wait below the first": (*PARTS, *SOON, "--retry-initial", "2h", "--retry-delay-max", "1h"),
    "a timeout that is none": (*PARTS, *SOON, "--timeout", "soon"),
    "a timeout of nothing": (*PARTS, *SOON, "--timeout", "0s"),
    "a timeout that is too long": (*PARTS, *SOON, "--timeout", "31d"),
    "a start within no span": (*PARTS, *SOON, "--start-within", "1"),
    "no loss": (*PARTS, *SOON, "--max-lost", "0"),
    "an application that is not there": (*PARTS, *SOON, "--app", "no_such_module:scheduler"),
    "an application that is a path": (*PARTS, *SOON, "--app", "../jobs.py:scheduler"),
    "an application beside a store": (*PARTS, *SOON, "--app", "jobs:scheduler", "--url", "sqlite:///jobs.db"),
    "an application beside a namespace": (*PARTS, *SOON, "--app", "jobs:scheduler", "--namespace", "shop"),
    "a namespace with a slash": ("list", "--namespace", "a/b"),
    "an empty namespace": ("list", "--namespace", ""),
    "an unknown state": ("list", "--state", "sleeping"),
    "an empty state": ("list", "--state", ""),
    "a limit of 0": ("list", "--limit", "0"),
    "a limit that is no number": ("list", "--limit", "many"),
    "a bad due time": ("list", "--due-before", "noon"),
    "a naive due time": ("list", "--due-before", "2099-01-01T00:00"),
    "a zone without a due time": ("list", "--tz", "Asia/Tokyo"),
    "an empty work filter": ("list", "--work", ""),
    "an unknown id to show": ("show", "nowhere"),
    "an id with an escape": ("show", "\x1b[31mred"),
    "no id to show": ("show",),
    "an unknown id to cancel": ("cancel", "nowhere"),
    "nothing to cancel": ("cancel",),
    "ids and a filter": ("cancel", "waiting", "--work", "remind"),
    "a filter without --yes": ("cancel", "--work", "remind"),
    "force without a task": ("cancel", "--force"),
    "an unknown id to reschedule": ("reschedule", "nowhere", *SOON),
    "no time to reschedule to": ("reschedule", "waiting"),
    "a skipped time to reschedule to": ("reschedule", "waiting", "--at", "2026-03-29T02:30", "--tz", "Europe/Berlin"),
    "rescheduling what is over": ("reschedule", "ended", *SOON),
    "an unknown id to revive": ("revive", "nowhere"),
    "nothing to revive": ("revive",),
    "reviving what waits": ("revive", "waiting"),
    "a state that is not over": ("revive", "--state", "Working", "--yes"),
    "ids and a state": ("revive", "ended", "--state", "Cancelled"),
    "a bad age": ("prune", "--older-than", "old"),
    "an age without end": ("prune", "--older-than", "99999999w"),
    "pruning what waits": ("prune", "--state", "Initialized"),
    "a bad lateness": ("health", "--late", "very"),
    "a word too many": ("health", "please"),
    "no module": ("worker",),
    "a module alone": ("worker", "json"),
    "a module that is not there": ("worker", "no_such_module:scheduler"),
    "a module that is a path": ("worker", "../jobs.py:scheduler"),
    "a module without that name": ("worker", "json:scheduler"),
    "something else than a scheduler": ("worker", "json:loads"),
    "no workers": ("worker", "json:loads", "--workers", "0"),
    "a bad grace": ("worker", "json:loads", "--grace", "long"),
    "a demo in no directory": ("demo", "--keep", "/no/such/directory/reminders.db"),
}


def rows(path: Path) -> list[object]:
    with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return [tuple(row) for row in db.execute("SELECT * FROM task ORDER BY id")]


@pytest.fixture
def full(kokugen: CommandLine, add: Add, scheduler: Scheduler) -> CommandLine:
    """The command line over a store with a waiting task, one that is over, and one with a unique key."""
    add(id="waiting"), add(id="ended"), add(id="unique", unique="taken")
    scheduler.cancel("ended")
    scheduler.close()
    return kokugen


@pytest.mark.parametrize("words", BAD.values(), ids=BAD.keys())
def test_bad_words_are_refused_in_one_line(full: CommandLine, words: tuple[str, ...]) -> None:
    before = rows(full.path)
    line = full.refused(*words)
    assert line.rstrip("\n").isprintable()
    assert "Traceback" not in line
    assert rows(full.path) == before


LONG = "x" * 5_000


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("--json-param", '["\\ud800"]'), "--json-param"),
        (("--json-param", "{who: Ann}"), "--json-param"),
        (("--json-param", '{"a": 1, "a": 2}'), "--json-param"),
        (("--json-param", f'["{LONG * 100}"]'), "--json-param"),
        (("--retry-factor", "nan"), "--retry-factor nan: "),
        (("--retry-factor", "0.5"), "--retry-factor 0.5: "),
        (("--retry-initial", "31d"), "--retry-initial 31d: "),
        (("--retry-initial", "2h", "--retry-delay-max", "1h"), "--retry-initial 2h --retry-delay-max 1h: "),
        (("--timeout", "0s"), "--timeout '0s': "),
        (("--start-within", "31d"), "--start-within '31d': "),
    ],
)
def test_a_bad_value_is_named_as_it_was_typed(full: CommandLine, words: tuple[str, ...], said: str) -> None:
    line = full.refused(*PARTS, *SOON, *words)
    assert said in line
    assert "datetime" not in line
    assert "Retry(" not in line


@pytest.mark.parametrize("words", [("schedule", LONG, *SOON), (*PARTS, *SOON, "--id", LONG), ("show", LONG)])
def test_a_name_that_is_far_too_long_is_not_repeated_whole(full: CommandLine, words: tuple[str, ...]) -> None:
    line = full.refused(*words)
    assert "xxx…" in line
    assert len(line) < 300


# -- Stores that cannot be used


def digest(folder: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir() if one.is_file()}


ANY = {"list": ("list",), "schedule": (*PARTS, *SOON), "migrate": ("migrate",), "prune": ("prune",)}
EACH = pytest.mark.parametrize("words", ANY.values(), ids=ANY.keys())


@pytest.mark.parametrize("words", [ANY["list"], ANY["prune"], ("health",), ("show", "x"), ("cancel", "x")])
def test_looking_into_a_store_that_is_not_there_makes_none(kokugen: CommandLine, words: tuple[str, ...]) -> None:
    assert "kokugen migrate" in kokugen.refused(*words)
    assert list(kokugen.path.parent.iterdir()) == []


@EACH
@pytest.mark.parametrize(
    "url",
    [
        "",
        "reminders.db",
        "sqlite://",
        "sqlite:///",
        "sqlite:////",
        "sqlite+sqlite3://///",
        "sqlite:reminders.db",
        "oracle://scott:tiger@host/db",
        "postgresql:/scott:tiger@host/db",
        "postgresql://scott:tiger@host:port/db",
        "http://localhost/",
        "memory://",
        "://",
        "sqlite:////no/such/directory/tasks.db",
    ],
)
def test_a_bad_url_is_refused(kokugen: CommandLine, words: tuple[str, ...], url: str) -> None:
    line = kokugen.refused(*words, "--url", url)
    assert "tiger" not in line


@pytest.mark.parametrize("scheme", ["sqlite", "sqlite+sqlite3"])
def test_sqlites_own_name_for_memory_makes_no_file(
    kokugen: CommandLine, scheme: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(kokugen.path.parent)
    for words in (ANY["schedule"], ANY["migrate"], ("doctor",)):
        assert "is not a store that is known" in kokugen.refused(*words, "--url", f"{scheme}:///:memory:")
    with pytest.raises(OptionError, match="memory://"):
        Scheduler(f"{scheme}:///:memory:").open()
    assert list(kokugen.path.parent.iterdir()) == []


@EACH
def test_a_library_that_is_not_known_is_refused_as_such(kokugen: CommandLine, words: tuple[str, ...]) -> None:
    assert "'sqlite+pysqlite:///tasks.db' is not a store" in kokugen.refused(
        *words, "--url", "sqlite+pysqlite:///tasks.db"
    )


@EACH
def test_a_file_that_is_no_database_stays_as_it_is(kokugen: CommandLine, words: tuple[str, ...]) -> None:
    kokugen.path.write_text("Dear diary,\n" * 1000, encoding="ascii")
    before = digest(kokugen.path.parent)
    kokugen.refused(*words)
    assert digest(kokugen.path.parent) == before


@EACH
def test_a_database_of_another_application_stays_as_it_is(kokugen: CommandLine, words: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(kokugen.path)) as db:
        db.executescript("CREATE TABLE customer (name); CREATE TABLE meta (key, value);")
    before = digest(kokugen.path.parent)
    kokugen.refused(*words)
    assert digest(kokugen.path.parent) == before


@EACH
def test_a_directory_is_no_store(kokugen: CommandLine, words: tuple[str, ...]) -> None:
    kokugen.path.mkdir()
    kokugen.refused(*words)
    assert list(kokugen.path.iterdir()) == []


@EACH
def test_a_schema_from_the_future_is_refused(full: CommandLine, words: tuple[str, ...]) -> None:
    with closing(sqlite3.connect(full.path)) as db:
        db.execute("UPDATE meta SET value = '999' WHERE key IN ('schema_version', 'min_compatible')")
        db.commit()
    before = rows(full.path)
    assert "newer" in full.refused(*words)
    assert rows(full.path) == before


@pytest.mark.skipif(sys.platform == "win32", reason="needs file rights")
@EACH
def test_an_unreadable_file_is_refused(full: CommandLine, words: tuple[str, ...]) -> None:
    full("list")  # whatever a command imports, it has imported now
    with tempfile.TemporaryDirectory() as folder, bound_by_rights(Path(folder)):
        path = Path(folder, "tasks.db")
        path.touch()
        path.chmod(0)
        full.path, full.url = path, f"sqlite:///{path}"
        assert str(path) in full.refused(*words)


@contextmanager
def bound_by_rights(folder: Path) -> Iterator[None]:
    """Act as a user whom file rights bind: for root, as nobody, to whom the folder is given."""
    if os.geteuid():
        yield
        return
    os.chown(folder, NOBODY, -1)
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


HOLD_THE_LOCK = """
import sqlite3, sys
db = sqlite3.connect(sys.argv[1])
db.execute("BEGIN IMMEDIATE")
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kokugen.repository.sqlite.library.BUSY_MS", 50)


def test_a_locked_file_is_refused_and_unchanged(full: CommandLine, impatient: None) -> None:
    command = [sys.executable, "-c", HOLD_THE_LOCK, str(full.path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == b"locked\n"
        assert "lock" in full.refused("schedule", "remind", *SOON)
        holder.communicate()
    assert len(rows(full.path)) == 3


def test_a_socket_is_no_store(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(kokugen.path.parent)
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind("tasks.db")
        kokugen.refused("list")


def test_no_store_at_all_is_refused(kokugen: CommandLine) -> None:
    kokugen.url = ""
    assert "KOKUGEN_URL" in kokugen.refused("list")


def test_a_store_to_keep_is_never_overwritten(full: CommandLine) -> None:
    before = rows(full.path)
    assert "already" in full.refused("demo", "--keep", str(full.path))
    assert rows(full.path) == before
