"""Many decisions at once leave in a file what they leave one by one."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from random import Random

import pytest
from msgspec.structs import replace

from kokugen.recurrence.interval import Every
from kokugen.repository.schedule_rows import Changed, Overlap, ScheduleChange, ScheduleRow
from kokugen.repository.sqlite import decisions, schedules
from kokugen.repository.sqlite.connection import connect, migrate
from kokugen.repository.sqlite.library import Apsw, Connection
from kokugen.repository.sqlite.tasks import Scope
from kokugen.schedules.decision import Decision
from kokugen.schedules.policy import Catchup, Policy, Template

MINUTE_US = 60_000_000
TRIGGER = Every(timedelta(minutes=1))
TABLES = ("schedule", "task", "task_param", "ledger", "schedule_audit")
LONG = '{"args":["' + "x" * 2000 + '"]}'


@pytest.fixture
def stores(tmp_path: Path) -> Iterator[tuple[Connection, Connection]]:
    opened = []
    for name in ("alone", "together"):
        path = tmp_path / f"{name}.db"
        db = connect(Apsw(), path)
        migrate(db, path, "cluster")
        opened.append(db)
    yield opened[0], opened[1]
    for db in opened:
        db.close()


def content(db: Connection) -> dict[str, list[tuple[object, ...]]]:
    """All rows but for the numbers of a ledger's, which follow the order of the schedules in a batch."""
    found = {}
    for table in TABLES:
        names = [row[1] for row in db.execute(f"SELECT * FROM pragma_table_info('{table}')")]
        names = [name for name in names if name != "seq"]
        columns = ", ".join(f'"{name}"' for name in names)
        found[table] = [tuple(row) for row in db.execute(f"SELECT {columns} FROM {table} ORDER BY {columns}")]
    return found


def template_of(number: int) -> Template:
    return Template(work_id="work", param=LONG if number % 5 == 0 else "{}")


def decided(row: ScheduleRow, number: int, now: int, chance: Random) -> ScheduleChange:
    policy = Policy(catchup=chance.choice(list(Catchup)))
    return Decision(row, TRIGGER, policy, now=now, until=now + MINUTE_US).change(template_of(number))


@pytest.mark.parametrize("seed", range(30))
def test_it_is_as_if_they_came_one_by_one(stores: tuple[Connection, Connection], seed: int) -> None:
    alone, together = stores
    chance = Random(seed)
    rows = [
        ScheduleRow(
            id=f"s{number}",
            name=f"name{number}",
            spec="{}",
            policy="{}",
            template="{}",
            owner=chance.choice((None, "code")),
            overlap=chance.choice(list(Overlap)),
            decided=0,
            created_at=0,
            modified_at=0,
        )
        for number in range(12)
    ]
    changes = [ScheduleChange(row=row) for row in rows]
    for now in range(0, 60 * MINUTE_US, 7 * MINUTE_US):
        answers = apply(alone, changes, now, at_once=False)
        assert apply(together, changes, now, at_once=True) == answers
        assert content(together) == content(alone)
        finish_some(stores, now, chance)
        rows = [
            change.row if answer.applied else row for row, change, answer in zip(rows, changes, answers, strict=True)
        ]
        changes = [disturbed(decided(row, number, now, chance), chance) for number, row in enumerate(rows)]
    assert len(content(alone)["task"]) > 20
    assert len(content(alone)["ledger"]) > 12


def apply(db: Connection, changes: list[ScheduleChange], now: int, *, at_once: bool) -> list[Changed]:
    scope = Scope(db, "default", now)
    db.execute("BEGIN IMMEDIATE")
    found = decisions.change(scope, changes) if at_once else schedules.change(scope, changes)
    db.execute("COMMIT")
    return found


def disturbed(change: ScheduleChange, chance: Random) -> ScheduleChange:
    """The same change, or one that another was quicker than, or that changes what the schedule is, too."""
    kind = chance.randrange(8)
    if kind == 0:
        return replace(change, expected=(change.expected or 0) - 1)
    if kind == 1:
        return replace(change, row=replace(change.row, rev=change.row.rev + 3), expected=(change.expected or 0) + 3)
    if kind == 2:
        return replace(change, row=replace(change.row, spec='{"other":1}', edition=change.row.edition + 1))
    return change


def finish_some(stores: tuple[Connection, Connection], now: int, chance: Random) -> None:
    """Let some tasks end, the same in both, so that others are released."""
    ended = f"id < '{chance.randrange(16):x}'" if chance.randrange(2) else "hold IS NULL"
    for db in stores:
        db.execute(f"UPDATE task SET state = 2, modified_at = {now} WHERE state = 0 AND hold IS NULL AND {ended}")


def test_two_changes_of_one_schedule_are_made_in_their_order(stores: tuple[Connection, Connection]) -> None:
    row = ScheduleRow(id="s", name="n", spec="{}", policy="{}", template="{}", decided=0, created_at=0, modified_at=0)
    first = decided(row, 1, MINUTE_US, Random(1))
    second = decided(first.row, 1, 9 * MINUTE_US, Random(1))
    for db in stores:
        apply(db, [ScheduleChange(row=row)], 0, at_once=False)
        found = apply(db, [first, second], MINUTE_US, at_once=db is stores[1])
        assert found == [Changed(True), Changed(True)]
    assert content(stores[0]) == content(stores[1])
