"""Schedules, as statements in the writer's transaction: swapped by revision, with their tasks and their ledger.

The rules of overlap are triggers of the schema, so that they hold whatever ends a task; `settle` is their net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kokugen.repository.schedule_rows import (
    LEDGER_MAX,
    AuditRow,
    Changed,
    Ledger,
    LedgerQuery,
    LedgerRow,
    OccurrenceEnd,
    OccurrenceTask,
    ScheduleChange,
    ScheduledTask,
    ScheduleQuery,
    ScheduleRow,
    extends,
)
from kokugen.repository.sqlite import limits
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.library import Connection
from kokugen.repository.sqlite.tasks import BODY_MAX, Scope, encode

PAGE_MAX = 1000


def _columns(row: type[msgspec.Struct]) -> str:
    return ", ".join(f'"{name}"' for name in row.__struct_fields__)


def _values(row: type[msgspec.Struct]) -> str:
    return ", ".join(f"value->>{n}" for n in range(len(row.__struct_fields__)))


def array_of(row: type[msgspec.Struct]) -> str:
    """Return the SQL of a row as JSON."""
    return f"json_array({_columns(row)})"


# -- Changing

_CREATE = (
    f"INSERT INTO schedule (namespace, {_columns(ScheduleRow)}) SELECT :ns, {_values(ScheduleRow)}"
    " FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING"
)
_WRITE = (
    f"UPDATE schedule SET ({_columns(ScheduleRow)}) = (SELECT {_values(ScheduleRow)} FROM json_each(:rows))"
    " WHERE namespace = :ns AND id = :id AND rev = :expected"
    " AND NOT EXISTS (SELECT 1 FROM schedule o WHERE o.namespace = :ns AND o.name = :name AND o.id <> :id)"
)
_UNSETTLED = (
    " AND NOT EXISTS (SELECT 1 FROM task t WHERE t.namespace = :ns AND t.schedule_id = :id AND t.nominal >= :since"
    " AND t.state <> 0)"
)
_REMOVE = "DELETE FROM schedule WHERE namespace = :ns AND id = :id AND rev = :expected"
_TAKE_BACK = "UPDATE schedule SET runs = runs - :dropped WHERE namespace = :ns AND id = :id"
_DROP = (
    "DELETE FROM task WHERE namespace = :ns AND schedule_id = :id AND nominal >= :since AND state = 0"
    " AND schedule_id IS NOT NULL"
)
_DROP_BODIES = (
    "DELETE FROM task_param WHERE namespace = :ns AND id IN (SELECT id FROM task WHERE namespace = :ns"
    " AND schedule_id = :id AND nominal >= :since AND state = 0 AND schedule_id IS NOT NULL)"
)
_OWN = tuple(name for name in ScheduledTask.__struct_fields__ if name not in {"limit_key", "on_duplicate"})
_ADD = (
    f"INSERT INTO task (namespace, {', '.join(_OWN)}, hold, created_at, modified_at)"
    f" SELECT :ns, {', '.join(f'value->>{ScheduledTask.__struct_fields__.index(name)}' for name in _OWN)},"
    f" iif(value->>{ScheduledTask.__struct_fields__.index('overlap')} IS NULL, NULL, 'overlap'), :now, :now"
    " FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING"
).replace(
    f"value->>{ScheduledTask.__struct_fields__.index('param')},",
    "iif(length(value->>{0}) > {1}, NULL, value->>{0}),".format(
        ScheduledTask.__struct_fields__.index("param"), BODY_MAX
    ),
)
_ADD_BODIES = (
    "INSERT OR IGNORE INTO task_param SELECT :ns, value->>0, value->>1 FROM json_each(:rows)"
    " WHERE EXISTS (SELECT 1 FROM task WHERE namespace = :ns AND id = value->>0)"
)
_LATEST = (
    f"SELECT json_array(seq, {array_of(LedgerRow)}) FROM ledger WHERE namespace = :ns AND schedule_id = :id"
    ' ORDER BY "last" DESC, seq DESC LIMIT 1'
)
_EXTEND = 'UPDATE ledger SET "last" = :last, "count" = "count" + :count, at = :at WHERE seq = :seq'
_ASK_TO_REPORT = (
    "UPDATE task SET reports = 1 WHERE namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL AND state < 2"
    " AND NOT reports"
)
_AWAIT_END = (
    "UPDATE schedule SET next_at = NULL, wake_at = iif(paused_at IS NULL, NULL, wake_at)"
    " WHERE namespace = :ns AND id = :id AND delay IS NOT NULL AND EXISTS (SELECT 1 FROM task"
    " WHERE namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL AND state < 2)"
)
_APPEND = (
    f"INSERT INTO ledger (namespace, {_columns(LedgerRow)}) SELECT :ns, {_values(LedgerRow)} FROM json_each(:rows)"
)
_AUDIT = (
    f"INSERT INTO schedule_audit (namespace, {_columns(AuditRow)}) SELECT :ns, {_values(AuditRow)}"
    " FROM json_each(:rows)"
)


def change(scope: Scope, changes: Sequence[ScheduleChange]) -> list[Changed]:
    """Swap schedules one by one."""
    return [_change(scope, one_) for one_ in changes]


def _change(scope: Scope, change: ScheduleChange) -> Changed:
    if not _swap(scope, change):
        return Changed(False)
    row = change.row
    dropped = _drop(scope, row.id, change.drop_from) if change.drop_from is not None else 0
    if dropped and not change.remove:
        scope.db.execute(_TAKE_BACK, {"ns": scope.namespace, "id": row.id, "dropped": dropped})
    if change.tasks:
        add_tasks(scope, change.tasks)
    if change.drop_from is not None or any(task.overlap for task in change.tasks):
        _release(scope, row.id)
    if row.delay is not None:
        for sql in (_ASK_TO_REPORT, _AWAIT_END):
            scope.db.execute(sql, {"ns": scope.namespace, "id": row.id})
    limits.admit_after(scope, [task.id for task in change.tasks])
    if change.ledger:
        _write_ledger(scope, row.id, change.ledger)
    if change.audit is not None:
        scope.db.execute(_AUDIT, {"ns": scope.namespace, "rows": encode([change.audit])})
    return Changed(True, dropped)


def _swap(scope: Scope, change: ScheduleChange) -> bool:
    row = change.row
    names = {"ns": scope.namespace, "id": row.id, "expected": change.expected}
    if change.remove:
        scope.db.execute(_REMOVE, names)
    elif change.expected is None:
        scope.db.execute(_CREATE, {"ns": scope.namespace, "rows": encode([row])})
    else:
        names |= {"name": row.name, "rows": encode([row])}
        if change.drop_from is None:
            scope.db.execute(_WRITE, names)
        else:
            scope.db.execute(_WRITE + _UNSETTLED, names | {"since": change.drop_from})
    return bool(scope.db.changes())


def _drop(scope: Scope, schedule_id: str, since: int) -> int:
    names = {"ns": scope.namespace, "id": schedule_id, "since": since}
    scope.db.execute(_DROP_BODIES, names)
    scope.db.execute(_DROP, names)
    return scope.db.changes()


def add_tasks(scope: Scope, tasks: Sequence[ScheduledTask]) -> None:
    """Add tasks of schedules, on hold unless they may overlap."""
    scope.db.execute(_ADD, {"ns": scope.namespace, "now": scope.now, "rows": encode(tasks)})
    limits.gate(scope, [(task.id, task.limit_key) for task in tasks])
    bodies = [(task.id, task.param) for task in tasks if len(task.param) > BODY_MAX]
    if bodies:
        scope.db.execute(_ADD_BODIES, {"ns": scope.namespace, "rows": encode(bodies)})


def _write_ledger(scope: Scope, schedule_id: str, rows: Sequence[LedgerRow]) -> None:
    """Append rows; the first may go on where the latest ends."""
    found = one(scope.db, _LATEST, {"ns": scope.namespace, "id": schedule_id})
    if found is not None:
        seq, latest = msgspec.json.decode(found, type=tuple[int, LedgerRow])
        if extends(latest, rows[0]):
            head, rows = rows[0], rows[1:]
            scope.db.execute(_EXTEND, {"last": head.last, "count": head.count, "at": head.at, "seq": seq})
    if rows:
        append(scope, rows)


def append(scope: Scope, rows: Sequence[LedgerRow]) -> None:
    """Append rows to ledgers."""
    scope.db.execute(_APPEND, {"ns": scope.namespace, "rows": encode(rows)})


# -- Overlap

_HELD = "namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL AND state = 0 AND hold = 'overlap'"
_ACTIVE = (
    "namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL"
    " AND (state = 1 OR (state = 0 AND (hold IS NULL OR hold = 'limit')))"
)
_RELEASE = (
    "UPDATE task SET hold = NULL, modified_at = :now, rev = rev + 1 WHERE namespace = :ns AND id = ("
    f"SELECT id FROM task WHERE {_HELD} ORDER BY due_at, id LIMIT 1)"
    f" AND NOT EXISTS (SELECT 1 FROM task WHERE {_ACTIVE})"
)
_OVERDUE = (
    "SELECT json_group_array(DISTINCT schedule_id) FROM (SELECT schedule_id FROM task INDEXED BY task_overlap_due"
    " WHERE namespace = :ns AND overlap IS NOT NULL AND state = 0 AND hold = 'overlap' AND due_at <= :until"
    " ORDER BY due_at LIMIT :max)"
)
_JUDGE = (
    "UPDATE task SET state = 3, reason = 'overlap', hold = NULL, finished_at = :now, modified_at = :now, rev = rev + 1"
    f" WHERE {_HELD} AND due_at < :now AND overlap <> 'queue_all' AND id IS NOT CASE overlap"
    f" WHEN 'queue_one' THEN (SELECT id FROM task WHERE {_HELD} ORDER BY due_at, id LIMIT 1)"
    f" WHEN 'replace' THEN (SELECT id FROM task WHERE {_HELD} AND due_at < :now ORDER BY due_at DESC, id DESC LIMIT 1)"
    " END"
)
_REPLACING = f"EXISTS (SELECT 1 FROM task WHERE {_HELD} AND due_at < :now AND overlap = 'replace')"
_ASK_TO_STOP = (
    "UPDATE task SET cancel_requested = 1, reason = 'replaced', modified_at = :now, rev = rev + 1"
    " WHERE namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL AND state = 1 AND NOT cancel_requested"
    f" AND {_REPLACING}"
)
_END_WAITING = (
    "UPDATE task SET state = 3, reason = 'overlap', hold = NULL, finished_at = :now, modified_at = :now, rev = rev + 1"
    " WHERE namespace = :ns AND schedule_id = :id AND overlap IS NOT NULL AND state = 0"
    " AND (hold IS NULL OR hold = 'limit')"
    f" AND {_REPLACING}"
)


def _release(scope: Scope, schedule_id: str) -> int:
    """Let the earliest occurrence on hold go where nothing before it waits or runs."""
    return _changed(scope, _RELEASE, schedule_id)


def settle_overlaps(scope: Scope, until: int, limit: int) -> int:
    """Settle the schedules with occurrences on hold that are due by then."""
    found = one(scope.db, _OVERDUE, {"ns": scope.namespace, "until": until, "max": limit})
    return sum(_settle(scope, schedule_id) for schedule_id in msgspec.json.decode(found))


def _settle(scope: Scope, schedule_id: str) -> int:
    steps = (_RELEASE, _JUDGE, _ASK_TO_STOP, _END_WAITING)
    return sum(_changed(scope, sql, schedule_id) for sql in steps)


def _changed(scope: Scope, sql: str, schedule_id: str) -> int:
    scope.db.execute(sql, {"ns": scope.namespace, "now": scope.now, "id": schedule_id})
    return scope.db.changes()


# -- Reading

_DUE = (
    f"SELECT json_group_array({array_of(ScheduleRow)}) FROM (SELECT * FROM schedule INDEXED BY schedule_due"
    " WHERE namespace = :ns AND wake_at IS NOT NULL AND wake_at <= :until ORDER BY wake_at, id LIMIT :max)"
)
_LEDGER = (
    f"SELECT json_group_array({array_of(LedgerRow)}) FROM (SELECT * FROM (SELECT * FROM ledger"
    ' WHERE namespace = :ns AND schedule_id = :id AND "last" >= :first AND "first" <= :last'
    ' ORDER BY "last" DESC LIMIT :max) ORDER BY seq)'
)
_TASKS = (
    f"SELECT json_group_array({array_of(OccurrenceTask)}) FROM (SELECT * FROM (SELECT * FROM task"
    " WHERE namespace = :ns AND schedule_id = :id AND nominal BETWEEN :first AND :last"
    " ORDER BY nominal DESC LIMIT :max) ORDER BY nominal)"
)
_ENDS = (
    f"SELECT json_group_array({array_of(OccurrenceEnd)}) FROM (SELECT * FROM (SELECT * FROM occurrence_end"
    " WHERE namespace = :ns AND schedule_id = :id AND nominal BETWEEN :first AND :last"
    " ORDER BY nominal DESC, seq DESC LIMIT :max) ORDER BY nominal, seq)"
)


def due(scope: Scope, until: int, limit: int) -> list[ScheduleRow]:
    """Return the schedules that want a decision by then."""
    found = one(scope.db, _DUE, {"ns": scope.namespace, "until": until, "max": limit})
    return msgspec.json.decode(found, type=list[ScheduleRow])


def page(db: Connection, namespace: str, query: ScheduleQuery) -> list[ScheduleRow]:
    """Return schedules in order of their names."""
    where, names = _where(query)
    names |= {"ns": namespace, "max": max(0, min(query.limit, PAGE_MAX))}
    sql = (
        f"SELECT json_group_array({array_of(ScheduleRow)}) FROM (SELECT * FROM schedule WHERE namespace = :ns"
        f" AND {where} ORDER BY name LIMIT :max)"
    )
    return msgspec.json.decode(one(db, sql, names), type=list[ScheduleRow])


def _where(query: ScheduleQuery) -> tuple[str, dict[str, Any]]:
    conditions, names = ["true"], dict[str, Any]()
    for column, listed in (("id", query.ids), ("name", query.names)):
        if listed is not None:
            conditions.append(f"{column} IN (SELECT value FROM json_each(:{column}s))")
            names[f"{column}s"] = encode(listed)
    if query.owner is not None:
        conditions.append("owner = :owner")
        names["owner"] = query.owner
    if query.after is not None:
        conditions.append("name > :after")
        names["after"] = query.after
    if query.paused is not None:
        conditions.append(f"paused_at IS {'NOT ' if query.paused else ''}NULL")
    return " AND ".join(conditions), names


def ledger(db: Connection, namespace: str, query: LedgerQuery) -> Ledger:
    """Return a part of a ledger."""
    names = {
        "ns": namespace,
        "id": query.schedule_id,
        "first": query.first,
        "last": query.last,
        "max": max(0, min(query.limit, LEDGER_MAX)),
    }
    return Ledger(
        rows=msgspec.json.decode(one(db, _LEDGER, names), type=list[LedgerRow]),
        tasks=msgspec.json.decode(one(db, _TASKS, names), type=list[OccurrenceTask]),
        ends=msgspec.json.decode(one(db, _ENDS, names), type=list[OccurrenceEnd]),
    )


def audit(db: Connection, namespace: str, name: str, limit: int) -> list[AuditRow]:
    """Return the changes of a schedule, newest first."""
    sql = (
        f"SELECT json_group_array({array_of(AuditRow)}) FROM (SELECT * FROM schedule_audit"
        " WHERE namespace = :ns AND name = :name ORDER BY seq DESC LIMIT :max)"
    )
    names = {"ns": namespace, "name": name, "max": max(0, min(limit, PAGE_MAX))}
    return msgspec.json.decode(one(db, sql, names), type=list[AuditRow])


# -- Forgetting

_FORGET = (
    "DELETE FROM {table} WHERE seq IN (SELECT seq FROM {table} WHERE namespace = :ns AND {column} < :before LIMIT :max)"
)


def forget(scope: Scope, before: int, limit: int) -> int:
    """Delete what the ledger has of times before then."""
    deleted = 0
    for table, column in (("ledger", '"last"'), ("occurrence_end", "nominal")):
        sql = _FORGET.format(table=table, column=column)
        scope.db.execute(sql, {"ns": scope.namespace, "before": before, "max": limit - deleted})
        deleted += scope.db.changes()
    return deleted
