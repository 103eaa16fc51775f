"""Where the demo plays: schedules the reminders, starts the worker, kills it twice, waits until all is over.

Called by the command; what it saw goes to the report.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from threading import Event

from msgspec import Struct

from kokugen import Scheduler, TaskParam, TaskState
from kokugen.cli.demo.deliveries import count_deliveries
from kokugen.cli.demo.reminders import Reminder, shifted
from kokugen.cli.progress import Bar
from kokugen.clock import Clock, from_us
from kokugen.errors import RepositoryError

LEAD = timedelta(seconds=2)
SPAN = timedelta(seconds=12)
PATIENCE = timedelta(seconds=90)
"""How long after the last due time the demo goes on waiting: longer than any lease."""
KILL_AT = (1 / 3, 2 / 3)
LOOK_S = 0.003
REST_S = 0.05
STOP_S = 10


class Outage(Struct, frozen=True):
    """A time without a worker: from its kill until the next one said that it runs."""

    from_us: int
    until_us: int


class Stage:
    """One showing of the demo."""

    def __init__(self, scheduler: Scheduler, log: Path, clock: Clock, bar: Bar) -> None:
        self.scheduler = scheduler
        self.log = log
        self.outages: list[Outage] = []
        self._clock = clock
        self._bar = bar
        self._worker: subprocess.Popen[bytes] | None = None
        self._pause = Event()
        self._shown = 0
        self._total = 0

    def schedule(self, reminders: Sequence[Reminder]) -> list[str]:
        """Schedule the reminders into the next seconds; return the ids of their tasks."""
        start = from_us(self._clock.wall_us()) + LEAD
        handles = self.scheduler.schedule_many(map(_param, shifted(reminders, start, SPAN)))
        self._total = len(handles)
        zones = len({str(reminder.when.tzinfo) for reminder in reminders})
        self._bar.say(f"{len(handles)} reminders in {zones} time zones, due within {SPAN.seconds} s")
        return [handle.id for handle in handles]

    def play(self) -> None:
        """Run the worker until all tasks are over, and kill it on the way. Nothing it started outlives this."""
        try:
            self._start()
            for share in KILL_AT:
                self._await_deliveries(round(self._total * share))
                self._kill_and_restart()
            self._await_the_end()
        finally:
            self._end()

    def _start(self) -> None:
        command = [sys.executable, "-m", "kokugen.cli.demo.worker", self.scheduler.url, str(self.log)]
        self._worker = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)  # noqa: S603 - our own
        assert self._worker.stdout is not None, "stdout was asked for"
        if self._worker.stdout.readline().strip() != b"ready":
            raise RepositoryError(f"the demo's worker ended at once, with exit code {self._worker.wait()}")
        self._bar.say(f"worker {self._worker.pid} runs")

    def _kill_and_restart(self) -> None:
        worker = self._running()
        killed_us = self._clock.wall_us()
        worker.kill()
        worker.wait()
        _close(worker)
        self._bar.say(f"worker {worker.pid} was killed (SIGKILL) after {count_deliveries(self.log)} deliveries")
        self._start()
        self.outages.append(Outage(killed_us, self._clock.wall_us()))

    def _await_deliveries(self, count: int) -> None:
        """Return as soon as so many lines are in the log: then the last of them is not marked as done yet."""
        end_s = self._clock.boot_s() + (LEAD + SPAN + PATIENCE).total_seconds()
        while (delivered := count_deliveries(self.log)) < count:
            self._show(delivered)
            self._refuse_dead()
            if self._clock.boot_s() > end_s:
                return
            self._pause.wait(LOOK_S)

    def _await_the_end(self) -> None:
        end_s = self._clock.boot_s() + (LEAD + SPAN + PATIENCE).total_seconds()
        live = {TaskState.INITIALIZED, TaskState.WORKING}
        while self.scheduler.count(state=live) and self._clock.boot_s() < end_s:
            self._show(count_deliveries(self.log))
            self._refuse_dead()
            self._pause.wait(REST_S)
        self._show(count_deliveries(self.log))

    def _show(self, deliveries: int) -> None:
        delivered = min(deliveries, self._total)
        self._bar.advance(delivered - self._shown)
        self._shown = delivered

    def _refuse_dead(self) -> None:
        worker = self._running()
        if worker.poll() is not None:
            raise RepositoryError(f"the demo's worker ended by itself, with exit code {worker.returncode}")

    def _running(self) -> subprocess.Popen[bytes]:
        assert self._worker is not None, "a worker was started"
        return self._worker

    def _end(self) -> None:
        """Let the worker stop, and kill it if it does not."""
        if self._worker is None:
            return
        _close(self._worker)
        try:
            self._worker.wait(STOP_S)
        except subprocess.TimeoutExpired:
            self._bar.say(f"worker {self._worker.pid} did not stop within {STOP_S} seconds, and is killed")
        finally:
            self._worker.kill()
            self._worker.wait()


def _param(reminder: Reminder) -> TaskParam:
    return TaskParam(work_id="remind", scheduled_time=reminder.when, param={"who": reminder.who, "text": reminder.text})


def _close(worker: subprocess.Popen[bytes]) -> None:
    for pipe in (worker.stdin, worker.stdout):
        if pipe is not None:
            pipe.close()
