"""`why` says what a task that is due waits for: a process, its place, its queue, its work, or a free worker."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from threading import Event

import pytest

from kokugen import FunctionRegistry, Processes, Scheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.offers import SILENT_US, WORKS_MAX, Offers, lacking, offers_of
from kokugen.task import NodeInfo, replace

NODE = NodeInfo(
    node_id="n", label="n", host="h", boot_id="", pid=1, pid_namespace="", pid_started=1, version="1", seen_at=0
)
MAIL = Offers(namespace="default", queues=("mail", "mail@dask"), works=("send",))
OTHER = Offers(namespace="default", queues=("default",), works=("send", "report"))


@pytest.mark.parametrize(
    ("work_id", "queue", "why"),
    [
        ("send", "mail@gpu", "none that runs now offers the place 'gpu'"),
        ("send", "default@dask", "none that runs now serves the queue 'default' at the place 'dask'"),
        ("send", "bills", "none that runs now serves the queue 'bills'"),
        ("report", "mail", "none that serves the queue 'mail' knows the work 'report'"),
        ("send", "mail", "none that serves the queue 'mail' and knows its work has a free place"),
        ("report", "default", "none that serves the queue 'default' and knows its work has a free place"),
    ],
)
def test_what_is_lacking_is_named(work_id: str, queue: str, why: str) -> None:
    assert lacking(work_id, queue, [MAIL, OTHER]) == why


def test_where_nobody_runs_that_is_what_is_lacking() -> None:
    assert lacking("send", "mail", []) == "no process runs work now"


def test_a_node_that_does_not_say_what_it_runs_may_run_anything() -> None:
    told = replace(NODE, node_id="m", offers=MAIL.text)
    assert offers_of([NODE, told], "default", 1) is None
    assert offers_of([replace(NODE, offers='{"of":"another release"}'), told], "default", 1) is None
    assert "has a free place" in lacking("send", "nowhere", None)
    unlisted = replace(MAIL, works=None)
    assert "has a free place" in lacking("anything", "mail", [unlisted])


def test_nodes_that_stopped_are_silent_or_serve_another_namespace_do_not_count() -> None:
    alive = replace(NODE, offers=MAIL.text)
    elsewhere = replace(NODE, offers=replace(MAIL, namespace="other").text)
    stopped, silent = replace(NODE, stopped_at=1), replace(NODE, seen_at=1 - SILENT_US)
    assert offers_of([stopped, silent, elsewhere, alive], "default", 1) == [MAIL]
    assert offers_of([stopped, silent, elsewhere], "default", 1) == []


def test_of_very_many_works_their_names_are_left_out() -> None:
    many = replace(MAIL, works=tuple(str(number) for number in range(WORKS_MAX + 1)))
    assert offers_of([replace(NODE, offers=many.text)], "default", 1) == [replace(MAIL, works=None)]


@pytest.fixture
def asking(tmp_path: Path) -> Iterator[Scheduler]:
    """A scheduler that only schedules."""
    scheduler = Scheduler(f"sqlite:///{tmp_path}/tasks.db")
    yield scheduler
    scheduler.close()


def why(asking: Scheduler, **about: object) -> str:
    """What is said of a task that has just become due."""
    before = from_us(SystemClock().wall_us()) - timedelta(seconds=1)
    handle = asking.schedule(TaskParam(**{"work_id": "send", "scheduled_time": before, **about}))  # type: ignore[arg-type] # its own types
    return asking.why(handle.id)


def test_a_running_scheduler_says_what_it_runs_as_long_as_it_does(asking: Scheduler) -> None:
    works, blocked, free = FunctionRegistry(), Event(), Event()

    @works.work
    def send() -> None:
        blocked.set()
        free.wait(30)

    assert "for a worker: no process runs work now." in why(asking)
    with Scheduler(asking.url, works=works, workers=1, places=[Processes(workers=1)]):
        assert blocked.wait(30), "the first one runs"
        assert "offers the place 'dask'" in why(asking, on="dask")
        assert "serves the queue 'mail'" in why(asking, queue="mail")
        assert "serves the queue 'mail' at the place 'processes'" in why(asking, queue="mail", on="processes")
        assert "knows the work 'report'" in why(asking, work_id="report")
        free.set()
    assert "no process runs work now" in why(asking)
