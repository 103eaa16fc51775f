"""How tasks come in and are claimed, as statements in the writer's transaction: one JSON array in, one JSON row out.

A statement a row would hand over the interpreter's lock once a row, and crawl beside a busy thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import msgspec
from msgspec import Struct

from kokugen.repository.rows import (
    Added,
    AddResult,
    ChainedTask,
    ClaimAnswer,
    Claimed,
    ClaimRequest,
    NewTask,
    follows,
    linked,
)
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.library import Connection
from kokugen.task import Mode, OnDuplicate, Priority, TaskState

BODY_MAX = 1024
EXPIRED_MAX = 100
LEVELS = tuple(sorted(-level for level in Priority))
Range = tuple[int, int]
"""The tasks of one queue, by its number in the request, and one level."""


class Scope(Struct, frozen=True):
    """What every statement is bound to."""

    db: Connection
    namespace: str
    now: int
    news: list[int] = []
    """Is told which tasks (their rows) limits let go that were due by then, for claims to look."""


def encode(value: object) -> str:
    """Return JSON text, to be bound."""
    return msgspec.json.encode(value).decode()


# -- T1

_TAKEN = ChainedTask.__struct_fields__
_FIELDS = tuple(name for name in _TAKEN if name not in {"limit_key", "on_duplicate"})
"""The columns of a new task; one that is in no chain tells the first of them alone."""
_ADD = (
    f"INSERT INTO task (namespace, {', '.join(_FIELDS)}, created_at, modified_at)"
    f" SELECT :ns, {', '.join(f'value->>{_TAKEN.index(name)}' for name in _FIELDS)}, :now, :now"
    " FROM json_each(:rows) WHERE true ON CONFLICT DO NOTHING"
).replace(
    f"value->>{_FIELDS.index('param')},",
    f"iif(length(value->>{_FIELDS.index('param')}) > {BODY_MAX}, NULL, value->>{_FIELDS.index('param')}),",
)
_ADD_BODIES = (
    "INSERT OR IGNORE INTO task_param SELECT :ns, value->>0, value->>1 FROM json_each(:rows)"
    " WHERE EXISTS (SELECT 1 FROM task WHERE namespace = :ns AND id = value->>0)"
)


def add(scope: Scope, tasks: Sequence[NewTask]) -> list[Added]:
    """Add tasks in one statement; where some are there already, one by one."""
    if len(tasks) == 1:
        return [_add_one(scope, tasks[0])]
    db = scope.db
    db.execute("SAVEPOINT adding")
    db.execute(_ADD, {"ns": scope.namespace, "now": scope.now, "rows": encode(tasks)})
    if db.changes() == len(tasks):
        _add_bodies(scope, tasks)
        answers = [Added(task.id, AddResult.ADDED) for task in tasks]
    else:
        db.execute("ROLLBACK TO adding")
        answers = list(_add_singly(scope, tasks))
    db.execute("RELEASE adding")
    return answers


def _add_singly(scope: Scope, tasks: Sequence[NewTask]) -> Iterator[Added]:
    """Add tasks one by one; those that follow come with the first of their chain, or not at all."""
    fresh = False
    for task in tasks:
        if fresh or not follows(task):
            yield (answer := _add_one(scope, task))
            fresh = answer.result is AddResult.ADDED
        else:
            yield Added(task.id, AddResult.EXISTED)


def _add_one(scope: Scope, task: NewTask) -> Added:
    scope.db.execute(_ADD, {"ns": scope.namespace, "now": scope.now, "rows": encode([task])})
    if scope.db.changes() == 1:
        _add_bodies(scope, [task])
        return Added(task.id, AddResult.ADDED)
    if one(scope.db, "SELECT 1 FROM task WHERE namespace = ? AND id = ?", (scope.namespace, task.id)):
        return Added(task.id, AddResult.EXISTED)
    holder = _holder(scope, task.unique_key) if task.unique_key is not None else None
    assert holder is not None, "a task that collides with none is added"
    if task.on_duplicate >= OnDuplicate.REPLACE:
        return _supersede(scope, task, holder)
    return Added(holder, AddResult.DUPLICATE)


_RELATIVE = "FROM task WHERE namespace = :ns AND id = :id AND work_id = :work_id AND queue = :queue"
_CONTENT = ("param", "rank", "mode", "max_attempts", "max_lost", "tags", "options")
_TIME = ("due_at", "scheduled_time", "start_deadline", "zone", "local_time")
_TAKE_OVER = (
    "UPDATE task SET {columns}, hold = nullif(hold, 'undecodable'), rev = rev + 1, modified_at = :now"
    " WHERE namespace = :ns AND id = :id"
)


def _supersede(scope: Scope, task: NewTask, holder: str) -> Added:
    """Have the waiting task with the unique key take what is asked for; a running one gives its key to a new task."""
    names = {"ns": scope.namespace, "now": scope.now, **msgspec.structs.asdict(task), "id": holder}
    state = one(scope.db, f"SELECT state {_RELATIVE}", names)
    if state is None:
        return Added(holder, AddResult.DUPLICATE)
    if state == TaskState.WORKING:
        scope.db.execute("UPDATE task SET unique_key = NULL WHERE namespace = :ns AND id = :id", names)
        return _add_one(scope, task)
    taken = _CONTENT if task.on_duplicate == OnDuplicate.PRESERVE else _CONTENT + _TIME
    names["param"] = task.param if len(task.param) <= BODY_MAX else None
    scope.db.execute(_TAKE_OVER.format(columns=", ".join(f"{name} = :{name}" for name in taken)), names)
    scope.db.execute("DELETE FROM task_param WHERE namespace = :ns AND id = :id", names)
    if names["param"] is None:
        scope.db.execute("INSERT INTO task_param VALUES (:ns, :id, :body)", names | {"body": task.param})
    return Added(holder, AddResult.REPLACED)


def _add_bodies(scope: Scope, tasks: Sequence[NewTask]) -> None:
    bodies = [(task.id, task.param) for task in tasks if len(task.param) > BODY_MAX]
    if bodies:
        scope.db.execute(_ADD_BODIES, {"ns": scope.namespace, "rows": encode(bodies)})


def _holder(scope: Scope, unique_key: str) -> str | None:
    sql = "SELECT id FROM task WHERE namespace = ? AND unique_key = ? AND state IN (0, 1)"
    found: str | None = one(scope.db, sql, (scope.namespace, unique_key))
    return found


# -- T2

_PARAM = "coalesce(t.param, (SELECT body FROM task_param b WHERE b.namespace = t.namespace AND b.id = t.id))"
_EXPIRE = (
    "UPDATE task SET state = 3, reason = 'expired', finished_at = :now, modified_at = :now, rev = rev + 1, hold = NULL"
    " WHERE namespace = :ns AND id IN (SELECT id FROM task WHERE namespace = :ns AND state = 0"
    " AND hold IS NULL AND start_deadline IS NOT NULL AND start_deadline <= :now LIMIT :max)"
)
_TAKE = (
    "UPDATE task SET state = 1, owner = :node, claim = :claim, beat = 0, ttl_s = :ttl, fence = fence + 1,"
    " attempt = attempt + 1, rev = rev + 1, claimed_at = :now, modified_at = :now, started_at = NULL"
    " WHERE namespace = :ns AND id IN (SELECT value FROM json_each(:ids))"
)
_STRICT = (
    f"UPDATE task SET mode = {int(Mode.AT_MOST_ONCE)}"
    " WHERE namespace = :ns AND id IN (SELECT value FROM json_each(:ids))"
)
_LINK = "json(iif(chain IS NULL, NULL, json_array(chain, follows, follows_arg, given)))"
_HELD = {"param": "p", "link": _LINK}
_CLAIMED = {**_HELD, "attempt": "attempt + 1", "fence": "fence + 1"}
_CLAIMED_ROW = f"json_array({', '.join(_CLAIMED.get(name, name) for name in Claimed.__struct_fields__)})"
_HELD_ROW = f"json_array({', '.join(_HELD.get(name, name) for name in Claimed.__struct_fields__)})"


def claim(scope: Scope, request: ClaimRequest) -> ClaimAnswer:
    """Expire, look, pick, take: four statements, each one step."""
    names: dict[str, Any] = {
        "ns": scope.namespace,
        "now": scope.now,
        "until": scope.now + request.ahead_us,
        "ageing": request.ageing_us,
        "n": request.slots + request.buffer,
        "max": EXPIRED_MAX,
    }
    names |= {f"q{n}": queue for n, queue in enumerate(request.queues)}
    scope.db.execute(_EXPIRE, names)
    if request.only is not None:
        names["only"] = encode(sorted(request.only))
    if request.skip:
        names["skip"] = encode(sorted(request.skip))
    looked = one(scope.db, look_sql(len(request.queues)), names)
    ranges, next_due = msgspec.json.decode(looked, type=tuple[list[Range], int | None])
    found = _pick(scope, pick_sql(request, ranges), names) if ranges else []
    taken = _trim(found, request)
    if len(taken) < len(found):  # those passed over do not hide the ones behind them
        plain = " AND lost = 0" + (" AND mode = 0" if len(taken) >= request.slots else "")
        first = {task.id for task in found}
        behind = [task for task in _pick(scope, pick_sql(request, ranges, plain), names) if task.id not in first]
        taken = _trim([*taken, *behind], request)[: names["n"]]
    if taken:
        names |= {"node": request.node_id, "claim": request.nonce, "ttl": request.ttl_s}
        scope.db.execute(_TAKE, names | {"ids": encode([task.id for task in taken])})
        assert scope.db.changes() == len(taken), "what was picked in this transaction is taken"
        if request.strict:
            taken = _made_strict(scope, taken, request.strict)
    more = len(found) >= names["n"]
    return ClaimAnswer(claim=request.nonce, tasks=taken, next_due=next_due, more=more, now=scope.now)


def _made_strict(scope: Scope, taken: list[Claimed], strict: frozenset[str]) -> list[Claimed]:
    """Have tasks of these works run at most once from now on."""
    ids = {task.id for task in taken if task.work_id in strict and task.mode != Mode.AT_MOST_ONCE}
    if not ids:
        return taken
    scope.db.execute(_STRICT, {"ns": scope.namespace, "ids": encode(sorted(ids))})
    return [msgspec.structs.replace(task, mode=Mode.AT_MOST_ONCE) if task.id in ids else task for task in taken]


def _pick(scope: Scope, sql: str, names: dict[str, Any]) -> list[Claimed]:
    return linked(msgspec.json.decode(one(scope.db, sql, names), type=list[Claimed]))


def look_sql(queues: int) -> str:
    """Return the query for the ranges that have due tasks, and when the next task is due: two probes a range."""
    waiting = "FROM task WHERE namespace = :ns AND queue = :q{n} AND rank = {level} AND state = 0 AND hold IS NULL"
    probes = [
        f"SELECT {n} AS n, {level} AS level, EXISTS (SELECT 1 {range_of} AND due_at <= :until) AS due,"
        f" (SELECT min(due_at) {range_of} AND due_at > :until) AS later"
        for n in range(queues)
        for level in LEVELS
        for range_of in (waiting.format(n=n, level=level),)
    ]
    found = "json_group_array(json_array(n, level)) FILTER (WHERE due)"
    return f"SELECT json_array({found}, min(later)) FROM ({' UNION ALL '.join(probes)})"


def pick_sql(request: ClaimRequest, ranges: Sequence[Range], plain: str = "") -> str:
    """Return the query for the first due tasks of these ranges, each of which is read in its own order."""
    only = " AND work_id IN (SELECT value FROM json_each(:only))" if request.only is not None else ""
    skip = " AND work_id NOT IN (SELECT value FROM json_each(:skip))" if request.skip else ""
    fresh = " AND lost = 0" if request.lost_max == 0 else ""
    what = "*" if len(ranges) == 1 else "rowid AS place, due_at + rank * :ageing AS turn, rank, id"
    firsts = [
        f"SELECT {what} FROM task WHERE namespace = :ns AND queue = :q{n} AND rank = {level}"
        f" AND state = 0 AND hold IS NULL AND due_at <= :until"
        f" AND (start_deadline IS NULL OR start_deadline > :now){only}{skip}{fresh}{plain}"
        " ORDER BY due_at, id LIMIT :n"
        for n, level in ranges
    ]
    picked = firsts[0] if len(ranges) == 1 else _merged(firsts)
    return f"SELECT json_group_array({_CLAIMED_ROW}) FROM (SELECT t.*, {_PARAM} AS p FROM ({picked}) t)"


def _merged(firsts: Sequence[str]) -> str:
    """Return the query for the first of all: their keys are sorted, and only those that are picked read whole."""
    keys = " UNION ALL ".join(f"SELECT * FROM ({first})" for first in firsts)
    return (
        f"SELECT task.* FROM (SELECT place FROM ({keys}) ORDER BY turn, rank, id LIMIT :n)"
        " CROSS JOIN task ON task.rowid = place"
    )


def _trim(found: list[Claimed], request: ClaimRequest) -> list[Claimed]:
    """Return what may be handed out: beyond the slots only tasks that may wait and run again, few lost ones."""
    taken: list[Claimed] = []
    lost_left = request.lost_max
    for task in found:
        needs_slot = task.lost > 0 or task.mode != Mode.AT_LEAST_ONCE
        if (needs_slot and len(taken) >= request.slots) or (task.lost and lost_left <= 0):
            continue
        lost_left -= task.lost > 0
        taken.append(task)
    return taken


ANY_LEFT = (
    "SELECT EXISTS (SELECT 1 FROM json_each(:rows) CROSS JOIN task ON task.rowid = value"
    " WHERE state = 0 AND hold IS NULL)"
)


def any_left(db: Connection, rows: Sequence[int]) -> bool:
    """Return whether any of these tasks waits for a claim, or all were claimed in this transaction already."""
    return bool(one(db, ANY_LEFT, {"rows": encode(rows)}))


def held(scope: Scope, node_id: str, nonce: str) -> ClaimAnswer:
    """Return what the node has under this claim."""
    sql = (
        f"SELECT json_group_array({_HELD_ROW}) FROM (SELECT t.*, {_PARAM} AS p FROM task t"
        " WHERE namespace = ? AND state = 1 AND owner = ? AND claim = ? ORDER BY rank, due_at, id)"
    )
    tasks = linked(msgspec.json.decode(one(scope.db, sql, (scope.namespace, node_id, nonce)), type=list[Claimed]))
    return ClaimAnswer(claim=nonce, tasks=tasks, next_due=None, more=False, now=scope.now)
