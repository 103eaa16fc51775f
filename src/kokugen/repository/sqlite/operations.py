"""What people, housekeeping and the seed's methods change, as statements in the writer's transaction."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kokugen.errors import NoEntryError, NotUpdatableStateError
from kokugen.repository.limit_rows import BY_ID_TRIED
from kokugen.repository.rows import Observed, Retention
from kokugen.repository.seed_methods import BY_ID_OWNER
from kokugen.repository.sqlite.changes import audit
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.limits import admit_after
from kokugen.repository.sqlite.runs import recover
from kokugen.repository.sqlite.tasks import Scope, encode
from kokugen.task import NodeInfo, TaskState

_REVIVE = (
    "UPDATE OR IGNORE task SET state = 0, start_deadline = start_deadline + :due - due_at, due_at = :due,"
    " attempt = 0, lost = 0, hold = NULL, reason = NULL,"
    " error = NULL, result = NULL, cancel_requested = 0, claimed_at = NULL, started_at = NULL, finished_at = NULL,"
    " rev = rev + 1, modified_at = :now WHERE namespace = :ns AND id = :id AND state >= 2"
)
_PAST = (
    "SELECT json_group_array(id) FROM (SELECT id FROM task INDEXED BY task_ended"
    " WHERE namespace = :ns AND state = :state AND state >= 2 AND finished_at < :before LIMIT :max)"
)
_FORGET_NODES = "DELETE FROM node WHERE seen_at < ? AND node_id NOT IN (SELECT owner FROM task WHERE state = 1)"


def revive(scope: Scope, ids: Sequence[str], due_at: int | None, by: str | None) -> list[str]:
    """Make ended tasks wait again, one by one."""
    revived = [task_id for task_id in ids if _revive(scope, task_id, due_at, by)]
    admit_after(scope, revived)
    return revived


def _revive(scope: Scope, task_id: str, due_at: int | None, by: str | None) -> bool:
    due = scope.now if due_at is None else due_at
    scope.db.execute(_REVIVE, {"ns": scope.namespace, "id": task_id, "now": scope.now, "due": due})
    if not scope.db.changes():
        return False
    scope.db.execute("DELETE FROM task_result WHERE namespace = ? AND id = ?", (scope.namespace, task_id))
    audit(scope, by, "revive", task_id, None)
    return True


def prune(scope: Scope, retention: Retention) -> int:
    """Delete one batch of what ended before its instant, and the nodes that were last seen before the last of them."""
    befores = {
        TaskState.DONE: retention.done_before,
        TaskState.CANCELLED: retention.cancelled_before,
        TaskState.FAILED: retention.failed_before,
    }
    deleted = 0
    for state, before in befores.items():
        names = {"ns": scope.namespace, "state": int(state), "before": before, "max": retention.limit - deleted}
        ids = one(scope.db, _PAST, names)
        deleted += len(msgspec.json.decode(ids))
        for table, column in (("task_param", "id"), ("task_result", "id"), ("attempt", "task_id"), ("task", "id")):
            scope.db.execute(
                f"DELETE FROM {table} WHERE namespace = :ns AND {column} IN (SELECT value FROM json_each(:ids))",
                {"ns": scope.namespace, "ids": ids},
            )
    scope.db.execute(_FORGET_NODES, (retention.failed_before,))
    return deleted


_NODE = NodeInfo.__struct_fields__


def register(scope: Scope, node: NodeInfo) -> None:
    """Write down a node, or that it was seen."""
    scope.db.execute(
        f"INSERT INTO node ({', '.join(_NODE)}) SELECT {', '.join(f'value->>{name!r}' for name in _NODE)}"
        " FROM json_each(json_array(json(:node))) WHERE true"
        " ON CONFLICT (node_id) DO UPDATE SET seen_at = excluded.seen_at, stopped_at = NULL, offers = excluded.offers",
        {"node": encode(msgspec.structs.replace(node, started_at=node.started_at or scope.now, seen_at=scope.now))},
    )


def retire(scope: Scope, node_id: str) -> None:
    """Write down that a node stopped, and take its runs from it."""
    scope.db.execute("UPDATE node SET stopped_at = ? WHERE node_id = ?", (scope.now, node_id))
    sql = (
        "SELECT json_group_array(json_array(id, claim, beat, coalesce(ttl_s, 0.0), owner)) FROM task"
        " INDEXED BY task_working"
        " WHERE namespace = ? AND state = 1 AND owner = ?"
    )
    if left := msgspec.json.decode(one(scope.db, sql, (scope.namespace, node_id)), type=list[Observed]):
        recover(scope, left)


def transition(
    scope: Scope, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None, nonce: str
) -> TaskState:
    """Change a state by id if it is one of `old`; return the one before. Raises NoEntryError."""
    sql = "SELECT json_array(state, gate) FROM task WHERE namespace = ? AND id = ?"
    found = one(scope.db, sql, (scope.namespace, task_id))
    if found is None:
        raise NoEntryError(task_id)
    state, gate = msgspec.json.decode(found)
    if TaskState(state) in old:
        if new is TaskState.WORKING and gate is not None:
            raise NotUpdatableStateError(task_id, TaskState(state), BY_ID_TRIED)
        _set_state(scope, task_id, TaskState(state), new, reason, nonce)
        admit_after(scope, [task_id])
    return TaskState(state)


_LET_GO = (
    "UPDATE task SET state = iif(:new = 0 AND cancel_requested, 3, :new), claim = NULL, owner = NULL,"
    " ttl_s = NULL, beat = 0, hold = NULL,"
    " reason = iif(:new = 0 AND cancel_requested, reason, :reason),"
    " attempt = attempt - (:new = 0 AND NOT cancel_requested), rev = rev + 1,"
    " modified_at = :now, finished_at = iif(:new >= 2 OR cancel_requested, :now, NULL)"
    " WHERE namespace = :ns AND id = :id"
)
_BY_ID = (
    "UPDATE task SET state = 1, owner = :owner, claim = :nonce, ttl_s = NULL, beat = 0, fence = fence + 1,"
    " attempt = attempt + 1, rev = rev + 1, claimed_at = :now, modified_at = :now, started_at = NULL, hold = NULL"
    " WHERE namespace = :ns AND id = :id"
)
_HISTORY = (
    "INSERT OR REPLACE INTO attempt SELECT namespace, id, fence, attempt,"
    " iif(:new > 0, :outcome, iif(cancel_requested, 'cancelled', 'released')), owner, claimed_at, started_at,"
    " :now, NULL FROM task WHERE namespace = :ns AND id = :id"
)


def _set_state(scope: Scope, task_id: str, before: TaskState, new: TaskState, reason: str | None, nonce: str) -> None:
    names = {"ns": scope.namespace, "id": task_id, "now": scope.now, "reason": reason, "new": int(new)}
    if new is TaskState.WORKING:
        scope.db.execute(_BY_ID, names | {"owner": BY_ID_OWNER, "nonce": nonce})
        return
    if before is TaskState.WORKING and new is not TaskState.DONE:
        scope.db.execute(_HISTORY, names | {"outcome": new.name.lower()})
    scope.db.execute(_LET_GO, names)
