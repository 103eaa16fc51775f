"""Four processes on one store keep limits, by the word of the work itself, whoever is killed meanwhile."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

from kokugen import TaskParam, TaskState
from tests.faults.crew import Crew, soon
from tests.faults.ground import PostgresGround
from tests.faults.journal import START
from tests.faults.judge import judge
from tests.faults.limited import BURST, OF_KEY, OF_QUEUE, OF_WORK, RATE, most_at_once, serve_limited

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="SIGKILL is of POSIX"),
    pytest.mark.timeout(300),
]

KEYS = 7


@pytest.fixture(params=["sqlite", "postgres"])
def limited(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Crew]:
    """Yield a crew on an empty store of each kind."""
    ground = None if request.param == "sqlite" else PostgresGround(request.getfixturevalue("postgres"), tmp_path)
    one = Crew(tmp_path, ground)
    yield one
    one.close()


def tasks(random: Random, count: int, spread_s: float) -> list[TaskParam]:
    """Return tasks of two works, some with a key that the works share, some in a queue with a limit."""
    return [
        TaskParam(
            work_id=random.choice(("narrow", "wide")),
            scheduled_time=soon(spread_s * random.random()),
            param=[random.randrange(4000)],
            limit_key=random.choice([None, *(f"key-{n}" for n in range(KEYS))]),
            queue=random.choice(("default", "slow")),
        )
        for _ in range(count)
    ]


def groups_of(crew: Crew) -> dict[str, set[str]]:
    """Return the limits that each task has to keep."""
    found: dict[str, set[str]] = {}
    for info in crew.scheduler.tasks():
        mine = found.setdefault(info.id, set())
        if info.work_id == "narrow":
            mine.add("work")
        if info.queue == "slow":
            mine.add("queue")
        if info.limit_key is not None:
            mine.add(info.limit_key)
    return found


def assert_kept(crew: Crew) -> None:
    """Assert that no limit was exceeded, and that the work was not done one by one either."""
    case = crew.case()
    most = most_at_once(case.entries, case.killed, groups_of(crew))
    assert judge(case) == []
    assert 1 < most.pop("work") <= OF_WORK
    assert 1 < most.pop("queue") <= OF_QUEUE
    assert sorted(most) == [f"key-{n}" for n in range(KEYS)]
    assert max(most.values()) <= OF_KEY


def test_four_processes_never_exceed_the_limits_of_keys_works_and_queues(limited: Crew) -> None:
    limited.start(4, serve_limited)
    limited.await_nodes(4)
    limited.ask(tasks(Random(11), 600, spread_s=1.0))
    limited.drain()
    assert_kept(limited)
    assert {info.state for info in limited.scheduler.tasks()} == {TaskState.DONE}


def test_limits_are_kept_and_all_tasks_run_while_processes_are_killed(limited: Crew) -> None:
    random = Random(12)
    limited.start(4, serve_limited)
    limited.await_nodes(4)
    for kill in range(12):
        lines = len(limited.journal)
        limited.ask(tasks(random, 60, spread_s=0.3))
        limited.await_lines(lines + random.randrange(10, 60))
        limited.kill()
        limited.start(1, serve_limited)
        limited.await_nodes(5 + kill)
    limited.drain()
    assert_kept(limited)
    assert {info.state for info in limited.scheduler.tasks()} == {TaskState.DONE}


def test_four_processes_never_start_more_than_a_rate_allows(limited: Crew) -> None:
    limited.start(4, serve_limited)
    limited.await_nodes(4)
    limited.ask([TaskParam(work_id="rated", scheduled_time=soon(), param=[0]) for _ in range(120)])
    limited.drain()
    starts = sorted(entry.boot_ns / 1e9 for entry in limited.journal.entries() if entry.event == START)
    assert len(starts) == 120
    for first, begun in enumerate(starts):
        for last in range(first, len(starts)):
            assert last - first + 1 <= RATE * (starts[last] - begun + 0.05) + 2 * BURST
