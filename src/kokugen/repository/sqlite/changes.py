"""Cancelling and revising: what changes a task from outside its run (T8, T9, T11), in the writer's transaction."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kokugen.errors import NoEntryError, NotUpdatableStateError, StaleRevisionError
from kokugen.repository.rows import CHAIN_HOLD, CancelAnswer, CancelRequest, CancelResult, Revision
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.limits import admit_after
from kokugen.repository.sqlite.runs import REMEMBER
from kokugen.repository.sqlite.tasks import BODY_MAX, Scope, encode
from kokugen.task import TaskState

_END = (
    "UPDATE task SET state = 3, reason = :reason, claim = NULL, owner = NULL, ttl_s = NULL, beat = 0, hold = NULL,"
    " finished_at = :now, modified_at = :now, rev = rev + 1 WHERE namespace = :ns AND id = :id"
)
_TELL_FORCED = REMEMBER.format(
    outcome="'cancelled'", started="t.started_at", error="NULL", source="task t WHERE t.namespace = :ns AND t.id = :id"
)

_RELEASED = (
    ", hold = iif(overlap IS NOT NULL AND EXISTS (SELECT 1 FROM task a WHERE a.namespace = task.namespace"
    " AND a.schedule_id = task.schedule_id AND a.overlap IS NOT NULL AND a.id <> task.id"
    " AND (a.state = 1 OR (a.state = 0 AND (a.hold IS NULL OR a.hold = 'limit')))), 'overlap', NULL)"
)
"""An occurrence that may not run beside another waits for its turn still."""


_FOLLOWING = (
    "SELECT json_group_array(id) FROM (SELECT id FROM task WHERE namespace = :ns AND state = 0 AND hold = :hold"
    " AND id IN (SELECT value FROM json_each(:ids)) ORDER BY rowid DESC)"
)


def cancel(scope: Scope, request: CancelRequest) -> list[CancelAnswer]:
    """Cancel tasks one by one, those that follow others before them, so that each is told of for itself."""
    waiting = {task_id: place for place, task_id in enumerate(_following(scope, request.ids))}
    places = sorted(range(len(request.ids)), key=lambda place: waiting.get(request.ids[place], len(waiting)))
    answers = {place: _cancel(scope, request, request.ids[place]) for place in places}
    admit_after(scope, request.ids)
    return [answers[place] for place in range(len(request.ids))]


def _following(scope: Scope, ids: Sequence[str]) -> list[str]:
    """Return those of many tasks that wait for others, the last of each chain first."""
    if len(ids) < 2:
        return []
    names = {"ns": scope.namespace, "ids": encode(ids), "hold": CHAIN_HOLD}
    return msgspec.json.decode(one(scope.db, _FOLLOWING, names), type=list[str])


def _cancel(scope: Scope, request: CancelRequest, task_id: str) -> CancelAnswer:
    names = {"ns": scope.namespace, "id": task_id, "now": scope.now, "reason": request.reason}
    row = _state_row(scope, task_id)
    if row is None:
        return CancelAnswer(task_id, CancelResult.MISSING)
    state, owner, nonce = TaskState(row[0]), row[1], row[2]
    if state.terminal:
        return CancelAnswer(task_id, CancelResult.REFUSED, state)
    if state is TaskState.WORKING and not request.force:
        sql = "UPDATE task SET cancel_requested = 1, reason = :reason, modified_at = :now, rev = rev + 1"
        scope.db.execute(f"{sql} WHERE namespace = :ns AND id = :id", names)
        return CancelAnswer(task_id, CancelResult.REQUESTED, state, owner, nonce)
    if state is TaskState.WORKING:
        scope.db.execute(_TELL_FORCED, names)
        audit(scope, request.by, "forced cancel", task_id, request.reason)
    scope.db.execute(_END, names)
    return CancelAnswer(task_id, CancelResult.CANCELLED, TaskState.CANCELLED, owner, nonce)


def _state_row(scope: Scope, task_id: str) -> list[Any] | None:
    sql = "SELECT json_array(state, owner, claim, rev) FROM task WHERE namespace = ? AND id = ?"
    found = one(scope.db, sql, (scope.namespace, task_id))
    return None if found is None else msgspec.json.decode(found, type=list[Any])


def revise(scope: Scope, task_id: str, revision: Revision) -> int:
    """Change a waiting task. Raises NoEntryError, NotUpdatableStateError, StaleRevisionError."""
    row = _state_row(scope, task_id)
    if row is None:
        raise NoEntryError(task_id)
    if row[0] != TaskState.INITIALIZED:
        raise NotUpdatableStateError(task_id, TaskState(row[0]), "changed")
    if revision.rev is not None and revision.rev != row[3]:
        raise StaleRevisionError(task_id, row[3], revision.rev)
    changes = _changes(revision)
    columns = "".join(f", {name} = :{name}" for name in changes)
    if revision.release:
        columns += _RELEASED
    if revision.due_at is not None:
        columns += ", start_deadline = start_deadline + :due_at - due_at"
    names = changes | {"ns": scope.namespace, "id": task_id, "now": scope.now}
    scope.db.execute(
        f"UPDATE task SET rev = rev + 1, modified_at = :now{columns} WHERE namespace = :ns AND id = :id", names
    )
    _revise_body(scope, task_id, revision)
    admit_after(scope, [task_id])
    if revision.by is not None:
        audit(scope, revision.by, "revise", task_id, encode(sorted(changes)))
    return int(row[3]) + 1


def _changes(revision: Revision) -> dict[str, Any]:
    """Return columns and values; the columns come from this list alone."""
    names = ("due_at", "scheduled_time", "rank", "work_id", "hold")
    changes: dict[str, Any] = {name: value for name in names if (value := getattr(revision, name)) is not None}
    for name in ("zone", "local_time"):
        if revision.scheduled_time is not None or getattr(revision, name) is not None:
            changes[name] = getattr(revision, name)
    if revision.param is not None:
        changes["param"] = revision.param if len(revision.param) <= BODY_MAX else None
    if revision.release:
        changes.pop("hold", None)
    return changes


def _revise_body(scope: Scope, task_id: str, revision: Revision) -> None:
    if revision.param is None:
        return
    key = (scope.namespace, task_id)
    scope.db.execute("DELETE FROM task_param WHERE namespace = ? AND id = ?", key)
    if len(revision.param) > BODY_MAX:
        scope.db.execute("INSERT INTO task_param VALUES (?, ?, ?)", (*key, revision.param))


def audit(scope: Scope, who: str | None, what: str, task_id: str, detail: str | None) -> None:
    """Write down what a person did."""
    scope.db.execute(
        "INSERT INTO audit (namespace, at, who, what, task_id, detail) VALUES (?, ?, ?, ?, ?, ?)",
        (scope.namespace, scope.now, who, what, task_id, detail),
    )
