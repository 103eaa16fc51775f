"""Schedules: swapped by revision, with their tasks and their ledger, one statement a batch.

What one change does is a function of the schema, so is what many decisions do, and so are the rules of overlap, so that
they hold whatever ends a task; `settle_overlaps` is their net.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import msgspec

from kokugen.repository.postgres.adding import encode
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.limits import admit_after
from kokugen.repository.postgres.statement import compiled
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
    ScheduleQuery,
    ScheduleRow,
)

T = TypeVar("T")

PAGE_MAX = 1000
_ROW = f"json_build_array({', '.join(f's.{name}' for name in ScheduleRow.__struct_fields__)})"


async def change(scope: Scope, changes: Sequence[ScheduleChange]) -> list[Changed]:
    """Swap schedules: decisions together, everything else, and what others were quicker with, one by one."""
    in_order = sorted(changes, key=lambda change: change.row.id)  # so that two nodes at once do not wait for each other
    decisions = [change for change in in_order if change.is_decision]
    alone = len({change.row.id for change in changes}) == len(changes)
    decided = await _decide(scope, decisions) if alone and len(decisions) > 1 else frozenset[str]()
    rest = [change for change in in_order if change.row.id not in decided]
    swapped = iter(await _swap(scope, rest))
    answers = {id(change): Changed(True) if change.row.id in decided else next(swapped) for change in in_order}
    await admit_after(scope, [task.id for change in changes for task in change.tasks])
    return [answers[id(change)] for change in changes]


async def _decide(scope: Scope, changes: Sequence[ScheduleChange]) -> frozenset[str]:
    """Swap those that are as they were when they were decided upon; return their ids."""
    (ids,) = await scope.session.row("decide_schedules", scope.names | {"changes": encode(changes)})
    return frozenset(ids)


async def _swap(scope: Scope, changes: Sequence[ScheduleChange]) -> list[Changed]:
    if not changes:
        return []
    (answered,) = await scope.session.row("change_schedules", scope.names | {"changes": encode(changes)})
    return msgspec.json.decode(answered, type=list[Changed])


async def settle_overlaps(scope: Scope, until: int, limit: int) -> int:
    """Deal with occurrences on hold that are due by then."""
    (changed,) = await scope.session.row("settle_overlaps", scope.names | {"until": until, "most": limit})
    return int(changed)


async def forget(scope: Scope, before: int, limit: int) -> int:
    """Delete what the ledger has of times before then."""
    (deleted,) = await scope.session.row("forget_occurrences", scope.names | {"before": before, "most": limit})
    return int(deleted)


async def due(scope: Scope, until: int, limit: int) -> list[ScheduleRow]:
    """Return the schedules that want a decision by then."""
    (rows,) = await scope.session.row("due_schedules", scope.names | {"until": until, "most": limit})
    return _decoded(rows, ScheduleRow)


async def page(scope: Scope, query: ScheduleQuery) -> list[ScheduleRow]:
    """Return schedules in order of their names."""
    where, names = _where(query)
    names |= {"limit": max(0, min(query.limit, PAGE_MAX))}
    sql = (
        f"SELECT json_agg({_ROW} ORDER BY s.name)::text FROM (SELECT * FROM kokugen.schedule s"
        f" WHERE s.namespace = :ns::text AND {where} ORDER BY s.name LIMIT :limit::bigint) s"
    )
    (rows,) = await scope.session.fetch(compiled(sql, scope.schema), scope.names | names)
    return _decoded(rows, ScheduleRow)


def _where(query: ScheduleQuery) -> tuple[str, dict[str, Any]]:
    conditions, names = ["true"], dict[str, Any]()
    for column, listed in (("id", query.ids), ("name", query.names)):
        if listed is not None:
            conditions.append(f"s.{column} = ANY (:{column}s::text[])")
            names[f"{column}s"] = list(listed)
    if query.owner is not None:
        conditions.append("s.owner = :owner::text")
        names["owner"] = query.owner
    if query.after is not None:
        conditions.append("s.name > :after::text")
        names["after"] = query.after
    if query.paused is not None:
        conditions.append(f"s.paused_at IS {'NOT ' if query.paused else ''}NULL")
    return " AND ".join(conditions), names


async def ledger(scope: Scope, query: LedgerQuery) -> Ledger:
    """Return a part of a ledger."""
    asked = {
        "id": query.schedule_id,
        "first": query.first,
        "last": query.last,
        "most": max(0, min(query.limit, LEDGER_MAX)),
    }
    found = await scope.session.row("ledger", scope.names | asked)
    return Ledger(
        rows=_decoded(found["rows"], LedgerRow),
        tasks=_decoded(found["tasks"], OccurrenceTask),
        ends=_decoded(found["ends"], OccurrenceEnd),
    )


async def audit(scope: Scope, name: str, limit: int) -> list[AuditRow]:
    """Return the changes of a schedule, newest first."""
    asked = {"name": name, "most": max(0, min(limit, PAGE_MAX))}
    (rows,) = await scope.session.row("schedule_audit", scope.names | asked)
    return _decoded(rows, AuditRow)


def _decoded(text: str | None, row: type[T]) -> list[T]:
    found: list[T] = [] if text is None else msgspec.json.decode(text, type=list[row])  # type: ignore[valid-type] # T
    return found
