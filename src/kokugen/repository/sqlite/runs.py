"""How runs are kept, end and are taken over, as statements in the writer's transaction (see `tasks`).

Every statement brings its rows as a materialized table: so SQLite looks each one up by its key. A join with
`json_each` itself walks all tasks, and the rows once for each of them.
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from kokugen.errors import InvalidEntryError
from kokugen.repository.rows import ATTEMPTS_KEPT, Beaten, Finish, Finished, Lease, Observed, Recovered, Report, is_told
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.limits import admit_after
from kokugen.repository.sqlite.tasks import BODY_MAX, Scope, encode
from kokugen.task import TaskState


def _rows(*columns: str) -> str:
    """Return the head of a statement whose rows `r` come as a JSON array of arrays in `:rows`."""
    values = ", ".join(f"value->>{n} AS {name}" for n, name in enumerate(columns))
    return f"WITH r AS MATERIALIZED (SELECT {values} FROM json_each(:rows)) "


REMEMBER = (
    "INSERT OR REPLACE INTO attempt SELECT :ns, t.id, t.fence, t.attempt, {outcome}, t.owner, t.claimed_at,"
    " {started}, :now, {error} FROM {source}"
)
"""What the history says of an attempt that did not simply succeed; `t` is its task, as it is before the change."""

# -- T3, T4, T5, T9, T10

_FINISHED = _rows(*Finish.__struct_fields__)
_MATCH = "task.namespace = :ns AND task.id = r.id AND task.state = 1 AND task.claim = r.claim"
_JOIN = f"r CROSS JOIN task t ON {_MATCH.replace('task.', 't.')}"
_LET_GO = (
    " final_claim = task.claim, claim = NULL, owner = NULL, ttl_s = NULL, beat = 0, rev = rev + 1, modified_at = :now,"
    " started_at = coalesce(r.started_at, task.started_at), error = r.error"
)
_END = (
    f"{_FINISHED}UPDATE task SET state = r.state,{_LET_GO}, finished_at = :now,"
    " reason = iif(r.state = 3 AND r.reason IS NULL AND cancel_requested, task.reason, r.reason),"
    f" result = iif(length(r.result) > {BODY_MAX}, NULL, r.result) FROM r WHERE {_MATCH}"
)
_AGAIN = (
    f"{_FINISHED}UPDATE task SET state = 0,{_LET_GO}, attempt = attempt - r.attempt_back, hold = r.hold,"
    " reason = r.reason, due_at = coalesce(r.due_at, task.due_at),"
    " start_deadline = start_deadline + coalesce(r.due_at - task.due_at, 0)"
    f" FROM r WHERE {_MATCH} AND NOT cancel_requested"
)
_CANCEL = f"{_FINISHED}UPDATE task SET state = 3,{_LET_GO}, finished_at = :now FROM r WHERE {_MATCH}"
_TELL_FINISH = _FINISHED + REMEMBER.format(
    outcome="r.outcome", started="coalesce(r.started_at, t.started_at)", error="r.error", source=_JOIN
)
_FORGET = (
    "DELETE FROM attempt WHERE namespace = :ns AND task_id IN (SELECT value->>0 FROM json_each(:rows))"
    " AND fence <= (SELECT max(fence) FROM attempt a WHERE a.namespace = :ns AND a.task_id = attempt.task_id)"
    f" - {ATTEMPTS_KEPT}"
)
_FINAL = (
    "SELECT json_group_array(coalesce((SELECT final_claim FROM task WHERE namespace = :ns AND id = j.value->>0), ''))"
    " FROM json_each(:rows) j"
)
_FINISH_BODIES = (
    f"{_rows('id', 'claim', 'result')}INSERT OR REPLACE INTO task_result SELECT :ns, r.id, r.result FROM {_JOIN}"
)


def finish(scope: Scope, rows: Sequence[Finish]) -> list[Finished]:
    """Write outcomes; read again only where some did not apply. Raises InvalidEntryError."""
    written = end(scope, rows)
    admit_after(scope, [row.id for row in rows])
    return [Finished.APPLIED] * len(rows) if written == len(rows) else _look_again(scope, rows)


def end(scope: Scope, rows: Sequence[Finish]) -> int:
    """Write outcomes, a statement a kind; return how many are written by this call. Raises InvalidEntryError."""
    if any(row.state == TaskState.WORKING for row in rows):
        raise InvalidEntryError("a run cannot end as Working: name the state after it")
    told = [row for row in rows if is_told(row)]
    if told:
        _write(scope, told, _TELL_FINISH, _FORGET)
    bodies = [(row.id, row.claim, row.result) for row in rows if row.result and len(row.result) > BODY_MAX]
    if bodies:
        _write(scope, bodies, _FINISH_BODIES)
    over = [row for row in rows if row.state != TaskState.INITIALIZED]
    applied = _write(scope, over, _END)
    if len(over) < len(rows):  # a cancel that was requested comes before another start
        waiting = [row for row in rows if row.state == TaskState.INITIALIZED]
        applied += _write(scope, waiting, _AGAIN, _CANCEL)
    return applied


def _write(scope: Scope, rows: Sequence[object], *statements: str) -> int:
    """Carry out statements on the same rows; return how many tasks they changed."""
    names = {"ns": scope.namespace, "now": scope.now, "rows": encode(rows)}
    changed = 0
    for sql in statements:
        scope.db.execute(sql, names)
        changed += scope.db.changes()
    return changed


def _look_again(scope: Scope, rows: Sequence[Finish]) -> list[Finished]:
    """Return which of the outcomes are written, now or by an earlier commit whose answer was lost."""
    finals = msgspec.json.decode(one(scope.db, _FINAL, {"ns": scope.namespace, "rows": encode(rows)}))
    return [
        Finished.APPLIED if final == row.claim else Finished.FENCED for row, final in zip(rows, finals, strict=True)
    ]


# -- T13, T6, T7

_LEASES = _rows("id", "claim")
_OBSERVED = _rows("id", "claim", "beat")
_SEEN = f"{_MATCH} AND task.beat = r.beat"
_SEEN_JOIN = f"r CROSS JOIN task t ON {_SEEN.replace('task.', 't.')}"
_BEAT = f"{_LEASES}UPDATE task SET beat = beat + 1, ttl_s = coalesce(:ttl, ttl_s) FROM r WHERE {_MATCH}"
_REPORT = f"{_rows('id', 'claim', 'progress')}UPDATE task SET progress = r.progress FROM r WHERE {_MATCH}"
_BEATEN = (
    f"{_LEASES}SELECT json_group_array(json_array(t.id, t.claim, json(iif(t.cancel_requested, 'true', 'false'))))"
    f" FROM {_JOIN}"
)
_WATCH = (
    "SELECT json_group_array(json_array(id, claim, beat, ttl_s, owner)) FROM task INDEXED BY task_working"
    " WHERE namespace = ? AND state = 1 AND owner <> ? AND ttl_s IS NOT NULL"
)
_AFTER_LOSS = "CASE WHEN cancel_requested THEN 3 WHEN mode = 1 OR lost + 1 >= max_lost THEN 4 ELSE 0 END"
_RECOVERED = f"{_OBSERVED}SELECT json_group_array(json_array(t.id, {_AFTER_LOSS})) FROM {_SEEN_JOIN}"
_TELL_LOST = _OBSERVED + REMEMBER.format(outcome="'lost'", started="t.started_at", error="NULL", source=_SEEN_JOIN)
_RECOVER = (
    f"{_OBSERVED}UPDATE task SET state = {_AFTER_LOSS}, lost = lost + 1, attempt = attempt - ({_AFTER_LOSS} = 0),"
    " claim = NULL, owner = NULL, ttl_s = NULL, beat = 0, rev = rev + 1, modified_at = :now,"
    " reason = iif(cancel_requested, reason, 'lost'),"
    f" finished_at = iif({_AFTER_LOSS} >= 2, :now, NULL) FROM r WHERE {_SEEN}"
)


def beat(scope: Scope, leases: Sequence[Lease], ttl_s: float | None) -> list[Beaten]:
    """Extend leases, by another ttl from now on where one is given."""
    names = {"ns": scope.namespace, "rows": encode(leases)}
    scope.db.execute(_BEAT, names | {"ttl": ttl_s})
    return msgspec.json.decode(one(scope.db, _BEATEN, names), type=list[Beaten])


def report(scope: Scope, rows: Sequence[Report]) -> None:
    """Write what runs say of their progress."""
    scope.db.execute(_REPORT, {"ns": scope.namespace, "rows": encode(rows)})


def watch(scope: Scope, node_id: str) -> list[Observed]:
    """Return the leased runs of other nodes."""
    return msgspec.json.decode(one(scope.db, _WATCH, (scope.namespace, node_id)), type=list[Observed])


def recover(scope: Scope, observed: Sequence[Observed]) -> list[Recovered]:
    """Take runs from their owners where they are still as observed."""
    names = {"ns": scope.namespace, "now": scope.now, "rows": encode(observed)}
    recovered = msgspec.json.decode(one(scope.db, _RECOVERED, names), type=list[Recovered])
    scope.db.execute(_TELL_LOST, names)
    scope.db.execute(_RECOVER, names)
    admit_after(scope, [one_.id for one_ in recovered])
    return recovered
