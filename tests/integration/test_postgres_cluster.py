"""Several nodes on one PostgreSQL store, as processes of their own: nothing lost, nothing doubled, whoever dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from kokugen import Scheduler, TaskParam, TaskState
from kokugen.clock import SystemClock, from_us
from tests.servers.postgres import PostgresServer, newest, running
from tests.servers.stores import emptied_store, store_url

LONG = timedelta(seconds=60)

JOBS = """
    import os
    from pathlib import Path
    from threading import Event
    from kokugen import Scheduler, Settings, current_run

    scheduler = Scheduler(workers=4, settings=Settings(ttl_s=6, beat_s=1.5, watch_s=1, margin_s=1, rpc_s=1))

    def note(word, number):
        with Path(os.environ["LOG"]).open("a") as log:
            log.write(f"{word} {number} {current_run().fence} {os.getpid()}\\n")

    @scheduler.work
    def count(number: int) -> int:
        note("begin", number)
        return number

    @scheduler.work
    def hang_once(number: int) -> str:
        note("begin", number)
        while current_run().fence == 1:
            Event().wait(1)
        return "ran again"
"""

Start = Callable[[str], "subprocess.Popen[str]"]


@pytest.fixture
def log(tmp_path: Path) -> Path:
    path = tmp_path / "log"
    path.touch()
    return path


@pytest.fixture
def start(tmp_path: Path, log: Path) -> Iterator[Start]:
    """Starts a node on a store, and returns once it says that it runs. It is killed in the end."""
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS), encoding="ascii")
    started: list[subprocess.Popen[str]] = []

    def start(url: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kokugen.cli", "worker", "jobs:scheduler", "--grace", "5s"]
        environment = {**os.environ, "KOKUGEN_URL": url, "LOG": str(log)}
        node = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(node)
        assert node.stderr is not None
        line = node.stderr.readline()
        assert "runs the work due in" in line, line + node.stderr.read()
        return node

    yield start
    for node in started:
        node.kill()
        node.communicate()


@pytest.fixture
def url(postgres: str) -> str:
    return emptied_store(postgres)


@pytest.fixture
def scheduler(url: str) -> Iterator[Scheduler]:
    one = Scheduler(url)
    yield one
    one.close()


def schedule(scheduler: Scheduler, work_id: str, numbers: range) -> list[str]:
    now = from_us(SystemClock().wall_us())
    params = (TaskParam(work_id=work_id, scheduled_time=now, param=[number]) for number in numbers)
    return [handle.id for handle in scheduler.schedule_many(params)]


def begun(log: Path) -> list[tuple[int, int, int]]:
    """Return the number, fence and process of every run that began."""
    lines = (line.split() for line in log.read_text("ascii").splitlines())
    return [(int(number), int(fence), int(pid)) for _, number, fence, pid in lines]


def end(node: subprocess.Popen[str]) -> int:
    node.send_signal(signal.SIGTERM)
    return node.wait(30)


def test_two_nodes_share_the_work_and_run_each_task_once(
    start: Start, url: str, scheduler: Scheduler, log: Path
) -> None:
    nodes = [start(url), start(url)]
    ids = schedule(scheduler, "count", range(400))
    assert [scheduler.result(task_id, LONG) for task_id in ids] == list(range(400))
    assert sorted(number for number, _, _ in begun(log)) == list(range(400))
    assert {pid for _, _, pid in begun(log)} <= {node.pid for node in nodes}
    assert [end(node) for node in nodes] == [0, 0]
    assert all(node.stopped_at is not None for node in scheduler.nodes())


def test_what_a_killed_node_was_at_is_run_by_the_other(start: Start, url: str, scheduler: Scheduler, log: Path) -> None:
    first = start(url)
    ids = schedule(scheduler, "hang_once", range(3))
    for _ in range(3000):
        if len(begun(log)) == 3:
            break
        Event().wait(0.01)
    second = start(url)
    first.kill()
    assert [scheduler.result(task_id, LONG) for task_id in ids] == ["ran again"] * 3
    assert sorted(begun(log)) == [(n, fence, (first, second)[fence - 1].pid) for n in range(3) for fence in (1, 2)]
    assert {scheduler.get(task_id).lost for task_id in ids} == {1}


def test_nodes_that_are_stopped_one_after_the_other_lose_and_double_nothing(
    start: Start, url: str, scheduler: Scheduler, log: Path
) -> None:
    node = start(url)
    ids: list[str] = []
    for turn in range(3):
        ids += schedule(scheduler, "count", range(100 * turn, 100 * turn + 100))
        following = start(url)
        assert end(node) == 0
        node = following
    assert [scheduler.result(task_id, LONG) for task_id in ids] == list(range(300))
    assert sorted(number for number, _, _ in begun(log)) == list(range(300))


@pytest.fixture
def breakable() -> Iterator[PostgresServer]:
    with running(newest) as server:
        yield server


def test_nodes_go_on_when_their_server_crashed_and_is_back(
    start: Start, breakable: PostgresServer, log: Path, tmp_path: Path
) -> None:
    url = store_url(breakable.url, tmp_path)
    scheduler = Scheduler(url)
    nodes = [start(url), start(url)]
    ids = schedule(scheduler, "count", range(200))
    breakable.restart()
    ids += schedule(scheduler, "count", range(200, 400))
    breakable.restart()
    infos = [scheduler.wait(task_id, LONG) for task_id in ids]
    assert {info.state for info in infos} == {TaskState.DONE}
    assert sorted({number for number, _, _ in begun(log)}) == list(range(400))
    assert [end(node) for node in nodes] == [0, 0]
    scheduler.close()
