"""Many decisions at once leave in a file what they leave one by one."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from kokugen.repository.limit_rows import LimitRule
from kokugen.repository.schedule_rows import Changed, ScheduleChange
from kokugen.repository.sqlite import decisions, limits, schedules
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw
from kokugen.repository.sqlite.tasks import Scope
from tests.repository import decided
from tests.repository.decided import compare, compare_order


class File:
    """A store whose statements are called as the writer calls them."""

    def __init__(self, path: Path) -> None:
        self.db = connect(Apsw(), path)
        migrate(self.db, path, "cluster")

    def apply(self, changes: Sequence[ScheduleChange], now: int, *, at_once: bool) -> list[Changed]:
        scope = Scope(self.db, "default", now)
        self.db.execute("BEGIN IMMEDIATE")
        found = decisions.change(scope, changes) if at_once else schedules.change(scope, changes)
        self.db.execute("COMMIT")
        return found

    def content(self) -> dict[str, list[tuple[object, ...]]]:
        found = {}
        for table in (*decided.TABLES, "task_param"):
            names = [row[1] for row in self.db.execute(f"SELECT * FROM pragma_table_info('{table}')")]
            columns = ", ".join(f'"{name}"' for name in names if name != "seq")
            found[table] = [tuple(row) for row in self.db.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}")]
        return found

    def limit(self, rule: LimitRule) -> None:
        limits.declare(Scope(self.db, "default", 0), [rule.name], [rule])

    def finish(self, now: int, ended: str) -> None:
        sql = f"UPDATE task SET state = 2, modified_at = {now} WHERE state = 0 AND hold IS NULL AND {ended}"
        self.db.execute(sql)


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[File, File]]:
    files = File(tmp_path / "alone.db"), File(tmp_path / "together.db")
    yield files
    for file in files:
        file.db.close()


@pytest.mark.parametrize("seed", range(30))
def test_it_is_as_if_they_came_one_by_one(stores: tuple[File, File], seed: int) -> None:
    compare(*stores, seed)


def test_two_changes_of_one_schedule_are_made_in_their_order(stores: tuple[File, File]) -> None:
    compare_order(*stores)
