"""The worker processes of one test on one SQLite file, what was done to them, and the case for the judge."""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

import apsw

from kokugen import Scheduler, TaskParam
from kokugen.clock import to_us
from tests.faults.journal import Journal, boot_ns
from tests.faults.judge import Case, call_witness, opened, testimony
from tests.faults.worker import serve

PATIENCE_S = 90.0
LOOK_S = 0.005
LIVE = ("Initialized", "Working")
FAST = {"ttl_s": 6.0, "beat_s": 1.0, "margin_s": 1.0, "rpc_s": 1.0, "watch_s": 0.1, "poll_s": 0.5}
"""Settings with which a dead process is noticed in a tenth of a second, and one that hangs in six seconds."""

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(["pytest", "kokugen.public", "kokugen.repository.sqlite", "tests.faults.worker"])


def await_until(done: Callable[[], bool], what: str) -> None:
    """Look again and again until it is so; fail once the patience is over."""
    end_ns = boot_ns() + int(PATIENCE_S * 1e9)
    while not done():
        assert boot_ns() < end_ns, f"waited {PATIENCE_S} s for {what}"
        threading.Event().wait(LOOK_S)


class Crew:
    """Processes that may be killed, stopped and started at any time."""

    def __init__(self, folder: Path, **numbers: Any) -> None:
        self.path = folder / "tasks.db"
        self.journal = Journal(folder / "journal")
        self.scheduler = Scheduler(f"sqlite:///{self.path}")
        self.scheduler.open()
        call_witness(self.path)
        self.alive: list[BaseProcess] = []
        self.asked: dict[str, int] = {}
        self.killed: dict[int, int] = {}
        self.paused: dict[int, int] = {}
        self._numbers = FAST | numbers

    # -- Tasks

    def ask(self, params: Iterable[TaskParam]) -> list[str]:
        """Schedule tasks and note which of them were acknowledged."""
        params = list(params)
        handles = self.scheduler.schedule_many(params)
        self.asked |= {one.id: to_us(param.scheduled_time) for one, param in zip(handles, params, strict=True)}
        return [handle.id for handle in handles]

    def started(self) -> set[int]:
        """The processes that have written into the journal."""
        return {entry.pid for entry in self.journal.entries()}

    def await_lines(self, count: int) -> None:
        """Wait until the journal has so many lines."""
        await_until(lambda: len(self.journal) >= count, f"line {count} of the journal")

    def await_nodes(self, count: int) -> None:
        """Wait until so many workers have said that they are there."""
        await_until(lambda: len(self.scheduler.nodes()) >= count, f"{count} workers")

    def drain(self) -> None:
        """Wait until all tasks are over; patient as long as it goes on."""
        while left := self._live():
            await_until(lambda before=left: self._live() < before, "the next task's end")  # type: ignore[misc]

    def _live(self) -> int:
        return self.scheduler.count(state=LIVE)

    # -- Processes

    def start(self, count: int = 1, worker: Callable[..., object] = serve) -> list[int]:
        """Start workers and return their process ids; they are at work a moment later."""
        arguments = (self.scheduler.url, self.journal.path, self._numbers)
        started = [processes.Process(target=worker, args=arguments, daemon=True) for _ in range(count)]
        for process in started:
            process.start()
        self.alive += started
        return [process.pid or 0 for process in started]

    def kill(self, index: int = 0) -> None:
        """Kill one with SIGKILL."""
        process = self.alive.pop(index)
        assert process.pid is not None
        assert process.is_alive(), f"a worker ended by itself, with exit code {process.exitcode}"
        self.killed[process.pid] = boot_ns()
        process.kill()
        process.join()

    def bury(self) -> int:
        """Let go of those that died by themselves, and return how many did."""
        dead = [process for process in self.alive if not process.is_alive()]
        for process in dead:
            assert process.pid is not None
            self.killed[process.pid] = 0
        self.alive = [process for process in self.alive if process not in dead]
        return len(dead)

    def pause(self, index: int = 0) -> int:
        """Stop one with SIGSTOP, and return its process id for `resume`.

        One that is stopped amid a transaction would hold up all others, as SQLite's lock is meant to.
        """
        pid = self.alive[index].pid
        assert pid is not None
        self.paused[pid] = boot_ns()
        os.kill(pid, signal.SIGSTOP)
        while is_locked(self.path):
            os.kill(pid, signal.SIGCONT)
            threading.Event().wait(LOOK_S)
            os.kill(pid, signal.SIGSTOP)
        return pid

    @staticmethod
    def resume(pid: int) -> None:
        os.kill(pid, signal.SIGCONT)

    def dismiss(self, index: int = 0) -> int | None:
        """End one with SIGTERM and return its exit code."""
        process = self.alive.pop(index)
        process.terminate()
        process.join(PATIENCE_S)
        return process.exitcode

    # -- The end

    def case(self) -> Case:
        """What is known of it all."""
        tasks = {info.id: info for info in self.scheduler.tasks()}
        return Case(
            asked=self.asked,
            entries=self.journal.entries(),
            tasks=tasks,
            history={task_id: self.scheduler.attempts(task_id) for task_id in tasks},
            steps=testimony(self.path),
            killed=self.killed,
            paused=self.paused,
        )

    def close(self) -> None:
        for process in self.alive:
            process.kill()
            process.join()
        self.scheduler.close()


def is_locked(path: Path) -> bool:
    """Whether somebody is writing, and goes on writing."""
    with opened(path, busy_ms=200) as db:
        try:
            db.execute("BEGIN IMMEDIATE; ROLLBACK")
        except apsw.BusyError:
            return True
    return False


def soon(delay_s: float = 0.0) -> datetime:
    """Now, or a little later."""
    return datetime.now(UTC) + timedelta(seconds=delay_s)
