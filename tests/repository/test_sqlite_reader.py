"""Reading: one call at a time on a connection, and a look at a few tasks waits behind no list."""

from __future__ import annotations

from pathlib import Path
from threading import Event, Thread

import pytest

from kokugen.errors import RepositoryUnavailableError
from kokugen.repository.rows import NewTask
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.library import Connection
from kokugen.repository.sqlite.reader import Reader

PATIENCE_S = 20


def test_a_look_at_a_task_waits_behind_no_long_list(tmp_path: Path) -> None:
    repository = SQLiteRepository(tmp_path / "tasks.db")
    repository.add([NewTask(id="one", work_id="note", due_at=1, scheduled_time=1)]).result(PATIENCE_S)
    begun, end = Event(), Event()

    def long_list(_: Connection) -> None:
        begun.set()
        assert end.wait(PATIENCE_S)

    listing = Thread(target=repository._read, args=(long_list,))
    listing.start()
    assert begun.wait(PATIENCE_S)
    assert [info.id for info in repository.get(["one"]).result(0)] == ["one"]
    end.set()
    listing.join()
    repository.close()


def test_a_reader_that_is_closed_refuses(tmp_path: Path) -> None:
    reader = Reader(tmp_path / "tasks.db")
    with pytest.raises(RepositoryUnavailableError, match="was closed"):
        reader.read(lambda _: None).result()
