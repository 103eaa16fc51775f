"""What only processes promise: a memory limit, new ones after a while, nothing that outlives its run or its node."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import timedelta
from functools import wraps
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from kokugen.clock import SystemClock
from kokugen.dispatcher.processes import MEMORY_MIN, ProcessDispatcher, Processes
from kokugen.dispatcher.protocol import Ending
from kokugen.errors import OptionError
from kokugen.middleware.base import Middleware, WorkNext
from kokugen.run import Interrupt, Run
from kokugen.testing.dispatching.lab import DispatchLab, Outcomes, run_of
from tests.dispatcher import works

MB = 1024 * 1024
TRIES = 3000


class Crew:
    """Process dispatchers, and what they deliver."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()
        self.made: list[ProcessDispatcher] = []

    def started(self, *middleware: Middleware, **about: Any) -> ProcessDispatcher:
        dispatcher = Processes(**{"workers": 1, **about}).dispatcher(clock=SystemClock(), middleware=middleware)
        dispatcher.start(self.outcomes)
        self.made.append(dispatcher)
        return dispatcher


@pytest.fixture
def crew() -> Iterator[Crew]:
    crew = Crew()
    yield crew
    for dispatcher in crew.made:
        dispatcher.stop()


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{pid}/stat")
    return not stat.exists() or stat.read_text(encoding="ascii").rpartition(")")[2].split()[0] != "Z"


def await_end(pid: int) -> bool:
    pause = Event()
    for _ in range(TRIES):
        if not is_alive(pid):
            return True
        pause.wait(0.01)
    return False


def test_one_process_serves_many_runs(crew: Crew) -> None:
    crew.started().dispatch([run_of(works.pid) for _ in range(5)])
    pids = {one.result for one in crew.outcomes.take(5)}
    assert len(pids) == 1
    assert pids != {str(os.getpid())}


def test_a_process_is_replaced_after_so_many_runs(crew: Crew) -> None:
    crew.started(tasks_max=2).dispatch([run_of(works.pid) for _ in range(6)])
    pids = [one.result or "" for one in crew.outcomes.take(6)]
    assert pids[0] == pids[1] != pids[2] == pids[3] != pids[4] == pids[5]
    assert await_end(int(pids[0]))


def test_idle_processes_end_with_their_dispatcher(crew: Crew) -> None:
    dispatcher = crew.started()
    dispatcher.dispatch([run_of(works.pid)])
    pid = int(crew.outcomes.one().result or "")
    dispatcher.stop()
    assert await_end(pid)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux holds a process to a limit of memory")
def test_work_that_takes_too_much_memory_fails_alone(crew: Crew) -> None:
    dispatcher = crew.started(memory_max=256 * MB)
    dispatcher.dispatch([run_of(works.hoard, param=f'{{"args":[{size}]}}') for size in (512 * MB, 16 * MB)])
    greedy, modest = crew.outcomes.take(2)
    assert (greedy.ending, type(greedy.error)) == (Ending.RAISED, MemoryError)
    assert modest.result == str(16 * MB)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no process groups")
def test_what_killed_work_has_started_is_killed_with_it(crew: Crew, tmp_path: Path) -> None:
    run = run_of(works.leave_family, param=f'{{"args":["{tmp_path}"]}}')
    crew.started(kill_after=timedelta(0)).dispatch([run])
    lab = DispatchLab(lambda *_: crew.made[0], is_async=False, folder=tmp_path)
    while not (family := lab.await_file("family")):
        pass
    run.ask_to_stop(Interrupt.CANCEL)
    assert crew.outcomes.one().ending is Ending.INTERRUPTED
    assert await_end(int(family))


def test_declared_work_and_work_with_channels_is_found_by_import(crew: Crew) -> None:
    crew.started()
    declared = run_of(works.declared, param='{"args":[1]}')
    channels = run_of(works.open_channels)
    declared.work, channels.work = works.declared, works.channels
    crew.made[0].dispatch([declared, channels])
    assert [one.result for one in crew.outcomes.take(2)] == ["2", '"False False None work"']


@wraps(works.pid)
def dressed() -> int:
    return -works.pid()


@pytest.mark.parametrize("work", [lambda: None, Crew().started, dressed], ids=["lambda", "method", "dressed"])
def test_work_that_no_process_can_import_is_told_what_to_do(crew: Crew, work: Any) -> None:
    crew.started().dispatch([run_of(work)])
    outcome = crew.outcomes.one()
    assert isinstance(outcome.error, OptionError)
    assert "at the top level of a module" in (outcome.text or "")


def test_an_error_of_the_users_own_class_comes_back_as_one(crew: Crew) -> None:
    crew.started().dispatch([run_of(works.fail_locally)])
    outcome = crew.outcomes.one()
    assert isinstance(outcome.error, works.Local)
    assert outcome.error.args == (7, "it rains")
    assert (outcome.text or "").startswith("Traceback")
    assert 'raise Local(7, "it rains")' in (outcome.text or "")
    assert "kokugen/dispatcher" not in (outcome.text or "")


def test_middleware_wraps_the_call_in_the_node(crew: Crew) -> None:
    seen: list[Any] = []

    class Watch(Middleware):
        def work(self, run: Run, call_next: WorkNext) -> Any:
            result = call_next(run)
            seen.append((os.getpid(), result))
            return result + 1

    run = run_of(works.declared, param='{"args":[1]}')
    run.work = works.declared
    crew.started(Watch()).dispatch([run])
    assert crew.outcomes.one().result == "3"
    assert seen == [(os.getpid(), 2)]


NODE = """
import os, sys, threading
from kokugen.clock import SystemClock
from kokugen.dispatcher.processes import Processes
from kokugen.testing.dispatching.lab import run_of
from kokugen.testing.dispatching.works import go_on

if __name__ == "__main__":
    dispatcher = Processes(workers=1).dispatcher(clock=SystemClock())
    dispatcher.start(print)
    dispatcher.dispatch([run_of(go_on, param='{"args":["%s"]}' % sys.argv[2])])
    sys.stdin.readline()
    if sys.argv[1] == "killed":
        os.kill(os.getpid(), 9)
"""


@pytest.mark.skipif(sys.platform == "win32", reason="it kills as POSIX does")
@pytest.mark.parametrize("how", ["killed", "left"])
def test_a_process_does_not_outlive_its_node(tmp_path: Path, how: str) -> None:
    script = tmp_path / "node.py"
    script.write_text(NODE, encoding="utf-8")
    node = subprocess.Popen([sys.executable, str(script), how, str(tmp_path)], stdin=subprocess.PIPE)
    lab = DispatchLab(lambda *_: Processes().dispatcher(clock=SystemClock()), is_async=False, folder=tmp_path)
    while not (pid := lab.await_file("running")):
        pass
    node.communicate(b"\n", timeout=60)
    assert node.returncode == (-9 if how == "killed" else 0)
    assert await_end(int(pid))


@pytest.mark.parametrize(
    "about",
    [
        {"workers": -1},
        {"memory_max": MEMORY_MIN - 1},
        {"memory_max": "1 GB"},
        {"tasks_max": 0},
        {"tasks_max": True},
        {"kill_after": 1},
        {"kill_after": timedelta(seconds=-1)},
        {"name": "no name"},
    ],
    ids=str,
)
def test_senseless_options_of_processes_are_refused(about: dict[str, Any]) -> None:
    with pytest.raises(OptionError):
        Processes(**about)
