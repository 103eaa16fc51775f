"""A store that cannot be used for a while, or at all: a clear error or another try, and nothing is lost."""

from __future__ import annotations

import hashlib
import shutil
import sqlite3
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from typing import Any

import apsw
import pytest

from kokugen import Scheduler, Settings, TaskParam, TaskState
from kokugen.errors import RepositoryError, RepositoryUnavailableError
from tests.faults.apart import apart, become_nobody, locked
from tests.faults.crew import PATIENCE_S, await_until, processes, soon

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="users, limits and unlinked files are of POSIX")

NOW, LATER, LONG = timedelta(0), timedelta(hours=1), timedelta(seconds=PATIENCE_S)
BRISK = Settings(ttl_s=30.0, beat_s=0.2, margin_s=1.0, rpc_s=1.0)
"""So that outcomes which could not be written are tried again five times a second."""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever finds the store locked gives up at once."""
    monkeypatch.setattr("kokugen.repository.sqlite.library.BUSY_MS", 20)


class Bench:
    """A scheduler on a store, and work that ends when the test says so."""

    def __init__(self, path: Path) -> None:
        self.scheduler = Scheduler(f"sqlite:///{path}", workers=2, settings=BRISK)
        self.started, self.gate, self.calls = threading.Event(), threading.Event(), list[str]()

        @self.scheduler.work
        def wait(name: str) -> str:
            self.calls.append(name)
            self.started.set()
            self.gate.wait(PATIENCE_S)
            return name

        self.work = wait

    def hold_up(self) -> Any:
        """Start, and return the handle of a task that is running."""
        self.scheduler.start()
        handle = self.scheduler.after(NOW, self.work, "first")
        assert self.started.wait(PATIENCE_S)
        return handle

    def await_pending(self) -> None:
        """Let the work end and wait until its outcome could not be written."""
        self.gate.set()
        await_until(lambda: not self.scheduler.retry_marking(), "an outcome that cannot be written")

    def refuses(self, reason: str) -> bool:
        """Return whether a write is refused now; one that was begun in time may still take it along."""
        try:
            self.scheduler.after(LATER, self.work, "taken along")
        except RepositoryUnavailableError as error:
            return reason in str(error)
        return False

    def close(self) -> None:
        self.gate.set()
        self.scheduler.close()


@pytest.fixture
def bench(path: Path) -> Iterator[Bench]:
    one = Bench(path)
    yield one
    one.close()


# -- Locked


def test_a_store_that_is_locked_for_a_moment_is_waited_for(bench: Bench, path: Path) -> None:
    bench.scheduler.open()
    answers: list[str] = []
    calling = threading.Thread(target=lambda: answers.append(bench.scheduler.after(LATER, bench.work, "late").id))
    with locked(path):
        calling.start()
        assert bench.scheduler.count() == 0
    calling.join(PATIENCE_S)
    assert [info.id for info in bench.scheduler.tasks()] == answers


def test_a_store_that_stays_locked_is_told_and_nothing_was_changed(impatient: None, bench: Bench, path: Path) -> None:
    task = bench.scheduler.after(LATER, bench.work, "there")
    with locked(path):
        with pytest.raises(RepositoryUnavailableError, match="lock"):
            bench.scheduler.after(LATER, bench.work, "not there")
        with pytest.raises(RepositoryUnavailableError, match="lock"):
            task.cancel()
        assert task.info().state is TaskState.INITIALIZED
    assert bench.scheduler.count() == 1
    bench.scheduler.after(LATER, bench.work, "there now")
    assert bench.scheduler.count() == 2


def test_an_outcome_that_meets_a_lock_is_written_later_and_its_work_not_called_again(
    impatient: None, bench: Bench, path: Path
) -> None:
    task = bench.hold_up()
    with locked(path):
        bench.await_pending()
        assert task.info().state is TaskState.WORKING
    assert task.result(LONG) == "first"
    assert bench.scheduler.after(NOW, bench.work, "second").result(LONG) == "second"
    assert bench.scheduler.retry_marking()
    assert bench.calls == ["first", "second"]
    assert (task.info().fence, task.info().lost) == (1, 0)


# -- Full


@pytest.fixture
def connections(monkeypatch: pytest.MonkeyPatch) -> list[apsw.Connection]:
    """Every connection that is opened from now on."""
    opened: list[apsw.Connection] = []
    monkeypatch.setattr(apsw, "connection_hooks", [opened.append])
    return opened


def test_a_full_store_is_told_keeps_what_it_has_and_goes_on_once_there_is_room(
    connections: list[apsw.Connection], path: Path
) -> None:
    scheduler = Scheduler(f"sqlite:///{path}")
    scheduler.open()
    for db in connections:
        db.execute("PRAGMA max_page_count=60")
    kept: list[str] = []

    def fill() -> None:
        while len(kept) < 10_000:
            param = TaskParam(work_id="large", scheduled_time=soon(3600), param=["x" * 3000])
            kept.append(scheduler.schedule(param).id)

    with pytest.raises(RepositoryUnavailableError, match="disk is full"):
        fill()
    assert kept
    assert {info.id for info in scheduler.tasks()} == set(kept)
    for db in connections:
        db.execute("PRAGMA max_page_count=1000000")
    kept.append(scheduler.schedule(TaskParam(work_id="large", scheduled_time=soon(3600))).id)
    assert {info.id for info in scheduler.tasks()} == set(kept)
    assert all(info.param.args == ("x" * 3000,) for info in scheduler.tasks() if info.id != kept[-1])
    scheduler.close()


def test_a_disk_that_takes_no_more_bytes_delays_outcomes_and_loses_none(path: Path) -> None:
    apart(run_out_of_disk, path)


def run_out_of_disk(path: Path) -> None:
    import resource

    bench = Bench(path)
    task = bench.hold_up()
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, hard))
    bench.await_pending()
    with pytest.raises(RepositoryUnavailableError, match="disk"):
        bench.scheduler.after(NOW, bench.work, "refused")
    assert bench.scheduler.get(task.id).state is TaskState.WORKING
    resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert task.result(LONG) == "first"
    assert bench.scheduler.after(NOW, bench.work, "second").result(LONG) == "second"
    assert bench.calls == ["first", "second"]
    assert bench.scheduler.count() == 2
    bench.close()
    with closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchone() == ("ok",)


# -- Read-only


@pytest.fixture
def public() -> Iterator[Path]:
    """A directory that every user may look into."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)
        Path(folder).chmod(0o700)


