"""`kokugen worker MODULE:SCHEDULER`, as a process of its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from kokugen import Scheduler, TaskState

from .conftest import CommandLine

NOW = timedelta(0)
LONG = timedelta(seconds=30)

JOBS = """
    import asyncio, os, threading
    from pathlib import Path
    from kokugen import AsyncScheduler, Scheduler

    scheduler = Scheduler()
    loop_scheduler = AsyncScheduler()

    @scheduler.work
    def remind(who: str = "nobody") -> str:
        return f"told {who}"

    @loop_scheduler.work
    async def knock() -> str:
        return "knocked"

    @scheduler.work
    def hang() -> None:
        Path("hanging").touch()
        threading.Event().wait()

    @loop_scheduler.work
    async def break_down() -> None:
        loop_scheduler.repository.claim = None
        await stay.fn()

    @loop_scheduler.work
    async def stay() -> None:
        Path("staying").touch()
        while True:
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                continue
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture
def start(kokugen: CommandLine, scheduler: Scheduler) -> Iterator[Start]:
    """Starts a worker beside the store, and returns once it says that it runs. It is killed in the end."""
    folder = kokugen.path.parent
    (folder / "jobs.py").write_text(textwrap.dedent(JOBS), encoding="ascii")
    started: list[subprocess.Popen[str]] = []

    def start(*words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kokugen.cli", "worker", *words]
        environment = {**os.environ, "KOKUGEN_URL": kokugen.url}
        worker = subprocess.Popen(command, cwd=folder, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(worker)
        assert worker.stderr is not None
        assert "runs the work due in" in worker.stderr.readline()
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


def end(worker: subprocess.Popen[str], number: int = signal.SIGTERM) -> int:
    worker.send_signal(number)
    return worker.wait(30)


def wait_for(path: Path) -> None:
    """Wait until another process made the file."""
    from threading import Event

    for _ in range(3000):
        if path.exists():
            return
        Event().wait(0.01)
    raise AssertionError(f"{path} was not made")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_runs_what_is_due_until_it_is_told_to_stop(
    start: Start, kokugen: CommandLine, scheduler: Scheduler, number: int
) -> None:
    worker = start("jobs:scheduler", "--workers", "2")
    task_id = kokugen.json("schedule", "remind", "--in", "0s", "--kwarg", "who=Ann")["id"]
    assert scheduler.result(task_id, LONG) == "told Ann"
    assert end(worker, number) == 0


def test_it_runs_an_async_scheduler_too(start: Start, kokugen: CommandLine, scheduler: Scheduler) -> None:
    worker = start("jobs:loop_scheduler")
    task_id = kokugen.json("schedule", "knock", "--in", "0s")["id"]
    assert scheduler.result(task_id, LONG) == "knocked"
    assert end(worker) == 0


def test_it_serves_the_queues_that_it_is_told_to(start: Start, kokugen: CommandLine, scheduler: Scheduler) -> None:
    start("jobs:scheduler", "--queues", "mail,fax")
    waiting = kokugen.json("schedule", "remind", "--in", "0s")["id"]
    sent = kokugen.json("schedule", "remind", "--in", "0s", "--queue", "fax")["id"]
    assert scheduler.wait(sent, LONG).state is TaskState.DONE
    assert scheduler.get(waiting).state is TaskState.INITIALIZED


def hanging(start: Start, kokugen: CommandLine, *words: str) -> subprocess.Popen[str]:
    worker = start("jobs:scheduler", *words)
    kokugen.done("schedule", "hang", "--in", "0s", "--id", "hanging")
    wait_for(kokugen.path.with_name("hanging"))
    return worker


def test_a_thread_that_will_not_stop_is_ended_after_the_grace_period(
    start: Start, kokugen: CommandLine, scheduler: Scheduler
) -> None:
    worker = hanging(start, kokugen, "--grace", "100ms")
    check_abandoned(worker, "hanging", scheduler)


def test_a_coroutine_that_will_not_be_cancelled_is_ended_after_the_grace_period(
    start: Start, kokugen: CommandLine, scheduler: Scheduler
) -> None:
    worker = start("jobs:loop_scheduler", "--grace", "100ms")
    kokugen.done("schedule", "stay", "--in", "0s", "--id", "staying")
    wait_for(kokugen.path.with_name("staying"))
    check_abandoned(worker, "staying", scheduler)


def test_a_worker_whose_engine_broke_down_ends_whatever_still_runs(start: Start, kokugen: CommandLine) -> None:
    worker = start("jobs:loop_scheduler")
    kokugen.done("schedule", "break_down", "--in", "0s")
    assert worker.wait(30) == 1
    assert worker.stderr is not None
    assert "stopped by itself" in worker.stderr.readlines()[-1]


def check_abandoned(worker: subprocess.Popen[str], task_id: str, scheduler: Scheduler) -> None:
    """Check that the worker ends without waiting for this run, and has told other nodes so."""
    assert end(worker) == 1
    assert worker.stderr is not None
    assert "grace" in worker.stderr.read()
    (left,) = scheduler.repository.watch("another node").result()
    assert (left.id, left.ttl_s) == (task_id, 2.0), "other nodes need not wait for the whole ttl"


def test_a_second_signal_ends_it_at_once(start: Start, kokugen: CommandLine) -> None:
    worker = hanging(start, kokugen, "--grace", "1h")
    worker.send_signal(signal.SIGTERM)
    assert worker.stderr is not None
    assert "second signal" in worker.stderr.readline()
    assert end(worker) == 128 + signal.SIGTERM


def test_a_module_that_fails_is_refused_in_one_line(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kokugen.path.with_name("broken_jobs.py").write_text("raise RuntimeError('no\\nway')", encoding="ascii")
    monkeypatch.chdir(kokugen.path.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    assert "RuntimeError: no way" in kokugen.refused("worker", "broken_jobs:scheduler")


def test_a_store_that_cannot_be_opened_is_refused(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kokugen.path.with_name("lost_jobs.py").write_text(
        "from kokugen import Scheduler\nscheduler = Scheduler('sqlite:////no/such/directory/tasks.db')",
        encoding="ascii",
    )
    monkeypatch.chdir(kokugen.path.parent)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(signal, "signal", lambda *_: None)
    assert "/no/such/directory" in kokugen.refused("worker", "lost_jobs:scheduler")
