"""Workers killed with SIGKILL, a hundred times, amid their runs: nothing is lost, and nothing is done twice.

KOKUGEN_KILLS is how often (100).
"""

from __future__ import annotations

import os
import sys
from random import Random

import pytest

from kokugen import TaskParam, TaskState
from kokugen.task import Mode
from tests.faults.crew import Crew, soon
from tests.faults.journal import START
from tests.faults.judge import judge

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX")

KILLS = int(os.environ.get("KOKUGEN_KILLS", "100"))
WORKERS = 3
TASKS_A_KILL = 30
SEED = 20260101


def tasks(random: Random) -> list[TaskParam]:
    """Some due now, some in a moment; a fifth of them may run once only."""
    return [
        TaskParam(
            work_id="step",
            scheduled_time=soon(random.choice((0.0, 0.0, 0.3 * random.random()))),
            param=[random.randrange(6000)],
            mode="at_most_once" if random.random() < 0.2 else "at_least_once",
            max_lost=1000,
        )
        for _ in range(TASKS_A_KILL)
    ]


@pytest.mark.timeout(200 + KILLS)
def test_kill_after_kill_loses_nothing_and_doubles_nothing(crew: Crew) -> None:
    random = Random(SEED)
    crew.start(WORKERS)
    for _ in range(KILLS):
        enough = len(crew.journal) + random.randrange(2, TASKS_A_KILL)
        crew.ask(tasks(random))
        crew.await_lines(enough)
        crew.kill(random.randrange(WORKERS))
        crew.start()
    crew.drain()
    case = crew.case()

    assert judge(case) == []
    assert len(case.killed) == KILLS
    assert len(case.tasks) == KILLS * TASKS_A_KILL
    cut_off = [one for one in case.tasks.values() if one.mode is Mode.AT_MOST_ONCE and one.state is TaskState.FAILED]
    runs = [entry for entry in case.entries if entry.event == START]
    assert cut_off, "no run that may happen once was hit: this showed nothing"
    assert len(runs) > len({run.task_id for run in runs}), "no run was ever taken over: this showed nothing"
