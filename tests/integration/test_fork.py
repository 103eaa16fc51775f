"""A forked child of a process that runs work has nothing of its runs, and may schedule and run on its own."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from kokugen import Scheduler, TaskState
from kokugen.repository.rows import CancelResult

WITHIN = timedelta(seconds=20)
NOW = timedelta(0)

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no fork on Windows"),
    pytest.mark.filterwarnings("ignore:.*use of fork:DeprecationWarning"),
]


def in_a_child(make: Callable[[], Any]) -> Any:
    """Return what `make` returns in a forked child, where it may take twenty seconds."""
    reader, writer = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.write(writer, json.dumps(make()).encode())
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as answer:
        text = answer.read()
    os.waitpid(child, 0)
    return json.loads(text)


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
