"""Real processes without a leader, killed while they turn schedules into tasks: nothing missing, nothing twice."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from datetime import timedelta
from multiprocessing.process import BaseProcess
from pathlib import Path
from random import Random

import pytest

from kokugen import FunctionRegistry, Scheduler
from kokugen.ids import occurrence_id
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import load_spec
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import Ledger, LedgerQuery, Reason, ScheduleQuery, ScheduleRow
from kokugen.testing.suite.lab import ask
from tests.faults.crew import await_until, processes
from tests.servers.stores import store_url

KILLS = int(os.environ.get("KOKUGEN_KILLS", "6"))
PROCESSES = 4
SCHEDULES = 40
PERIOD = timedelta(milliseconds=100)
FOREVER = 2**53


def works() -> FunctionRegistry:
    found = FunctionRegistry()

    @found.work
    def tick() -> None: ...

    return found


def serve(url: str) -> None:
    Scheduler(url, works=works(), workers=2).run()


class Fleet:
    """Processes on one store that are killed and started again."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.client = Scheduler(url, works=works())
        self.client.open()
        self.alive: list[BaseProcess] = []
        repository = self.client.repository
        assert isinstance(repository, ScheduleRepository)
        self.store = repository

    def start(self) -> None:
        process = processes.Process(target=serve, args=(self.url,))
        process.start()
        self.alive.append(process)

    def kill(self, victim: BaseProcess) -> None:
        self.alive.remove(victim)
        assert victim.pid is not None
        os.kill(victim.pid, signal.SIGKILL)
        victim.join()

    def rows(self) -> list[ScheduleRow]:
        return ask(self.store.schedules(ScheduleQuery(limit=1000)))

    def decisions(self) -> int:
        return sum(row.rev for row in self.rows())

    def await_decisions(self, count: int) -> None:
        goal = self.decisions() + count
        await_until(lambda: self.decisions() >= goal, f"{count} more decisions", look_s=0.01)

    def close(self) -> None:
        for process in list(self.alive):
            self.kill(process)
        self.client.close()

    def whole(self, name: str) -> tuple[ScheduleRow, Ledger]:
        """Read a schedule and its ledger of one moment: a server may still carry out what a dead process asked for."""
        while True:
            (row,) = ask(self.store.schedules(ScheduleQuery(names=(name,))))
            ledger = ask(self.store.ledger(LedgerQuery(schedule_id=row.id, first=-FOREVER, last=FOREVER)))
            if ask(self.store.schedules(ScheduleQuery(names=(name,)))) == [row]:
                return row, ledger

    def check(self, name: str) -> None:
        """Compare what was decided and made with what the trigger says."""
        row, found = self.whole(name)
        trigger = load_spec(row.spec)
        assert isinstance(trigger, Every)
        truth = list(trigger.walk_us(row.created_at + 1, row.decided + 1))
        decided = [at for entry in found.rows for at in trigger.walk_us(entry.first, entry.last + 1)]
        assert decided == truth
        made = [
            at
            for entry in found.rows
            if entry.reason == Reason.MADE
            for at in trigger.walk_us(entry.first, entry.last + 1)
        ]
        assert [task.nominal for task in found.tasks] == made[-1000:]
        assert [task.id for task in found.tasks] == [occurrence_id(row.id, at) for at in made[-1000:]]
        assert sum(entry.count or 0 for entry in found.rows) == len(truth)
        assert row.runs == len(made)


@pytest.fixture(params=["sqlite", "postgres"])
def fleet(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Fleet]:
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path / 'tasks.db'}"
    else:
        url = store_url(request.getfixturevalue("postgres"), tmp_path)
    fleet = Fleet(url)
    yield fleet
    fleet.close()


def test_processes_that_are_killed_while_they_decide_miss_no_time_and_make_none_twice(fleet: Fleet) -> None:
    work = works().load("tick")
    assert work is not None
    for number in range(SCHEDULES):
        fleet.client.every(PERIOD, work.options(name=f"n{number:02d}", overlap="allow"))
    random = Random(KILLS)
    for _ in range(PROCESSES):
        fleet.start()
    for _ in range(KILLS):
        fleet.await_decisions(random.randrange(1, 2 * SCHEDULES))
        fleet.kill(random.choice(fleet.alive))
        fleet.start()
    fleet.await_decisions(2 * SCHEDULES)
    while fleet.alive:
        fleet.kill(fleet.alive[0])
    rows = fleet.rows()
    assert len(rows) == SCHEDULES
    for row in rows:
        fleet.check(row.name)
