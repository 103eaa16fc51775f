"""Reading: pages of tasks as one JSON text, told as `TaskInfo`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kokugen.clock import to_us
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.statement import compiled
from kokugen.repository.rows import StoreHealth
from kokugen.repository.stored import GATE, TaskRow, attempt_of, info_of
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery, TaskState

PAGE_MAX = 1000


_SCHEDULE = "(SELECT s.name FROM kokugen.schedule s WHERE s.namespace = t.namespace AND s.id = t.schedule_id)"
_TOLD = {name: f"t.{name}" for name in TaskRow.__struct_fields__} | {"schedule": _SCHEDULE, "gate": GATE.format(t="t.")}
_ROW = f"json_build_array({', '.join(_TOLD.values())})"


_GET = (
    f"SELECT json_agg({_ROW})::text FROM unnest(:ids::text[]) AS asked (id) CROSS JOIN LATERAL"
    " (SELECT * FROM kokugen.task WHERE namespace = :ns::text AND id = asked.id LIMIT 1) t"
)


async def _tasks(scope: Scope, where: str, names: dict[str, Any], order: str) -> list[TaskInfo]:
    """Return the tasks of a condition that is written here, never by a caller, in order; all, or up to `:limit`."""
    limit = " LIMIT :limit::bigint" if "limit" in names else ""
    sql = (
        f"SELECT json_agg({_ROW} ORDER BY {order})::text FROM (SELECT * FROM kokugen.task"
        f" WHERE namespace = :ns::text AND {where} ORDER BY {order}{limit}) t"
    )
    (found,) = await scope.session.fetch(compiled(sql, scope.schema), scope.names | names)
    return _infos(found, scope.namespace)


def _infos(found: str | None, namespace: str) -> list[TaskInfo]:
    rows = msgspec.json.decode(found, type=list[TaskRow]) if found else []
    return [info_of(row, namespace) for row in rows]


async def get(scope: Scope, ids: Sequence[str]) -> list[TaskInfo | None]:
    """Return the tasks of ids, None where there is none."""
    (found,) = await scope.session.fetch(compiled(_GET, scope.schema), scope.names | {"ids": list(dict.fromkeys(ids))})
    by_id = {info.id: info for info in _infos(found, scope.namespace)}
    return [by_id.get(task_id) for task_id in ids]


_OVER = (
    "SELECT coalesce(json_agg(asked.id), '[]')::text FROM unnest(:ids::text[]) AS asked (id) LEFT JOIN LATERAL"
    " (SELECT state FROM kokugen.task WHERE namespace = :ns::text AND id = asked.id LIMIT 1) t ON true"
    " WHERE coalesce(t.state, 2) >= 2"
)


async def over(scope: Scope, ids: Sequence[str]) -> list[str]:
    """Return the ids of tasks that are over, or not there."""
    (found,) = await scope.session.fetch(compiled(_OVER, scope.schema), scope.names | {"ids": list(ids)})
    return msgspec.json.decode(found, type=list[str])


async def modified_since(scope: Scope, since_us: int, limit: int) -> list[TaskInfo]:
    """Return a first part in order of change, which never ends between two changes of one instant."""
    (until,) = await scope.session.row("part_end", scope.names | {"since": since_us, "limit": limit})
    where = "modified_at >= :since::bigint AND (:until::bigint IS NULL OR modified_at <= :until)"
    return await _tasks(scope, where, {"since": since_us, "until": until}, "modified_at, id")


async def page(scope: Scope, query: TaskQuery) -> list[TaskInfo]:
    """Return one page in order of due time, then id."""
    where, names = _where(query)
    names["limit"] = max(0, min(query.limit, PAGE_MAX))
    if query.after is not None:
        where += " AND (due_at, id) > (:after_due::bigint, :after_id::text)"
        names |= {"after_due": query.after[0], "after_id": query.after[1]}
    return await _tasks(scope, where, names, "due_at, id")


async def count(scope: Scope, query: TaskQuery) -> int:
    """Return how many tasks fit."""
    where, names = _where(query)
    sql = f"SELECT count(*) FROM kokugen.task WHERE namespace = :ns::text AND {where}"
    (number,) = await scope.session.fetch(compiled(sql, scope.schema), scope.names | names)
    return int(number)


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
            conditions.append(f"{column} = :{column}::text")
            names[column] = value
    if query.states is not None:
        conditions.append(f"state IN ({', '.join(str(int(state)) for state in sorted(query.states)) or 'NULL'})")
    if query.tag is not None:
        conditions.append("tags IS NOT NULL AND :tag::text IN (SELECT json_array_elements_text(tags::json))")
        names["tag"] = query.tag
    if query.held is not None:
        conditions.append(f"hold IS {'NOT ' if query.held else ''}NULL")
    for name, sign, when in (("due_before", "<", query.due_before), ("due_from", ">=", query.due_from)):
        if when is not None:
            conditions.append(f"due_at {sign} :{name}::bigint")
            names[name] = to_us(when)
    return " AND ".join(conditions), names


async def attempts(scope: Scope, task_id: str) -> list[Attempt]:
    """Return the attempts of a task, oldest first."""
    (found,) = await scope.session.row("attempts", scope.names | {"id": task_id})
    return [attempt_of(columns) for columns in msgspec.json.decode(found)]


async def nodes(scope: Scope) -> list[NodeInfo]:
    """Return the nodes, newest first."""
    (found,) = await scope.session.row("nodes", {})
    return msgspec.json.decode(found, type=list[NodeInfo])


async def health(scope: Scope, url: str) -> StoreHealth:
    """Return what the store says of itself."""
    row = await scope.session.row("health", scope.names)
    by_state = {state: rest for state, *rest in msgspec.json.decode(row["states"])}
    waiting = by_state.get(0, [0, 0, 0, None])
    return StoreHealth(
        url=url,
        backend="postgresql",
        version=row["version"],
        schema_version=int(row["schema_version"]),
        durable=row["durable"],
        counts={state.label: by_state[state][0] if state in by_state else 0 for state in TaskState},
        held=waiting[1],
        overdue=waiting[2],
        oldest_due_us=waiting[3],
    )
