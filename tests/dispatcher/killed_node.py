"""What must hold for every engine: a node is killed while its run is in an engine's hands, and another takes over."""

from __future__ import annotations

import subprocess
import sys
from datetime import timedelta
from pathlib import Path
from threading import Event

from kokugen import Scheduler, Settings, TaskState
from tests.dispatcher.engine_node import place_of
from tests.dispatcher.engine_works import works, write_down

ROOT = Path(__file__).resolve().parents[2]
MINUTE = timedelta(minutes=1)
TRIES = 6000
QUICK = Settings(ttl_s=6.0, beat_s=1.0, watch_s=0.5, rpc_s=1.0, margin_s=1.5)


def lines_of(folder: Path) -> list[str]:
    journal = folder / "journal"
    return journal.read_text(encoding="ascii").splitlines() if journal.exists() else []


def check_that_a_killed_nodes_run_is_taken_over(engine: str, where: str, folder: Path) -> None:
    """Kill the node whose run is under way, let another take over, and see that the work ran once, with its result."""
    store = f"sqlite:///{folder / 'tasks.db'}"
    scheduler = Scheduler(store, works=works, places=[place_of(engine, where)], settings=QUICK)
    task = scheduler.after(timedelta(0), write_down, str(folder))
    command = [sys.executable, "-m", "tests.dispatcher.engine_node", engine, where, store]
    with subprocess.Popen(command, cwd=ROOT) as node:
        for _ in range(TRIES):
            if lines_of(folder):
                break
            Event().wait(0.01)
        node.kill()
    with scheduler:
        for _ in range(TRIES):
            if task.info().lost:
                break
            Event().wait(0.01)
        (folder / "enough").touch()
        assert task.result(MINUTE) == 1
        info = task.info()
    assert (info.state, info.lost, info.fence) == (TaskState.DONE, 1, 2)
    assert lines_of(folder) == ["fence 1"]