def read_only_file(path: Path) -> None:
    path.chmod(0o444)


def unreadable_file(path: Path) -> None:
    path.chmod(0o000)


def read_only_directory(path: Path) -> None:
    path.chmod(0o666)
    path.parent.chmod(0o555)


def read_only_directory_without_a_store(path: Path) -> None:
    path.unlink()
    path.parent.chmod(0o555)


def unreadable_directory(path: Path) -> None:
    path.parent.chmod(0o000)


@pytest.mark.parametrize(
    "lock_up",
    [read_only_file, unreadable_file, read_only_directory, read_only_directory_without_a_store, unreadable_directory],
)
def test_a_store_without_the_right_to_write_is_refused_in_words(public: Path, lock_up: Callable[[Path], None]) -> None:
    path = public / "tasks.db"
    scheduler = Scheduler(f"sqlite:///{path}")
    scheduler.schedule(TaskParam(work_id="kept", scheduled_time=soon(3600)))
    scheduler.close()
    lock_up(path)
    apart(find_it_refused, path)
    public.chmod(0o755)
    if path.exists():
        path.chmod(0o600)
        with Scheduler(f"sqlite:///{path}") as again:
            assert again.count() == 1


def find_it_refused(path: Path) -> None:
    become_nobody()
    scheduler = Scheduler(f"sqlite:///{path}")
    for attempt in (scheduler.open, scheduler.start, lambda: scheduler.after(NOW, Bench(path).work, "x")):
        with pytest.raises(RepositoryError, match=r"tasks\.db") as refused:
            attempt()
        assert any(word in str(refused.value) for word in ("read-only", "denied", "cannot be", "right")), refused.value
    assert not scheduler.running


# -- Moved beneath


def delete(path: Path) -> None:
    path.unlink()


def replace(path: Path) -> None:
    other = path.with_name("other.db")
    Scheduler(f"sqlite:///{other}").open()
    other.replace(path)


@pytest.mark.parametrize("move", [delete, replace])
def test_what_would_go_into_a_file_that_is_gone_is_refused(
    bench: Bench, path: Path, move: Callable[[Path], None]
) -> None:
    bench.scheduler.after(LATER, bench.work, "there")
    move(path)
    with pytest.raises(RepositoryUnavailableError, match="moved, deleted or replaced"):
        bench.scheduler.after(LATER, bench.work, "not there")
    with pytest.raises(RepositoryUnavailableError, match="moved, deleted or replaced"):
        bench.scheduler.count()


