"""A forked child of a process that runs work has nothing of its runs, and may schedule and run on its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from multiprocessing import Pipe
from pathlib import Path
from threading import Event
from traceback import format_exc
from typing import Any

import pytest

from kokugen import Scheduler, TaskState
from kokugen.repository.rows import CancelResult

WITHIN = timedelta(seconds=20)
NOW = timedelta(0)
LATER = timedelta(days=1)

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def in_a_child(make: Callable[[], Any]) -> Any:
    """Return what `make` returns in a forked child, or how it failed there."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(make()).encode())
        except BaseException:
            os.write(writer, json.dumps(format_exc()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


def _remind(text: str) -> None: ...


@pytest.fixture
def scheduler(tmp_path: Path) -> Scheduler:
    return Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", workers=1)


def test_a_child_cannot_stop_what_its_parent_is_about_to_start(scheduler: Scheduler) -> None:
    entered, leave, ran = Event(), Event(), Event()

    @scheduler.work
    def block() -> None:
        entered.set()
        assert leave.wait(WITHIN.total_seconds())

    @scheduler.work
    def remind() -> None:
        ran.set()

    with scheduler:
        scheduler.after(NOW, block)
        assert entered.wait(WITHIN.total_seconds())
        buffered = scheduler.after(NOW, remind)
        while scheduler.get(buffered.id).state is TaskState.INITIALIZED:
            Event().wait(0.001)
        answer = in_a_child(lambda: [scheduler.cancel(buffered.id)[0].result.value, scheduler.active])
        leave.set()
        buffered.wait(WITHIN)
        assert answer in ([CancelResult.REQUESTED, 0], [CancelResult.CANCELLED, 0])
        assert not (ran.is_set() and answer[0] == CancelResult.CANCELLED)


def test_a_child_runs_work_with_workers_and_a_store_of_its_own(scheduler: Scheduler) -> None:
    @scheduler.work
    def whose() -> int:
        return os.getpid()

    def run_there() -> list[int]:
        scheduler.add_workers(2)
        scheduler.start()
        ran_in = scheduler.after(NOW, whose).result(WITHIN)
        scheduler.close()
        return [ran_in, os.getpid()]

    with scheduler:
        assert scheduler.after(NOW, whose).result(WITHIN) == os.getpid()
        scheduler.stop()
        ran_in, child = in_a_child(run_there)
        assert ran_in == child != os.getpid()
        scheduler.start()
        assert scheduler.after(NOW, whose).result(WITHIN) == os.getpid()


@pytest.mark.parametrize(("scheme", "forks"), [("sqlite", 25), ("sqlite+sqlite3", 5)])
def test_a_child_finds_no_lock_of_what_its_parent_writes(tmp_path: Path, scheme: str, forks: int) -> None:
    scheduler = Scheduler(f"{scheme}:///{tmp_path / 'tasks.db'}")
    remind = scheduler.work(id="remind")(_remind)
    stop = Event()

    def write_on() -> int:
        written = 0
        while not stop.is_set():
            scheduler.after(LATER, remind, "the parent's")
            written += 1
        return written

    with ThreadPoolExecutor(2) as beside:
        writers = [beside.submit(write_on) for _ in range(2)]
        try:
            theirs = [in_a_child(lambda: scheduler.after(LATER, remind, "a child's").id) for _ in range(forks)]
        finally:
            stop.set()
        written = sum(writer.result() for writer in writers)
    assert [scheduler.get(task_id).param.args for task_id in theirs] == [("a child's",)] * forks
    assert scheduler.count() == written + forks
    scheduler.close()


def test_what_a_child_writes_outlives_that_its_parent_closes_the_store(tmp_path: Path) -> None:
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}")
    remind = scheduler.work(id="remind")(_remind)
    scheduler.after(LATER, remind, "before")
    (hear_child, tell_parent), (hear_parent, tell_child) = Pipe(), Pipe()

    def write() -> str:
        scheduler.after(LATER, remind, "both have it open")
        tell_parent.send("opened")
        hear_parent.recv()
        return scheduler.after(LATER, remind, "the parent closed it").id

    def close() -> None:
        hear_child.recv()
        scheduler.close()
        tell_child.send("closed")

    with ThreadPoolExecutor(1) as beside:
        closing = beside.submit(close)
        theirs = in_a_child(write)
        closing.result()
    assert scheduler.get(theirs).work_id == "remind"
    assert scheduler.count() == 3
    scheduler.close()
