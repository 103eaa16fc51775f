"""Workers are killed while they complete their runs: each effect is there once, and none without its end."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path

import pytest

from kokugen import TaskParam, TaskState
from tests.within.conftest import MakeStore, noted
from tests.within.worker import scheduler_of

ROOT = Path(__file__).resolve().parents[2]
TASKS, KILLS = 24, 3
LOOK_S = 0.02
PATIENCE_S = 180.0


def until(true: Callable[[], bool]) -> None:
    """Wait for other processes."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, "the workers did not get so far"
        threading.Event().wait(LOOK_S)


@pytest.mark.timeout(400)  # it waits for processes, which take long on a busy machine
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL on Windows")
@pytest.mark.parametrize("scheme", ["postgresql", "sqlite"])
def test_an_effect_happens_once_however_often_its_process_is_killed(scheme: str, store: MakeStore) -> None:
    url = store(scheme)
    texts = [f"{number:03d}" for number in range(TASKS)]
    with closing(scheduler_of(url)) as scheduler:
        due = datetime.now(UTC)
        scheduler.schedule_many(TaskParam(work_id="note", param={"text": text}, scheduled_time=due) for text in texts)
        for kill in range(1, KILLS + 1):
            worker = subprocess.Popen([sys.executable, "-m", "tests.within.worker", url], cwd=ROOT)
            enough = TASKS * kill // (KILLS + 1)
            try:
                until(lambda enough=enough: len(noted(url)) >= enough)  # type: ignore[misc]
            finally:
                worker.kill()
                worker.wait()
        with scheduler:
            until(lambda: scheduler.count(state=TaskState.DONE) == TASKS)
    assert sorted(noted(url)) == texts
