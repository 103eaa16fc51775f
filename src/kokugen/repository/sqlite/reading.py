"""Reading, on a connection of its own: pages of tasks as one JSON row, told as `TaskInfo`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kokugen.clock import to_us
from kokugen.repository.rows import StoreHealth
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.library import Connection
from kokugen.repository.sqlite.tasks import encode
from kokugen.repository.stored import ATTEMPT_TIMES, GATE, TaskRow, attempt_of, info_of
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery, TaskState

PAGE_MAX = 1000


def _body(name: str) -> str:
    return f"coalesce({name}, (SELECT body FROM task_{name} b WHERE b.namespace = t.namespace AND b.id = t.id))"


_SCHEDULE = "(SELECT s.name FROM schedule s WHERE s.namespace = t.namespace AND s.id = t.schedule_id)"
_TOLD = {name: _body(name) for name in ("param", "result")} | {"schedule": _SCHEDULE, "gate": GATE.format(t="")}
_ROW = f"json_array({', '.join(_TOLD.get(name, name) for name in TaskRow.__struct_fields__)})"


def tasks(
    db: Connection, namespace: str, where: str, names: dict[str, Any], order: str, limit: int, source: str = "task"
) -> list[TaskInfo]:
    """Return the tasks of a condition that is written here or in this package, never by a caller."""
    sql = (
        f"SELECT json_group_array({_ROW}) FROM (SELECT * FROM {source} WHERE namespace = :ns AND {where}"
        f" ORDER BY {order} LIMIT :limit) t"
    )
    found = one(db, sql, names | {"ns": namespace, "limit": limit})
    return [info_of(row, namespace) for row in msgspec.json.decode(found, type=list[TaskRow])]


def modified_since(db: Connection, namespace: str, since_us: int, limit: int) -> list[TaskInfo]:
    """Return a first part in order of change, which never ends between two changes of one instant."""
    names: dict[str, Any] = {"since": since_us, "skip": limit - 1, "ns": namespace}
    sql = "SELECT modified_at FROM task WHERE namespace = :ns AND modified_at >= :since ORDER BY modified_at LIMIT 1"
    names["until"] = one(db, f"{sql} OFFSET :skip", names)
    if names["until"] == since_us:  # more than a part share the first instant: all of them, and the next instant
        names["until"] = one(db, sql.replace(">= :since", "> :since"), names)
    where = "modified_at >= :since AND (:until IS NULL OR modified_at <= :until)"
    return tasks(db, namespace, where, names, "modified_at, id", -1)


def get(db: Connection, namespace: str, ids: Sequence[str]) -> list[TaskInfo]:
    """Return the tasks that exist, in the order asked for."""
    names = {"ids": encode(list(dict.fromkeys(ids)))}
    found = tasks(db, namespace, "id IN (SELECT value FROM json_each(:ids))", names, "id", len(ids))
    by_id = {info.id: info for info in found}
    return [by_id[task_id] for task_id in ids if task_id in by_id]


_OVER = (
    "SELECT json_group_array(value) FROM json_each(:ids) WHERE"
    " coalesce((SELECT state FROM task WHERE namespace = :ns AND id = value), 2) >= 2"
)


def over(db: Connection, namespace: str, ids: Sequence[str]) -> list[str]:
    """Return the ids of tasks that are over, or not there."""
    return msgspec.json.decode(one(db, _OVER, {"ns": namespace, "ids": encode(ids)}), type=list[str])


def page(db: Connection, namespace: str, query: TaskQuery) -> list[TaskInfo]:
    """Return one page in order of due time, then id."""
    limit = max(0, min(query.limit, PAGE_MAX))
    where, names = _where(query)
    if query.after is not None:
        where += " AND (due_at, id) > (:after_due, :after_id)"
        names |= {"after_due": query.after[0], "after_id": query.after[1]}
    return tasks(db, namespace, where, names, "due_at, id", limit, _source(query))


def count(db: Connection, namespace: str, query: TaskQuery) -> int:
    """Return how many tasks fit."""
    where, names = _where(query)
    sql = f"SELECT count(*) FROM {_source(query)} WHERE namespace = :ns AND {where}"
    return int(one(db, sql, names | {"ns": namespace}))


def _where(query: TaskQuery) -> tuple[str, dict[str, Any]]:
    conditions = ["true"]
    names: dict[str, Any] = {}
    for column, value in (
        ("work_id", query.work_id),
        ("queue", query.queue),
        ("unique_key", query.unique),
        ("owner", query.owner),
        ("chain", query.chain),
    ):
        if value is not None:
            conditions.append(f"{column} = :{column}")
            names[column] = value
    if query.states is not None:
        conditions.append(_in(query.states))
    if query.tag is not None:
        conditions.append("iif(json_valid(tags), :tag IN (SELECT value FROM json_each(tags)), false)")
        names["tag"] = query.tag
    if query.held is not None:
        conditions.append(f"hold IS {'NOT ' if query.held else ''}NULL")
    for name, sign, when in (("due_before", "<", query.due_before), ("due_from", ">=", query.due_from)):
        if when is not None:
            conditions.append(f"due_at {sign} :{name}")
            names[name] = to_us(when)
    return " AND ".join(conditions), names


def _source(query: TaskQuery) -> str:
    """Return the table; the few tasks that are Working are not worth a walk through all in order of due time."""
    return "task INDEXED BY task_working" if query.states == frozenset({TaskState.WORKING}) else "task"


def _in(states: frozenset[TaskState]) -> str:
    if len(states) == 1:
        return f"state = {int(*states)}"  # as the partial indexes have it
    return f"state IN ({', '.join(str(int(state)) for state in sorted(states)) or 'NULL'})"


def attempts(db: Connection, namespace: str, task_id: str) -> list[Attempt]:
    """Return the attempts of a task, oldest first."""
    names = ("fence", "attempt", "outcome", "node", "error", *ATTEMPT_TIMES)
    pairs = ", ".join(f"'{name}', {name}" for name in names)
    sql = (
        f"SELECT json_group_array(json_object({pairs})) FROM (SELECT * FROM attempt"
        " WHERE namespace = ? AND task_id = ? ORDER BY fence)"
    )
    return [attempt_of(columns) for columns in msgspec.json.decode(one(db, sql, (namespace, task_id)))]


def nodes(db: Connection) -> list[NodeInfo]:
    """Return the nodes, newest first."""
    pairs = ", ".join(f"'{name}', {name}" for name in NodeInfo.__struct_fields__)
    sql = f"SELECT json_group_array(json_object({pairs})) FROM (SELECT * FROM node ORDER BY started_at DESC, node_id)"
    return msgspec.json.decode(one(db, sql), type=list[NodeInfo])


def health(db: Connection, namespace: str, url: str, now: int) -> StoreHealth:
    """Return what the store says of itself."""
    sql = (
        "SELECT json_group_array(json_array(state, n, held, overdue, oldest)) FROM (SELECT state, count(*) AS n,"
        " sum(hold IS NOT NULL) AS held, sum(hold IS NULL AND due_at <= :now) AS overdue,"
        " min(iif(hold IS NULL, due_at, NULL)) AS oldest FROM task WHERE namespace = :ns GROUP BY state)"
    )
    rows = {row[0]: row for row in msgspec.json.decode(one(db, sql, {"ns": namespace, "now": now}))}
    waiting = rows.get(0, [0, 0, 0, 0, None])
    return StoreHealth(
        url=url,
        backend="sqlite",
        version=one(db, "SELECT sqlite_version()"),
        schema_version=int(one(db, "SELECT value FROM meta WHERE key = 'schema_version'")),
        durable=True,
        counts={state.label: rows[state][1] if state in rows else 0 for state in TaskState},
        held=waiting[2],
        overdue=waiting[3],
        oldest_due_us=waiting[4],
    )
