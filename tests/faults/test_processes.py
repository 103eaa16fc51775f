"""Several processes on one file: each task runs once, whoever is stopped, restarted or dies of it."""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path
from random import Random
from typing import Any

import pytest

from kokugen import TaskParam, TaskState
from kokugen.task import ModeName
from tests.faults.crew import Crew, await_until, soon
from tests.faults.journal import END, REFUSED, START, Entry
from tests.faults.judge import Case, Kind, judge
from tests.faults.worker import serve, serve_alone, serve_async

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP and SIGKILL are of POSIX"),
    pytest.mark.timeout(300),
]

BRIEF: dict[str, Any] = {"ttl_s": 4.0, "beat_s": 1.0, "margin_s": 1.0, "rpc_s": 0.5, "watch_s": 0.2, "poll_s": 0.5}
PATIENT: dict[str, Any] = {"ttl_s": 3600.0, "beat_s": 600.0, "margin_s": 600.0, "rpc_s": 10.0}


def steps(random: Random, count: int, spread_s: float) -> list[TaskParam]:
    return [
        TaskParam(
            work_id=random.choice(("step", "async_step")),
            scheduled_time=soon(spread_s * random.random()),
            param=[random.randrange(3000)],
        )
        for _ in range(count)
    ]


def events(case: Case, event: str) -> list[Entry]:
    return [entry for entry in case.entries if entry.event == event]


def test_four_processes_run_each_task_once(crew: Crew) -> None:
    crew.start(4)
    crew.await_nodes(4)
    crew.ask(steps(Random(1), 2000, spread_s=3.0))
    crew.drain()
    case = crew.case()

    assert judge(case) == []
    runs = events(case, START)
    assert Counter(run.task_id for run in runs) == dict.fromkeys(case.asked, 1)
    assert {info.state for info in case.tasks.values()} == {TaskState.DONE}
    assert {(info.attempt, info.lost) for info in case.tasks.values()} == {(1, 0)}
    assert len({run.pid for run in runs}) > 1


def test_workers_restarted_one_after_the_other_lose_nothing_and_burn_no_attempt(crew: Crew) -> None:
    random, exit_codes = Random(2), list[int | None]()
    crew.start(2)
    crew.await_nodes(2)
    for restart in range(20):
        worker = serve_async if restart % 2 else serve
        lines = len(crew.journal)
        crew.ask(steps(random, 60, spread_s=0.3))
        crew.await_lines(lines + random.randrange(10, 60))
        exit_codes.append(crew.dismiss())
        crew.start(worker=worker)
        crew.await_nodes(3 + restart)
    crew.drain()
    case = crew.case()

    assert judge(case) == []
    assert exit_codes == [0] * 20
    assert Counter(run.task_id for run in events(case, START)) == dict.fromkeys(case.asked, 1)
    assert {(info.state, info.attempt, info.lost) for info in case.tasks.values()} == {(TaskState.DONE, 1, 0)}
    stopped = [node for node in crew.scheduler.nodes() if node.stopped_at is not None]
    assert len(stopped) == 20


@pytest.mark.parametrize("mode", ["at_least_once", "at_most_once"])
def test_what_a_stopped_process_held_is_taken_from_it_and_its_outcome_refused(tmp_path: Path, mode: ModeName) -> None:
    crew, gate = Crew(tmp_path, **BRIEF), tmp_path / "gate"
    once = mode == "at_most_once"
    try:
        crew.start()
        (task_id,) = crew.ask([TaskParam(work_id="wait_for", scheduled_time=soon(), param=[str(gate)], mode=mode)])
        crew.await_lines(1)
        stopped = crew.pause()
        crew.start()
        await_until(lambda: crew.scheduler.get(task_id).lost == 1, "the takeover")
        gate.touch()
        crew.drain()
        crew.resume(stopped)
        await_until(lambda: any(entry.event == REFUSED for entry in crew.journal.entries()), "the refusal")
        case = crew.case()
    finally:
        crew.close()

    assert judge(case) == []
    info = case.tasks[task_id]
    assert (info.state, info.reason) == ((TaskState.FAILED, "lost") if once else (TaskState.DONE, info.reason))
    assert [run.fence for run in events(case, START)] == ([1] if once else [1, 2])
    assert {end.fence for end in events(case, END)} == ({1} if once else {1, 2})
    assert {entry.pid for entry in events(case, REFUSED)} == {stopped}
    assert [attempt.outcome for attempt in case.history[task_id]] == ["lost"]


def test_a_process_that_died_is_noticed_long_before_its_leases_end(tmp_path: Path) -> None:
    crew, gate = Crew(tmp_path, **PATIENT), tmp_path / "gate"
    try:
        crew.start()
        (task_id,) = crew.ask([TaskParam(work_id="wait_for", scheduled_time=soon(), param=[str(gate)])])
        crew.await_lines(1)
        crew.kill()
        crew.start()
        gate.touch()
        crew.drain()
        case = crew.case()
    finally:
        crew.close()

    assert judge(case) == []
    assert (case.tasks[task_id].state, case.tasks[task_id].lost) == (TaskState.DONE, 1)


def test_a_task_that_kills_its_process_takes_no_other_down_for_good(crew: Crew) -> None:
    deaths = 0
    crew.ask(steps(Random(3), 40, spread_s=0.5))
    (poison,) = crew.ask([TaskParam(work_id="die", scheduled_time=soon(), max_lost=3)])
    crew.start()

    def is_over() -> bool:
        nonlocal deaths
        died = crew.bury()
        deaths += died
        if died:
            crew.start(died)
        return crew.scheduler.get(poison).state is TaskState.FAILED

    await_until(is_over, "the poison task's end")
    crew.drain()
    info = crew.scheduler.get(poison)
    others = [one for one in crew.scheduler.tasks() if one.id != poison]
    assert (deaths, info.lost, info.reason) == (3, 3, "lost")
    assert {one.state for one in others} == {TaskState.DONE}
    assert max(one.lost for one in others) <= 1


def test_the_judge_catches_a_process_that_takes_over_what_another_is_at(crew: Crew, tmp_path: Path) -> None:
    gate = tmp_path / "gate"
    crew.start()
    crew.ask([TaskParam(work_id="wait_for", scheduled_time=soon(), param=[str(gate)])])
    crew.await_lines(1)
    crew.start(worker=serve_alone)
    crew.await_lines(2)
    gate.touch()
    crew.drain()
    assert {verdict.kind for verdict in judge(crew.case())} == {Kind.OVERLAPPING}