def test_a_file_that_is_put_back_is_written_to_again(bench: Bench, path: Path) -> None:
    task = bench.hold_up()
    away = path.with_name("away.db")
    path.rename(away)
    await_until(lambda: bench.refuses("put it back"), "a write that finds the file gone")
    bench.await_pending()
    away.rename(path)
    assert task.result(LONG) == "first"
    assert bench.scheduler.after(NOW, bench.work, "second").result(LONG) == "second"
    assert bench.calls == ["first", "second"]


def test_a_store_that_was_replaced_is_used_after_it_was_closed(bench: Bench, path: Path) -> None:
    bench.scheduler.after(LATER, bench.work, "old")
    replace(path)
    bench.scheduler.close()
    assert bench.scheduler.count() == 0
    bench.scheduler.after(LATER, bench.work, "new")
    assert bench.scheduler.count() == 1


# -- Not a store


def digest(folder: Path) -> dict[str, str]:
    return {one.name: hashlib.sha256(one.read_bytes()).hexdigest() for one in folder.iterdir()}


def other_application(path: Path) -> None:
    with closing(sqlite3.connect(path)) as db:
        db.executescript("CREATE TABLE customer (name); INSERT INTO customer VALUES ('Ann')")


def text(path: Path) -> None:
    path.write_text("Dear diary,\n" * 1000, encoding="ascii")


def half_a_header(path: Path) -> None:
    path.write_bytes(b"SQLite format 3\0" + b"\x10\x00" * 8)


def cut_off(path: Path) -> None:
    whole = path.with_name("whole")
    Scheduler(f"sqlite:///{whole}").close()
    with Scheduler(f"sqlite:///{whole}"):
        pass
    path.write_bytes(whole.read_bytes()[: 2 * 4096 + 100])
    whole.unlink()


@pytest.mark.parametrize("make", [other_application, text, half_a_header, cut_off])
def test_a_file_that_is_no_store_is_refused_and_stays_as_it_is(path: Path, make: Callable[[Path], None]) -> None:
    make(path)
    before = digest(path.parent)
    scheduler = Scheduler(f"sqlite:///{path}")
    for attempt in (scheduler.open, scheduler.start, scheduler.count):
        with pytest.raises(RepositoryError, match=r"another|not an SQLite|damaged"):
            attempt()
    assert digest(path.parent) == before


def test_damage_is_told_and_does_not_spread(path: Path) -> None:
    with Scheduler(f"sqlite:///{path}") as scheduler:
        scheduler.schedule_many(TaskParam(work_id="w", scheduled_time=soon(3600), param=[n]) for n in range(2000))
    size = path.stat().st_size
    with path.open("r+b") as file:
        file.seek(12 * 4096)
        file.write(b"\xff" * (size - 16 * 4096))
    damaged = Scheduler(f"sqlite:///{path}")
    with pytest.raises(RepositoryError, match="damaged"):
        list(damaged.tasks())
    with pytest.raises(RepositoryError, match="damaged"):
        damaged.schedule_many(TaskParam(work_id="w", scheduled_time=soon(n)) for n in range(2000))
    damaged.close()


# -- Many at once


def test_any_number_of_processes_may_make_the_store_at_once(path: Path) -> None:
    starting = processes.Barrier(6)
    crowd = [processes.Process(target=schedule_one, args=(path, starting), daemon=True) for _ in range(6)]
    for process in crowd:
        process.start()
    for process in crowd:
        process.join(PATIENCE_S)
    assert [process.exitcode for process in crowd] == [0] * 6
    with Scheduler(f"sqlite:///{path}") as scheduler:
        assert scheduler.count() == 6


def schedule_one(path: Path, starting: Any) -> None:
    starting.wait(PATIENCE_S)
    scheduler = Scheduler(f"sqlite:///{path}")
    scheduler.schedule(TaskParam(work_id="w", scheduled_time=soon(3600)))
    scheduler.close()


def test_a_copy_of_a_store_is_a_store(path: Path) -> None:
    with Scheduler(f"sqlite:///{path}") as scheduler:
        task = scheduler.schedule(TaskParam(work_id="w", scheduled_time=soon(3600)))
    copy = path.with_name("copy.db")
    shutil.copyfile(path, copy)
    other = Scheduler(f"sqlite:///{copy}")
    assert [info.id for info in other.tasks()] == [task.id]
    other.close()
