"""Decisions about schedules, for the tests that what many at once leave in a store is what they leave one by one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from random import Random
from typing import Any, Protocol

from msgspec.structs import replace

from kokugen.recurrence.interval import Every
from kokugen.repository.limit_rows import LimitRule
from kokugen.repository.schedule_rows import Changed, Overlap, ScheduleChange, ScheduleRow
from kokugen.schedules.decision import Decision
from kokugen.schedules.policy import Catchup, Policy, Template

MINUTE_US = 60_000_000
TRIGGER = Every(timedelta(minutes=1))
WIDE = LimitRule(name="work:work", at_once=1000)
"""Tasks have to pass it, and all of them may."""
TABLES = ("schedule", "task", "ledger", "schedule_audit")
LONG = '{"args":["' + "x" * 2000 + '"]}'


class Store(Protocol):
    """A store whose tables a test can see."""

    def apply(self, changes: Sequence[ScheduleChange], now: int, *, at_once: bool) -> list[Changed]:
        """Swap schedules, all at once or one after the other."""
        ...

    def content(self) -> dict[str, list[Any]]:
        """Return all rows but for the numbers of a ledger's, which follow the order of the schedules in a batch."""
        ...

    def limit(self, rule: LimitRule) -> None:
        """Have a limit from now on."""
        ...

    def finish(self, now: int, ended: str) -> None:
        """Let those waiting tasks that may be claimed, and are as the SQL says, end, so that others are released."""
        ...


def compare(alone: Store, together: Store, seed: int) -> None:
    """Have both take the same decisions, among which some that others were quicker than; with a limit or without."""
    chance = Random(seed)
    if chance.randrange(2):
        for store in (alone, together):
            store.limit(WIDE)
    rows = [schedule(number, chance) for number in range(12)]
    changes = [ScheduleChange(row=row) for row in rows]
    for now in range(0, 60 * MINUTE_US, 7 * MINUTE_US):
        answers = alone.apply(changes, now, at_once=False)
        assert together.apply(changes, now, at_once=True) == answers
        assert together.content() == alone.content()
        ended = f"id < '{chance.randrange(16):x}'" if chance.randrange(2) else "hold IS NULL"
        for store in (alone, together):
            store.finish(now, ended)
        rows = [
            change.row if answer.applied else row for row, change, answer in zip(rows, changes, answers, strict=True)
        ]
        changes = [disturbed(decided(row, number, now, chance), chance) for number, row in enumerate(rows)]
    assert len(alone.content()["task"]) > 20
    assert len(alone.content()["ledger"]) > 12


def schedule(number: int, chance: Random) -> ScheduleRow:
    return ScheduleRow(
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


def decided(row: ScheduleRow, number: int, now: int, chance: Random) -> ScheduleChange:
    """Return what a node decides at a time of a schedule that comes every minute."""
    template = Template(work_id="work", param=LONG if number % 5 == 0 else "{}")
    policy = Policy(catchup=chance.choice(list(Catchup)))
    return Decision(row, TRIGGER, policy, now=now, until=now + MINUTE_US).change(template)


def disturbed(change: ScheduleChange, chance: Random) -> ScheduleChange:
    """Return the same change, or one that another was quicker than, or that changes what the schedule is, too."""
    kind = chance.randrange(8)
    if kind == 0:
        return replace(change, expected=(change.expected or 0) - 1)
    if kind == 1:
        return replace(change, row=replace(change.row, rev=change.row.rev + 3), expected=(change.expected or 0) + 3)
    if kind == 2:
        return replace(change, row=replace(change.row, spec='{"other":1}', edition=change.row.edition + 1))
    return change


def compare_order(alone: Store, together: Store) -> None:
    """Have both make two changes of one schedule in one call."""
    row = ScheduleRow(id="s", name="n", spec="{}", policy="{}", template="{}", decided=0, created_at=0, modified_at=0)
    first = decided(row, 1, MINUTE_US, Random(1))
    second = decided(first.row, 1, 9 * MINUTE_US, Random(1))
    for store in (alone, together):
        store.apply([ScheduleChange(row=row)], 0, at_once=False)
        found = store.apply([first, second], MINUTE_US, at_once=store is together)
        assert found == [Changed(True), Changed(True)]
    assert alone.content() == together.content()
