"""Several processes share a store, and each runs only what is its own: its queues, its work, its namespace.

And a cancellation finds the process that runs the task, whoever asks for it. On files, a server, and behind a pooler.
"""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from threading import Event

import pytest

from kokugen import Scheduler, TaskParam, TaskState
from kokugen.repository.rows import CancelResult
from tests.servers.stores import query, store_url

LONG = timedelta(seconds=90)
PAST = datetime(2001, 1, 1, tzinfo=UTC)

JOBS = """
    import os
    from pathlib import Path
    from kokugen import FunctionRegistry, Scheduler, Settings, current_run

    def declare(works):
        @works.work
        def who() -> str:
            return os.environ["NAME"]

        @works.work
        def hang() -> None:
            run = current_run()
            Path(f"hanging-{run.task_id}").touch()
            run.cancelled.wait()
            Path(f"stopped-{run.task_id}").write_text(run.cancelled.reason)
            raise InterruptedError
        return works

    both = declare(FunctionRegistry())
    left, right = declare(FunctionRegistry()), declare(FunctionRegistry())
    left.work(id="left")(lambda: "left")
    right.work(id="right")(lambda: "right")

    soon = Settings(ttl_s=6, beat_s=1.5, watch_s=1, margin_s=1, rpc_s=1)
    scheduler = Scheduler(works=both, settings=soon)
    knows_left = Scheduler(works=left, settings=soon)
    knows_right = Scheduler(works=right, settings=soon)
    shop = Scheduler(works=both, settings=soon, namespace="shop")
"""

Start = Callable[..., "subprocess.Popen[str]"]


@pytest.fixture(params=["sqlite", "sqlite+sqlite3", "postgresql", "pooler"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """A store that processes share; behind the pooler none of them hears of another's tasks but by its poll."""
    if request.param.startswith("sqlite"):
        yield f"{request.param}:///{tmp_path / 'tasks.db'}"
        return
    pooled = request.param == "pooler"
    server = request.getfixturevalue("postgres_server").url if pooled else request.getfixturevalue("postgres")
    url = store_url(request.getfixturevalue("pooler").url if pooled else server, request.node.nodeid)
    yield url
    query(server, f'DROP SCHEMA IF EXISTS "{url.rpartition("schema=")[2]}" CASCADE')


@pytest.fixture
def start(url: str, tmp_path: Path) -> Iterator[Start]:
    """Starts a worker of a name, and returns once it says that it runs. It is killed in the end."""
    (tmp_path / "jobs.py").write_text(textwrap.dedent(JOBS), encoding="ascii")
    started: list[subprocess.Popen[str]] = []

    def start(name: str, target: str = "jobs:scheduler", *words: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "kokugen.cli", "worker", target, *words]
        environment = {**os.environ, "KOKUGEN_URL": url, "NAME": name}
        worker = subprocess.Popen(command, cwd=tmp_path, env=environment, stderr=subprocess.PIPE, text=True)
        started.append(worker)
        assert worker.stderr is not None
        line = worker.stderr.readline()
        assert "runs the work due in" in line, line + worker.stderr.read()
        return worker

    yield start
    for worker in started:
        worker.kill()
        worker.communicate()


@pytest.fixture
def scheduler(url: str) -> Iterator[Scheduler]:
    """A process that schedules and looks, and runs nothing."""
    scheduler = Scheduler(url)
    scheduler.open()
    yield scheduler
    scheduler.close()


def add(scheduler: Scheduler, work_id: str, **options: str) -> str:
    return scheduler.schedule(TaskParam(work_id=work_id, scheduled_time=PAST, **options)).id  # type: ignore[arg-type]


def results(scheduler: Scheduler, task_ids: list[str]) -> list[object]:
    return [scheduler.handle(task_id).result(LONG) for task_id in task_ids]


def appears(path: Path) -> bool:
    """Whether another process makes a file within a minute."""
    return any(path.exists() or Event().wait(0.01) for _ in range(6000))


def test_each_worker_serves_its_own_queues(scheduler: Scheduler, start: Start) -> None:
    start("mail", "jobs:scheduler", "--queues", "mail,post")
    start("cpu", "jobs:scheduler", "--queues", "cpu")
    nobodys = add(scheduler, "who", queue="nobodys")
    unsaid = add(scheduler, "who")
    tasks = [add(scheduler, "who", queue=queue) for queue in ("mail", "cpu", "post") * 10]
    assert results(scheduler, tasks) == ["mail", "cpu", "mail"] * 10
    assert [scheduler.get(one).state for one in (nobodys, unsaid)] == [TaskState.INITIALIZED] * 2


def test_each_worker_runs_the_work_that_it_knows(scheduler: Scheduler, start: Start) -> None:
    start("one", "jobs:knows_left")
    start("other", "jobs:knows_right")
    unknown = add(scheduler, "nobody-knows-this")
    tasks = [add(scheduler, work_id) for work_id in ("left", "right") * 10]
    assert results(scheduler, tasks) == ["left", "right"] * 10
    assert scheduler.get(unknown).state is TaskState.INITIALIZED


def test_each_worker_sees_its_own_namespace_alone(url: str, scheduler: Scheduler, start: Start) -> None:
    start("shop", "jobs:shop")
    here = add(scheduler, "who")
    other = Scheduler(url, namespace="shop")
    tasks = [add(other, "who", id=f"t{number}", unique=f"t{number}") for number in range(10)]
    assert results(other, tasks) == ["shop"] * 10
    assert scheduler.get(here).state is TaskState.INITIALIZED
    start("default")
    assert results(scheduler, [here]) == ["default"]
    other.close()


def test_a_task_of_two_namespaces_is_two_tasks(url: str, scheduler: Scheduler, start: Start) -> None:
    start("shop", "jobs:shop")
    start("default")
    other = Scheduler(url, namespace="shop")
    tasks = [(one, add(one, "who", id="same", unique="same")) for one in (scheduler, other)]
    assert [results(one, [task_id]) for one, task_id in tasks] == [["default"], ["shop"]]
    assert other.cancel("same")[0].result is CancelResult.REFUSED
    other.close()


def test_work_that_runs_in_another_process_is_cancelled(scheduler: Scheduler, start: Start, tmp_path: Path) -> None:
    start("one")
    start("other")
    tasks = [add(scheduler, "hang") for _ in range(4)]
    assert [appears(tmp_path / f"hanging-{task_id}") for task_id in tasks] == [True] * 4
    answers = scheduler.cancel(*tasks, reason="no longer wanted")
    assert [answer.result for answer in answers] == [CancelResult.REQUESTED] * 4
    ended = [scheduler.wait(task_id, LONG) for task_id in tasks]
    assert {(info.state, info.reason) for info in ended} == {(TaskState.CANCELLED, "no longer wanted")}
    assert [appears(tmp_path / f"stopped-{task_id}") for task_id in tasks] == [True] * 4
    assert {info.attempt for info in ended} == {1}


def test_work_that_runs_in_another_process_is_cancelled_by_force(
    scheduler: Scheduler, start: Start, tmp_path: Path
) -> None:
    start("one")
    task_id = add(scheduler, "hang")
    assert appears(tmp_path / f"hanging-{task_id}")
    (answer,) = scheduler.cancel(task_id, force=True)
    assert (answer.result, scheduler.get(task_id).state) == (CancelResult.CANCELLED, TaskState.CANCELLED)
    assert appears(tmp_path / f"stopped-{task_id}")
    assert scheduler.get(task_id).state is TaskState.CANCELLED
