"""How SQLite carries out the statements of the hot path: by keys and index ranges, never by walking all tasks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import apsw
import pytest

from kokugen.repository.rows import ClaimRequest
from kokugen.repository.sqlite import SQLiteRepository, operations, runs, tasks
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw, Connection
from kokugen.task import TaskQuery, TaskState

QUEUES = ("default", "mail")
ASKED = ClaimRequest(node_id="n", nonce="c", slots=10, queues=QUEUES, only=frozenset({"a"}), skip=frozenset({"b"}))
RANGE = "INDEX task_waiting (namespace=? AND queue=? AND rank=? AND due_at<?)"
BY_KEY = {
    "take": tasks._TAKE,
    "end": runs._END,
    "wait again": runs._AGAIN,
    "cancel instead": runs._CANCEL,
    "remember a finish": runs._TELL_FINISH,
    "read final claims": runs._FINAL,
    "write result bodies": runs._FINISH_BODIES,
    "beat": runs._BEAT,
    "report": runs._REPORT,
    "read beaten": runs._BEATEN,
    "read recovered": runs._RECOVERED,
    "remember a loss": runs._TELL_LOST,
    "recover": runs._RECOVER,
}


@pytest.fixture
def db(tmp_path: Path) -> Iterator[Connection]:
    path = tmp_path / "tasks.db"
    db = connect(Apsw(), path)
    migrate(db, path, "cluster")
    yield db
    db.close()


def plan(db: Connection, sql: str) -> list[str]:
    names = dict.fromkeys(re.findall(r":([a-z]\w*)", sql))
    return [row[3] for row in db.execute(f"EXPLAIN QUERY PLAN {sql}", names)]


@pytest.mark.parametrize("sql", BY_KEY.values(), ids=BY_KEY.keys())
def test_each_row_of_a_batch_is_looked_up_by_its_key(db: Connection, sql: str) -> None:
    steps = [step for step in plan(db, sql) if re.search(r"\b(SEARCH|SCAN) (task|t)\b", step)]
    assert steps
    assert all("(namespace=? AND id=?)" in step for step in steps), steps


def test_a_claim_reads_one_range_a_level_and_queue_in_its_order(db: Connection) -> None:
    ranges = [(queue, level) for queue in range(len(QUEUES)) for level in tasks.LEVELS]
    steps = plan(db, tasks.pick_sql(ASKED, ranges))
    reads = [step for step in steps if re.search(r"\b(SEARCH|SCAN) task\b", step)]
    *firsts, whole = reads
    assert len(firsts) == len(ranges)
    assert all(RANGE in step for step in firsts), firsts
    assert "INTEGER PRIMARY KEY (rowid=?)" in whole
    assert steps.count("USE TEMP B-TREE FOR ORDER BY") == 1, "the first ones of all ranges are sorted, and nothing else"


def test_a_claim_where_only_tasks_of_one_level_are_due_reads_one_range_and_sorts_nothing(db: Connection) -> None:
    steps = plan(db, tasks.pick_sql(ASKED, [(0, -1)]))
    reads = [step for step in steps if re.search(r"\b(SEARCH|SCAN) task\b", step)]
    assert len(reads) == 1
    assert RANGE in reads[0]
    assert "USE TEMP B-TREE FOR ORDER BY" not in steps


def test_what_is_due_and_when_the_next_is_are_two_probes_a_level_and_queue(db: Connection) -> None:
    steps = plan(db, tasks.look_sql(len(QUEUES)))
    reads = [step for step in steps if " task " in step]
    assert len(reads) == 2 * len(QUEUES) * len(tasks.LEVELS)
    probe = "INDEX task_waiting (namespace=? AND queue=? AND rank=? AND due_at"
    assert all(f"{probe}{than}?)" in step for step, than in zip(reads, "<>" * len(reads), strict=False)), reads


def test_the_runs_of_others_are_read_from_the_index_of_working_tasks(db: Connection) -> None:
    steps = [step for step in plan(db, runs._WATCH.replace("?", ":x")) if " task" in step]
    assert steps
    assert all("INDEX task_working (namespace=?" in step for step in steps), steps


def test_what_is_past_its_retention_is_found_by_index(db: Connection) -> None:
    reads = [step for step in plan(db, operations._PAST) if " task " in step]
    assert reads == ["SEARCH task USING INDEX task_ended (namespace=? AND state=? AND finished_at<?)"]


def test_what_is_past_its_start_deadline_is_found_by_index(db: Connection) -> None:
    steps = [step for step in plan(db, tasks._EXPIRE) if "start_deadline" in step]
    assert steps == ["SEARCH task USING INDEX task_deadline (namespace=? AND start_deadline>? AND start_deadline<?)"]


def test_the_tasks_that_are_working_are_listed_without_a_walk_through_all(tmp_path: Path) -> None:
    repository = SQLiteRepository(tmp_path / "tasks.db")
    repository.open()
    line = repository._readers.lists._line
    assert line is not None
    with line as reader:
        pass
    assert isinstance(reader, apsw.Connection)
    asked: list[str] = []

    def note(_cursor: object, sql: str, _values: object) -> bool:
        asked.append(sql)
        return True

    reader.exec_trace = note
    repository.page(TaskQuery(states=frozenset({TaskState.WORKING}))).result()
    repository.count(TaskQuery(states=frozenset({TaskState.WORKING}))).result()
    reader.exec_trace = None
    plans = [plan(reader, sql) for sql in asked]
    repository.close()
    assert len(plans) == 2
    assert all(any("INDEX task_working (namespace=?)" in step for step in steps) for steps in plans), plans
