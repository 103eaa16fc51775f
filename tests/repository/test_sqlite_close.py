"""A repository may be closed while others go on with it: it opens again at their next call."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path
from threading import Event, Thread

import apsw

from kokugen import Scheduler
from kokugen.repository.sqlite import SQLiteRepository

PATIENCE_S = 20


def test_closing_while_another_engine_is_told_of_a_task_holds_nobody_up(tmp_path: Path) -> None:
    repository = SQLiteRepository(tmp_path / "tasks.db")
    idle, running = Scheduler(repository=repository), Scheduler(repository=repository)
    ran = Event()

    @running.work
    def note() -> None:
        ran.set()

    running.start()
    user = apsw.Connection(str(tmp_path / "tasks.db"))
    user.set_busy_timeout(1000 * PATIENCE_S)
    user.execute("BEGIN IMMEDIATE")
    idle.within(user).after(timedelta(0), note)
    closing = Thread(target=repository.close, daemon=True)
    closing.start()
    user.execute("COMMIT")
    user.close()
    closing.join(PATIENCE_S)
    assert not closing.is_alive()
    assert ran.wait(PATIENCE_S)
    assert running.stop()
    repository.close()
