"""`kokugen nodes`: who runs work on the store, and what."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from kokugen import Scheduler
from kokugen.cli.nodes import state_of
from kokugen.clock import from_us
from kokugen.task import NodeInfo

from .conftest import CommandLine

HOUR_US = 3_600_000_000
PATIENCE_S = 30


@pytest.fixture
def worker(kokugen: CommandLine) -> Iterator[Scheduler]:
    with Scheduler(kokugen.url, label="kitchen") as worker:
        yield worker


def test_a_node_is_listed_with_what_it_runs(kokugen: CommandLine, worker: Scheduler) -> None:
    begun, go_on = Event(), Event()

    @worker.work
    def bake() -> None:
        begun.set()
        go_on.wait(PATIENCE_S)

    worker.after(timedelta(0), bake)
    assert begun.wait(PATIENCE_S)
    (node,) = kokugen.json("nodes")
    assert (node["label"], node["state"], node["runs"]) == ("kitchen", "alive", {"bake": 1})
    shown = kokugen.done("nodes")
    go_on.set()
    assert "kitchen" in shown
    assert "1 bake" in shown


def test_a_node_that_stopped_is_shown_on_request(kokugen: CommandLine, worker: Scheduler) -> None:
    worker.stop()
    assert kokugen.json("nodes") == []
    assert "--all" in kokugen.done("nodes")
    (node,) = kokugen.json("nodes", "--all")
    assert (node["state"], node["runs"]) == ("stopped", {})


def test_a_node_that_was_not_seen_for_a_minute_is_silent() -> None:
    facts: dict[str, Any] = {
        "host": "far",
        "boot_id": "",
        "pid": 1,
        "pid_namespace": "",
        "pid_started": 0,
        "version": "1",
    }
    node = NodeInfo(node_id="n", label="far:1", started_at=0, seen_at=HOUR_US, **facts)
    states = [state_of(node, from_us(HOUR_US) + timedelta(seconds=seconds)) for seconds in (0, 59, 60, 9999)]
    assert states == ["alive", "alive", "silent", "silent"]


def test_a_store_where_nobody_worked_has_no_node(kokugen: CommandLine, scheduler: Scheduler) -> None:
    assert kokugen.json("nodes", "--all") == []
    assert kokugen.done("nodes", "--all") == "no node\n"
