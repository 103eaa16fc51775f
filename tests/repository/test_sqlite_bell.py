"""The bell of a file: what one process makes due soon, the others hear of at once; and it never gets in the way."""

from __future__ import annotations

import socket
import stat
from collections.abc import Callable, Iterator
from contextlib import closing, suppress
from pathlib import Path
from queue import SimpleQueue

import pytest

from kokugen.repository.protocol import STOP_ASKED
from kokugen.repository.rows import CancelRequest, NewTask
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.bell import Bell
from kokugen.repository.sqlite.connection import connect
from kokugen.repository.sqlite.library import Apsw, Library, Standard
from kokugen.testing import ManualClock
from kokugen.testing.suite.lab import SECOND_US, ask

PATIENCE_S = 10

NewBell = Callable[[str], Bell]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "tasks.db"


@pytest.fixture
def clock() -> ManualClock:
    return ManualClock()


@pytest.fixture
def heard(store: Path, clock: ManualClock) -> Iterator[SimpleQueue[int]]:
    """What a second process would hear; hints of 0 come from the writer's own look and do not count."""
    hints: SimpleQueue[int] = SimpleQueue()
    listener = SQLiteRepository(store, clock=clock)
    listener.listen(lambda due_us: hints.put(due_us) if due_us else None)
    yield hints
    listener.close()


@pytest.fixture
def new_bell(store: Path) -> Iterator[NewBell]:
    """Make a bell of the file; all are closed in the end."""
    made: list[Bell] = []

    def make(name: str) -> Bell:
        made.append(Bell(store, name))
        return made[-1]

    yield make
    for bell in made:
        bell.close()


def task(number: int, due_at: int) -> NewTask:
    return NewTask(id=f"00000000-0000-7000-8000-{number:012d}", work_id="w", due_at=due_at, scheduled_time=due_at)


def folder_of(store: Path) -> Path:
    return store.with_name("tasks.db-wake")


def test_others_hear_when_a_task_is_due_soon(store: Path, clock: ManualClock, heard: SimpleQueue[int]) -> None:
    due_at = clock.wall_us() + SECOND_US
    with_store = SQLiteRepository(store, clock=clock)
    ask(with_store.add([task(1, due_at)]))
    assert heard.get(timeout=PATIENCE_S) == due_at
    with_store.close()


@pytest.mark.parametrize("library", [Apsw, Standard])
def test_a_commit_that_no_bell_was_rung_for_is_noticed_all_the_same(
    store: Path, library: Callable[[], Library]
) -> None:
    hints: SimpleQueue[int] = SimpleQueue()
    listener = SQLiteRepository(store, library=library())
    listener.listen(hints.put)
    ask(listener.add([]))
    with closing(connect(library(), store)) as db:
        for number in range(3):  # the first look may be one that has nothing to compare with
            db.execute("INSERT INTO meta VALUES (?, 'from elsewhere')", (str(number),))
            assert hints.get(timeout=PATIENCE_S) == 0
    listener.close()


def test_others_hear_that_runs_may_have_been_asked_to_stop(
    store: Path, clock: ManualClock, heard: SimpleQueue[int]
) -> None:
    teller = SQLiteRepository(store, clock=clock)
    ask(teller.cancel(CancelRequest(ids=("a",))))
    assert heard.get(timeout=PATIENCE_S) == STOP_ASKED
    teller.close()


def test_what_is_due_later_rings_no_bell(store: Path, clock: ManualClock, heard: SimpleQueue[int]) -> None:
    with_store = SQLiteRepository(store, clock=clock)
    ask(with_store.add([task(1, clock.wall_us() + 3600 * SECOND_US)]))
    ask(with_store.add([task(2, clock.wall_us() + 1)]))
    assert heard.get(timeout=PATIENCE_S) == clock.wall_us() + 1
    assert heard.empty()
    with_store.close()


def test_a_bell_does_not_hear_itself(new_bell: NewBell) -> None:
    hints: SimpleQueue[int] = SimpleQueue()
    first, second = new_bell("first"), new_bell("second")
    first.listen(hints.put)
    first.ring(1)
    second.ring(2)
    assert hints.get(timeout=PATIENCE_S) == 2


def test_the_sockets_are_for_this_user_alone_and_go_with_the_last_listener(store: Path) -> None:
    bells = [Bell(store, "a"), Bell(store, "b")]
    for bell in bells:
        bell.listen(lambda _: None)
    assert stat.S_IMODE(folder_of(store).stat().st_mode) == 0o700
    assert sorted(path.name for path in folder_of(store).iterdir()) == ["a.sock", "b.sock"]
    for bell in bells:
        bell.close()
    assert not folder_of(store).exists()


def test_what_a_killed_process_left_is_cleared_away(store: Path) -> None:
    folder_of(store).mkdir()
    dead = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    dead.bind(str(folder_of(store) / "dead.sock"))
    dead.close()
    bell = Bell(store, "alive")
    bell.ring(1)
    assert list(folder_of(store).iterdir()) == []
    bell.close()


def test_a_listener_that_does_not_listen_keeps_nobody_waiting(store: Path) -> None:
    folder_of(store).mkdir()
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as deaf:
        deaf.bind(str(folder_of(store) / "deaf.sock"))
        bell = Bell(store, "alive")
        for number in range(10_000):
            bell.ring(number)
        bell.close()
        assert (folder_of(store) / "deaf.sock").exists()


@pytest.mark.parametrize("message", [b"x", b"x" * 60, b"\xff" * 9])
def test_a_message_that_is_none_is_passed_over(store: Path, new_bell: NewBell, message: bytes) -> None:
    hints: SimpleQueue[int] = SimpleQueue()
    new_bell("a").listen(hints.put)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as stranger:
        stranger.sendto(message, str(folder_of(store) / "a.sock"))
    new_bell("b").ring(7)
    assert hints.get(timeout=PATIENCE_S) == 7


def test_a_long_path_is_no_obstacle(tmp_path: Path) -> None:
    deep = tmp_path / ("d" * 100) / ("e" * 100)
    deep.mkdir(parents=True)
    hints: SimpleQueue[int] = SimpleQueue()
    ear, mouth = Bell(deep / "tasks.db", "a"), Bell(deep / "tasks.db", "b")
    ear.listen(hints.put)
    mouth.ring(7)
    assert hints.get(timeout=PATIENCE_S) == 7
    ear.close()
    mouth.close()


def test_without_the_right_to_write_beside_the_file_there_is_no_bell_and_no_error(tmp_path: Path) -> None:
    (tmp_path / "tasks.db-wake").write_text("a file, where a directory would be")
    bell = Bell(tmp_path / "tasks.db", "a")
    bell.listen(lambda _: None)
    bell.ring(1)
    bell.close()


def test_no_descriptor_stays_open(store: Path) -> None:
    def opened() -> set[str]:
        found = set()
        for entry in Path("/proc/self/fd").iterdir():
            with suppress(FileNotFoundError):  # the one of the listing itself, and what others close meanwhile
                found.add(str(entry.readlink()))
        return {name for name in found if name.startswith("socket:")}

    before = opened()
    for number in range(20):
        bell = Bell(store, f"n{number}")
        bell.listen(lambda _: None)
        bell.ring(1)
        bell.close()
        assert bell._thread is not None
        bell._thread.join(PATIENCE_S)
    assert not opened() - before
