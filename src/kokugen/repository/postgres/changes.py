"""What changes a task from outside its run (T8, T9, T11, T12, T14, and the seed's marks), one statement each."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec

from kokugen.errors import NoEntryError, NotUpdatableStateError, StaleRevisionError
from kokugen.repository.limit_rows import BY_ID_TRIED
from kokugen.repository.postgres.adding import encode
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.limits import admit_after
from kokugen.repository.rows import CancelAnswer, CancelRequest, CancelResult, Retention, Revision
from kokugen.repository.seed_methods import BY_ID_OWNER
from kokugen.task import NodeInfo, TaskState

FIELDS = ("due_at", "scheduled_time", "zone", "local_time", "rank", "param", "work_id", "hold", "release", "rev", "by")
TOLD = ("due_at", "scheduled_time", "zone", "local_time", "rank", "param", "work_id", "hold")


async def cancel(scope: Scope, request: CancelRequest) -> list[CancelAnswer]:
    """Cancel tasks."""
    asked = {"ids": list(request.ids), "force": request.force, "reason": request.reason, "by": request.by}
    rows, _ = await scope.session.row("cancel", scope.names | asked)
    old = {row[0]: row[1:] for row in msgspec.json.decode(rows, type=list[list[Any]])}
    await admit_after(scope, request.ids)
    answers: dict[str, CancelAnswer] = {}
    return [_cancelled(task_id, old.get(task_id), request.force, answers) for task_id in request.ids]


def _cancelled(task_id: str, row: list[Any] | None, force: bool, answers: dict[str, CancelAnswer]) -> CancelAnswer:
    """Return the answer for a row as it was; for an id that comes again, as the first time left it."""
    if row is None:
        return CancelAnswer(task_id, CancelResult.MISSING)
    state, owner, claim = TaskState(row[0]), row[1], row[2]
    earlier = answers.get(task_id)
    if earlier is not None and earlier.result is CancelResult.CANCELLED:
        return CancelAnswer(task_id, CancelResult.REFUSED, TaskState.CANCELLED)
    if state.terminal:
        answer = CancelAnswer(task_id, CancelResult.REFUSED, state)
    elif state is TaskState.WORKING and not force:
        answer = CancelAnswer(task_id, CancelResult.REQUESTED, state, owner, claim)
    else:
        answer = CancelAnswer(task_id, CancelResult.CANCELLED, TaskState.CANCELLED, owner, claim)
    answers[task_id] = answer
    return answer


async def revise(scope: Scope, task_id: str, revision: Revision) -> int:
    """Change a waiting task. Raises NoEntryError, NotUpdatableStateError, StaleRevisionError."""
    changes = {name: getattr(revision, name) for name in FIELDS}
    detail = encode(sorted(name for name in TOLD if changes[name] is not None))
    row = await scope.session.row("revise", scope.names | changes | {"id": task_id, "detail": detail})
    if row is None:
        raise NoEntryError(task_id)
    state, rev = row
    if state != TaskState.INITIALIZED:
        raise NotUpdatableStateError(task_id, TaskState(state), "changed")
    if revision.rev is not None and revision.rev != rev:
        raise StaleRevisionError(task_id, rev, revision.rev)
    await admit_after(scope, [task_id])
    return int(rev) + 1


async def transition(
    scope: Scope, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None, nonce: str
) -> TaskState:
    """Change a state by id if it is one of `old`; return the one before. Raises NoEntryError."""
    asked = {"id": task_id, "old": sorted(old), "new": int(new), "reason": reason, "nonce": nonce, "by_id": BY_ID_OWNER}
    row = await scope.session.row("transition", scope.names | asked)
    if row is None:
        raise NoEntryError(task_id)
    state, waits = TaskState(row[0]), row[1]
    if waits and new is TaskState.WORKING and state in old:
        raise NotUpdatableStateError(task_id, state, BY_ID_TRIED)
    await admit_after(scope, [task_id])
    return state


async def revive(scope: Scope, asked: Sequence[str], due_at: int | None, by: str | None) -> list[str]:
    """Make ended tasks wait again."""
    revived, _ = await scope.session.row("revive", scope.names | {"ids": list(asked), "due": due_at, "by": by})
    ids = msgspec.json.decode(revived, type=list[str])
    await admit_after(scope, ids)
    return ids


async def prune(scope: Scope, retention: Retention) -> int:
    """Delete one batch of what ended before its instant."""
    asked = {
        "done": retention.done_before,
        "cancelled": retention.cancelled_before,
        "failed": retention.failed_before,
        "most": retention.limit,
    }
    (deleted,) = await scope.session.row("prune", scope.names | asked)
    return int(deleted)


async def register(scope: Scope, node: NodeInfo) -> None:
    """Write down a node, or that it was seen."""
    await scope.session.row("register", scope.names | {"node": encode(node)})
