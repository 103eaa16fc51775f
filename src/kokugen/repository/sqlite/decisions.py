"""Many decisions about schedules at once, as one statement for all of them instead of several for each.

After an outage, and where many schedules come at one time, that is most of what a node does. A decision leaves what a
schedule is as it was; every other change, and one that others were quicker than, goes through `schedules`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import msgspec

from kokugen.repository.schedule_rows import Changed, LedgerRow, ScheduleChange, ScheduleRow, extends
from kokugen.repository.sqlite import limits, schedules
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.schedules import add_tasks, append, array_of
from kokugen.repository.sqlite.tasks import Scope, encode

_FIELDS = ScheduleRow.__struct_fields__
_DEFINED = ("name", "owner", "spec", "policy", "template", "overlap", "gen", "edition", "created_at", "failures_max")
_DECIDED = tuple(name for name in _FIELDS if name not in {"id", "delay", *_DEFINED})


def _value(name: str) -> str:
    return f"value->>{_FIELDS.index(name)}"


def _path(name: str) -> str:
    """Return where a value is in a pair of a row's number and the row."""
    return f"'$[1][{_FIELDS.index(name)}]'"


_MATCHING = (
    "SELECT json_group_array(json_array(s.rowid, j.key)) FROM json_each(:rows) AS j CROSS JOIN schedule AS s"
    f" ON s.namespace = :ns AND s.id = j.{_value('id')} AND s.rev = j.{_value('rev')} - 1"
    f" AND {' AND '.join(f'+s.{name} IS j.{_value(name)}' for name in _DEFINED)}"
)
_WRITE = (
    f"UPDATE schedule SET {', '.join(f'{name} = j.value->>{_path(name)}' for name in _DECIDED)}"
    " FROM json_each(:rows) AS j WHERE schedule.rowid = j.value->>0"
)
_RELEASE = (
    "UPDATE task SET hold = NULL, modified_at = :now, rev = rev + 1 WHERE namespace = :ns AND id IN ("
    " SELECT (SELECT t.id FROM task t WHERE t.namespace = :ns AND t.schedule_id = j.value AND t.overlap IS NOT NULL"
    " AND t.state = 0 AND t.hold = 'overlap' ORDER BY t.due_at, t.id LIMIT 1) FROM json_each(:ids) AS j"
    " WHERE NOT EXISTS (SELECT 1 FROM task a WHERE a.namespace = :ns AND a.schedule_id = j.value"
    " AND a.overlap IS NOT NULL AND (a.state = 1 OR (a.state = 0 AND (a.hold IS NULL OR a.hold = 'limit')))))"
)
_LATEST = (
    f"SELECT json_group_array(json_array(seq, {array_of(LedgerRow)})) FROM json_each(:ids) AS j CROSS JOIN ledger"
    " ON seq = (SELECT l.seq FROM ledger l WHERE l.namespace = :ns AND l.schedule_id = j.value"
    ' ORDER BY l."last" DESC, l.seq DESC LIMIT 1)'
)
_EXTEND = (
    'UPDATE ledger SET "last" = j.value->>1, "count" = "count" + (j.value->>2), at = j.value->>3'
    " FROM json_each(:rows) AS j WHERE ledger.seq = j.value->>0"
)


def change(scope: Scope, changes: Sequence[ScheduleChange]) -> list[Changed]:
    """Swap schedules: decisions together, everything else one by one."""
    decided = [one_ for one_ in changes if one_.is_decision]
    if len({change_.row.id for change_ in changes}) < len(changes) or len(decided) < 2:
        return schedules.change(scope, changes)
    done = _decide(scope, decided)
    return [Changed(True) if one_.row.id in done else schedules.change(scope, [one_])[0] for one_ in changes]


def _decide(scope: Scope, changes: list[ScheduleChange]) -> set[str]:
    """Swap those that are as they were when they were decided upon; return their ids."""
    found = one(scope.db, _MATCHING, {"ns": scope.namespace, "rows": encode([one_.row for one_ in changes])})
    matching = msgspec.json.decode(found, type=list[tuple[int, int]])
    applied = [changes[place] for _, place in matching]
    ids = [one_.row.id for one_ in applied]
    scope.db.execute(_WRITE, {"rows": encode([(number, changes[place].row) for number, place in matching])})
    tasks = [task for one_ in applied for task in one_.tasks]
    if tasks:
        add_tasks(scope, tasks)
    if any(task.overlap for task in tasks):
        scope.db.execute(_RELEASE, {"ns": scope.namespace, "now": scope.now, "ids": encode(ids)})
    limits.admit_after(scope, [task.id for task in tasks])
    if any(one_.ledger for one_ in applied):
        _write_ledgers(scope, ids, applied)
    return set(ids)


def _write_ledgers(scope: Scope, ids: list[str], changes: list[ScheduleChange]) -> None:
    """Append to ledgers; the first row of each may go on where its newest ends."""
    found = one(scope.db, _LATEST, {"ns": scope.namespace, "ids": encode(ids)})
    latest = {row.schedule_id: (seq, row) for seq, row in msgspec.json.decode(found, type=list[tuple[int, LedgerRow]])}
    longer: list[tuple[int, int, int | None, int]] = []
    rows = list[LedgerRow]()
    for row, is_first in _rows(changes):
        newest = latest.get(row.schedule_id) if is_first else None
        if newest is not None and extends(newest[1], row):
            longer.append((newest[0], row.last, row.count, row.at))
        else:
            rows.append(row)
    if longer:
        scope.db.execute(_EXTEND, {"rows": encode(longer)})
    if rows:
        append(scope, rows)


def _rows(changes: list[ScheduleChange]) -> Iterator[tuple[LedgerRow, bool]]:
    for change_ in changes:
        yield from ((row, place == 0) for place, row in enumerate(change_.ledger))
