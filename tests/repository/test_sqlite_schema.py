"""Whoever else writes the file cannot put anything in it that keeps others from reading the rest."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from kokugen.repository.rows import NewTask
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.task import TaskQuery
from kokugen.testing import ManualClock

UNREADABLE = {
    "level": "rank = -9",
    "state": "state = 9",
    "state of a run without one": "state = 1",
    "mode": "mode = 2",
    "due": "due_at = 999999999999999999",
    "long ago": "scheduled_time = -999999999999999999",
    "deadline": "start_deadline = 999999999999999999",
    "created": "created_at = 999999999999999999",
    "modified": "modified_at = 999999999999999999",
    "claimed": "claimed_at = 999999999999999999",
    "started": "started_at = 999999999999999999",
    "finished": "finished_at = 999999999999999999",
    "no JSON": "tags = 'x'",
    "no list": "tags = '{}'",
    "text for a number": "lost = 'x'",
    "nothing": "work_id = NULL",
}
STRANGE = {
    "tags": "tags = '[1, null, [2]]'",
    "tags that are no JSON": "tags = '[x]'",
    "options": "options = 'x'",
    "param": "param = 'x'",
    "deep": f"param = '{'[' * 5000}'",
    "names": "work_id = char(27) || '[31m', queue = char(10), id = char(13)",
    "zone": "zone = 'Nowhere', local_time = 'never'",
    "numbers": "attempt = -1, max_attempts = 4611686018427387904, fence = -4611686018427387904",
}


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SQLiteRepository]:
    store = SQLiteRepository(tmp_path / "tasks.db", clock=ManualClock())
    now = ManualClock().wall_us()
    tasks = [NewTask(id=name, work_id="work", due_at=now, scheduled_time=now) for name in ("a", "b")]
    store.add(tasks).result(20)
    yield store
    store.close()


def write(folder: Path, changes: str) -> None:
    """Change task a as another program would."""
    other = apsw.Connection(str(folder / "tasks.db"))
    try:
        other.execute(f"UPDATE task SET {changes} WHERE id = 'a'")
    finally:
        other.close()


@pytest.mark.parametrize("changes", UNREADABLE.values(), ids=UNREADABLE)
def test_what_no_reader_could_make_sense_of_cannot_be_written(
    store: SQLiteRepository, tmp_path: Path, changes: str
) -> None:
    before = store.page(TaskQuery()).result(20)
    with pytest.raises((apsw.ConstraintError, apsw.SQLError)):
        write(tmp_path, changes)
    assert store.page(TaskQuery()).result(20) == before


@pytest.mark.parametrize("changes", STRANGE.values(), ids=STRANGE)
def test_what_is_merely_strange_keeps_nobody_from_reading_all_tasks(
    store: SQLiteRepository, tmp_path: Path, changes: str
) -> None:
    write(tmp_path, changes)
    assert len(store.page(TaskQuery()).result(20)) == 2
    assert store.page(TaskQuery(tag="blue")).result(20) == []
