"""The worker processes of one test on one store, what was done to them, and the case for the judge."""

from __future__ import annotations

import logging
import multiprocessing
import os
import signal
import threading
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import UTC, datetime, timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeVar

from kokugen import Scheduler, TaskParam
from kokugen.clock import SystemClock, to_us
from kokugen.errors import RepositoryError
from kokugen.ids import IdSource, system_random
from kokugen.repository.rows import CancelResult
from kokugen.task import replace
from tests.faults.ground import Ground, SqliteGround
from tests.faults.journal import Journal, boot_ns
from tests.faults.judge import Case
from tests.faults.worker import LOGGERS, listen, serve

PATIENCE_S = 90.0
LOOK_S = 0.005
LIVE = ("Initialized", "Working")
FAST = {"ttl_s": 6.0, "beat_s": 1.0, "margin_s": 1.0, "rpc_s": 1.0, "watch_s": 0.1, "poll_s": 0.5}
"""Settings with which a dead process is noticed in a tenth of a second, and one that hangs in six seconds."""

T = TypeVar("T")

processes = multiprocessing.get_context("forkserver")
processes.set_forkserver_preload(
    ["pytest", "kokugen.public", "kokugen.repository.sqlite", "kokugen.repository.postgres", "tests.faults.worker"]
)


def await_until(done: Callable[[], bool], what: str, look_s: float = LOOK_S) -> None:
    """Look again and again until it is so; fail once the patience is over."""
    end_ns = boot_ns() + int(PATIENCE_S * 1e9)
    while not done():
        assert boot_ns() < end_ns, f"waited {PATIENCE_S} s for {what}"
        threading.Event().wait(look_s)


class Crew:
    """Processes that may be killed, stopped and started at any time."""

    def __init__(self, folder: Path, ground: Ground | None = None, **numbers: Any) -> None:
        self.ground = ground or SqliteGround(folder)
        self.journal = Journal(folder / "journal")
        self._ear = listen(self.journal)
        self.scheduler = Scheduler(self.ground.direct)
        self.scheduler.open()
        self.ground.call_witness()
        self.client = Scheduler(self.ground.url)
        self.client.open()
        self.alive: list[BaseProcess] = []
        self.asked: dict[str, int] = {}
        self.cancelled: dict[str, int] = {}
        self.requested: dict[str, int] = {}
        self.killed: dict[int, int] = {}
        self.paused: dict[int, list[int]] = defaultdict(list)
        self.unanswered = 0
        """How many calls of the client ended with an error of the store."""
        self.longest_s = 0.0
        """How long the longest call of the client took."""
        self._numbers = FAST | numbers
        self._ids = IdSource(SystemClock(), system_random())

    # -- Tasks

    def ask(self, params: Iterable[TaskParam]) -> list[str]:
        """Schedule tasks, again and again until they are acknowledged, and return their ids."""
        named = [param if param.id else replace(param, id=self._ids.task_id()) for param in params]
        handles = self.insist(lambda: self.client.schedule_many(named))
        self.asked |= {one.id: to_us(param.scheduled_time) for one, param in zip(handles, named, strict=True)}
        return [handle.id for handle in handles]

    def cancel(self, task_id: str) -> CancelResult:
        """Cancel a task, and note what was answered and when."""
        result = self.insist(lambda: self.client.cancel(task_id))[0].result
        noted = {CancelResult.CANCELLED: self.cancelled, CancelResult.REQUESTED: self.requested}.get(result, {})
        noted[task_id] = boot_ns()
        return result

    def insist(self, call: Callable[[], T]) -> T:
        """Repeat a call of the client until the store answers it."""
        end_ns = boot_ns() + int(PATIENCE_S * 1e9)
        while True:
            begun_ns = boot_ns()
            try:
                return call()
            except RepositoryError as error:
                self.unanswered += 1
                if boot_ns() > end_ns:
                    raise AssertionError(f"the store did not answer for {PATIENCE_S} s") from error
            finally:
                self.longest_s = max(self.longest_s, (boot_ns() - begun_ns) / 1e9)

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

    def start(self, count: int = 1, worker: Callable[..., object] = serve, *more: Any) -> list[int]:
        """Start workers and return their process ids; they are at work a moment later."""
        arguments = (self.ground.url, self.journal.path, self._numbers, *more)
        started = [processes.Process(target=worker, args=arguments, daemon=True) for _ in range(count)]
        for process in started:
            process.start()
        self.alive += started
        return [process.pid or 0 for process in started]

    def kill(self, index: int = 0) -> int:
        """Kill one with SIGKILL, and return its process id."""
        process = self.alive.pop(index)
        assert process.pid is not None
        assert process.is_alive(), f"a worker ended by itself, with exit code {process.exitcode}"
        self.killed[process.pid] = boot_ns()
        process.kill()
        process.join()
        return process.pid

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
        stop(pid)
        while self.ground.is_held_up():
            os.kill(pid, signal.SIGCONT)
            threading.Event().wait(LOOK_S)
            stop(pid)
        self.paused[pid].append(boot_ns())
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
        return Case(
            asked=self.asked,
            entries=self.journal.entries(),
            tasks={info.id: info for info in self.scheduler.tasks()},
            history=self.ground.history(),
            steps=self.ground.testimony(),
            killed=self.killed,
            paused=self.paused,
            cancelled=self.cancelled,
            requested=self.requested,
        )

    def close(self) -> None:
        for process in self.alive:
            process.kill()
            process.join()
        self.client.close()
        self.scheduler.close()
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._ear)


def stop(pid: int) -> None:
    """Stop a process, and return once it stands still: a busy machine may let it run on for a moment."""
    os.kill(pid, signal.SIGSTOP)
    stat = Path(f"/proc/{pid}/stat")
    if stat.exists():
        await_until(lambda: stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] == "T", "the stop")


def wall_us() -> int:
    """Now, in microseconds."""
    return SystemClock().wall_us()


def soon(delay_s: float = 0.0) -> datetime:
    """Now, or a little later."""
    return datetime.now(UTC) + timedelta(seconds=delay_s)
