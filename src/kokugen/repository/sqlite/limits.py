"""Limits, as statements in the writer's transaction: who has to pass which gates, and who passes them now.

There is one writer at a time, so that what is counted here is so until the commit.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from functools import partial
from typing import Any

import msgspec

from kokugen.repository.admission import Candidate, Gate, decide
from kokugen.repository.limit_rows import (
    ADMITTED_MAX,
    AHEAD_US,
    GATES_MAX,
    KEY,
    KEYS,
    ONE_AT_A_TIME,
    QUEUE,
    WORK,
    Admission,
    GateStatus,
    LimitRule,
    next_gate,
    statuses,
)
from kokugen.repository.rows import Added, AddResult, NewTask
from kokugen.repository.sqlite import tasks
from kokugen.repository.sqlite.connection import one
from kokugen.repository.sqlite.library import Connection
from kokugen.repository.sqlite.tasks import EXPIRED_MAX, Scope, encode
from kokugen.task import AT

_FIRST = "coalesce(limit_key, limit_work, limit_queue)"
_WAITS = "namespace = :ns AND state = 0 AND hold = 'limit'"
_IN_LINE = f"{_WAITS} AND gate <> ''"
_LATER = f"{_WAITS} AND gate = ''"
SLOTS = {
    KEY: "task_key_slot WHERE namespace = :ns AND limit_key = g.value AND limit_key IS NOT NULL"
    " AND state IN (0, 1) AND (gate IS NULL OR gate IS limit_work OR gate IS limit_queue)",
    WORK: "task_work_slot WHERE namespace = :ns AND limit_work = g.value AND limit_work IS NOT NULL"
    " AND state IN (0, 1) AND (gate IS NULL OR gate IS limit_queue)",
    QUEUE: "task_queue_slot WHERE namespace = :ns AND limit_queue = g.value AND limit_queue IS NOT NULL"
    " AND state IN (0, 1) AND gate IS NULL",
}
"""The index of those who have a slot of a gate, and the condition that they have."""

# -- Who has gates

RULES = f"SELECT json_group_array(json_array({', '.join(LimitRule.__struct_fields__)})) FROM limit_rule"
_ANY_RULE = "SELECT EXISTS (SELECT 1 FROM limit_rule WHERE namespace = ?)"
_RULED = "(SELECT name FROM limit_rule WHERE namespace = :ns AND name = '{kind}' || {owner})"
BASE_QUEUE = f"substr(queue, 1, instr(queue || '{AT}', '{AT}') - 1)"
"""The queue alone: where a task names a place to run at, its `queue` ends with that."""
_GATE = (
    "WITH r AS MATERIALIZED (SELECT value->>0 AS id, value->>1 AS limit_key FROM json_each(:rows)) UPDATE task SET"
    f" limit_key = '{KEY}' || r.limit_key, limit_work = {_RULED.format(kind=WORK, owner='work_id')},"
    f" limit_queue = {_RULED.format(kind=QUEUE, owner=BASE_QUEUE)} FROM r WHERE namespace = :ns AND task.id = r.id"
    " AND state = 0"
)
STOP = (
    f"UPDATE task SET gate = iif(due_at <= :until, {_FIRST}, ''), hold = coalesce(hold, 'limit')"
    " WHERE namespace = :ns AND state = 0"
    f" AND id IN (SELECT value->>0 FROM json_each(:rows)) AND {_FIRST} IS NOT NULL"
)


def gate(scope: Scope, rows: Sequence[tuple[str, str | None]]) -> bool:
    """Have new tasks (ids and keys) stop at their gates, before anyone may claim them; return whether any has one."""
    if all(key is None for _, key in rows) and not one(scope.db, _ANY_RULE, (scope.namespace,)):
        return False
    names = {"ns": scope.namespace, "rows": encode(rows)}
    scope.db.execute(_GATE, names)
    scope.db.execute(STOP, names | {"until": scope.now + AHEAD_US})
    return bool(scope.db.changes())


# -- Who passes

_SOME_WAIT = (
    f"SELECT EXISTS (SELECT 1 FROM task INDEXED BY task_gate WHERE {_IN_LINE})"
    f" OR EXISTS (SELECT 1 FROM task INDEXED BY task_gate_later WHERE {_LATER} AND due_at <= :until)"
)
GATES_OF = (
    "SELECT json_group_array(json_array(limit_key, limit_work, limit_queue)) FROM"
    " (SELECT DISTINCT limit_key, limit_work, limit_queue FROM task WHERE namespace = :ns"
    f" AND id IN (SELECT value FROM json_each(:ids)) AND {_FIRST} IS NOT NULL)"
)
RIPE = (
    f"SELECT json_group_array(json_array(rowid, g)) FROM (SELECT rowid, {_FIRST} AS g FROM task"
    f" INDEXED BY task_gate_later WHERE {_LATER} AND due_at <= :until ORDER BY due_at LIMIT {ADMITTED_MAX})"
)
LINE_UP = (
    "WITH r AS MATERIALIZED (SELECT value->>0 AS place, value->>1 AS gate FROM json_each(:rows))"
    " UPDATE task SET gate = r.gate FROM r WHERE task.rowid = r.place"
)
ALL_GATES = (
    "WITH RECURSIVE g (name) AS ("
    f"SELECT (SELECT min(gate) FROM task INDEXED BY task_gate WHERE {_IN_LINE} AND gate > :after) UNION ALL"
    f" SELECT (SELECT min(gate) FROM task INDEXED BY task_gate WHERE {_IN_LINE} AND gate > g.name)"
    f" FROM g WHERE g.name IS NOT NULL LIMIT {GATES_MAX + 1})"
    " SELECT json_group_array(name) FROM g WHERE name IS NOT NULL"
)
NEXT_DUE = f"SELECT min(due_at) FROM task INDEXED BY task_gate_later WHERE {_LATER}"
EXPIRE = (
    "UPDATE task SET state = 3, reason = 'expired', finished_at = :now, modified_at = :now, rev = rev + 1, hold = NULL"
    f" WHERE namespace = :ns AND id IN (SELECT id FROM task INDEXED BY task_gate_deadline WHERE {_WAITS}"
    " AND start_deadline IS NOT NULL AND start_deadline <= :now LIMIT :max)"
)


def counted_sql(kind: str, *, rated: bool) -> str:
    """Return the query for the slots of gates of one kind, and, where there are rates, for what those need to know."""
    slots = f"SELECT count(*) FROM task INDEXED BY {SLOTS[kind]}"
    idle = f"({slots} AND state = 0)" if rated else "0"
    spent = "(SELECT spent_until FROM limit_bucket b WHERE b.namespace = :ns AND b.name = g.value)" if rated else "NULL"
    return f"SELECT json_group_array(json_array(g.value, ({slots}), {idle}, {spent})) FROM json_each(:gates) g"


_CANDIDATE = ("rowid", "work_id", "limit_work", "limit_queue", "due_at")


def _line_sql() -> str:
    line = f"SELECT {', '.join(_CANDIDATE)} FROM task INDEXED BY task_gate WHERE {_IN_LINE} AND gate = g.value"
    return (
        f"SELECT json_group_array(json((SELECT json_group_array(json_array({', '.join(_CANDIDATE)}))"
        f" FROM ({line} ORDER BY rank, due_at, id LIMIT :n)))) FROM json_each(:gates) g"
    )


LINE = _line_sql()
"""The first in line at gates, in the order in which they pass."""
_GO_ON = (
    "WITH r AS MATERIALIZED (SELECT value->>0 AS place, value->>1 AS gate, value->>2 AS start FROM json_each(:rows))"
    " UPDATE task SET gate = r.gate, hold = iif(r.gate IS NULL, NULL, 'limit'), modified_at = :now,"
    " rev = rev + 1{start} FROM r WHERE task.rowid = r.place"
)
GO_ON = _GO_ON.format(start="")
GO_ON_LATER = _GO_ON.format(start=", due_at = max(due_at, r.start)")
"""As one that has its token in a moment only: to set `due_at` is to write more of the indexes."""
_SPEND = (
    "INSERT INTO limit_bucket (namespace, name, spent_until) SELECT :ns, value->>0, value->>1 FROM json_each(:rows)"
    " WHERE true ON CONFLICT DO UPDATE SET spent_until = excluded.spent_until"
)
_FORGET_SPENT = "DELETE FROM limit_bucket WHERE namespace = :ns AND spent_until < :now"


def add(scope: Scope, tasks_: Sequence[NewTask]) -> list[Added]:
    """Add tasks; those with limits stop at their gates, and pass at once where they may."""
    answers = tasks.add(scope, tasks_)
    pairs = list(zip(tasks_, answers, strict=True))
    added = [task for task, answer in pairs if answer.result is AddResult.ADDED]
    admit_after(scope, [answer.id for _, answer in pairs if answer.result is AddResult.REPLACED])
    if gate(scope, [(task.id, task.limit_key) for task in added]):
        until = scope.now + AHEAD_US
        admit_after(scope, [task.id for task in added if task.due_at <= until])
    return answers


def admit_after(scope: Scope, ids: Collection[str]) -> None:
    """Let those through who wait at gates that these tasks passed, or came to."""
    until = scope.now + AHEAD_US
    if not ids or not one(scope.db, _SOME_WAIT, {"ns": scope.namespace, "until": until}):
        return
    found = one(scope.db, GATES_OF, {"ns": scope.namespace, "ids": encode(list(ids))})
    gates = {name for names in msgspec.json.decode(found) for name in names if name is not None}
    if gates := gates | line_up(scope, until):
        Admitter(scope, until).through(gates)


def admit(scope: Scope, ahead_us: int, everywhere: bool) -> Admission:
    """Let those through who may pass now: who is due within this time, or everyone."""
    until = scope.now + ahead_us
    names = {"ns": scope.namespace, "now": scope.now, "until": until, "max": EXPIRED_MAX}
    if not one(scope.db, _SOME_WAIT, names):
        return Admission(0, None, one(scope.db, NEXT_DUE, names), scope.now)
    scope.db.execute(EXPIRE, names)
    admitter = Admitter(scope, until)
    admitter.through(line_up(scope, until))
    if everywhere:
        for gates in _all_gates(scope):
            admitter.through(gates)
        scope.db.execute(_FORGET_SPENT, names)
    return Admission(admitter.admitted, admitter.token_us, one(scope.db, NEXT_DUE, names), scope.now)


def line_up(scope: Scope, until: int) -> set[str]:
    """Have those stand in line at their first gate who are due by then; return which gates these are."""
    ripe = msgspec.json.decode(one(scope.db, RIPE, {"ns": scope.namespace, "until": until}), type=list[tuple[int, str]])
    if ripe:
        scope.db.execute(LINE_UP, {"rows": encode(ripe)})
    return {gate for _, gate in ripe}


def _all_gates(scope: Scope) -> Any:
    """Yield the gates at which anyone waits, in parts."""
    after = ""
    while gates := _listed(scope, ALL_GATES, {"ns": scope.namespace, "after": after}):
        yield gates
        after = gates[-1]
        if len(gates) < GATES_MAX:
            return


def _listed(scope: Scope, sql: str, names: dict[str, Any]) -> list[str]:
    return msgspec.json.decode(one(scope.db, sql, names), type=list[str])


class Admitter:
    """Lets tasks through gates, kind by kind: behind one they may come to the next."""

    def __init__(self, scope: Scope, until: int) -> None:
        self.admitted = 0
        self.token_us: int | None = None
        self._scope = scope
        self._until = until
        rules = one(scope.db, f"{RULES} WHERE namespace = ?", (scope.namespace,))
        self._rules = {rule.name: rule for rule in msgspec.json.decode(rules, type=list[LimitRule])}
        self._rated = any(rule.interval_us is not None for rule in self._rules.values())
        of_keys = [rule.at_once for name, rule in self._rules.items() if name.startswith(KEYS)]
        self._key_most = max((at_once or ADMITTED_MAX for at_once in of_keys), default=1)

    def through(self, gates: Collection[str]) -> Admitter:
        """Let tasks through these gates, and those behind that they come to."""
        left = set(gates)
        for kind in (KEY, WORK, QUEUE):
            asked = sorted(name for name in left if name.startswith(kind))
            if asked:
                left |= self._through(kind, asked)
        return self

    def _through(self, kind: str, names: list[str]) -> set[str]:
        """Let tasks through gates of one kind; return the gates that they came to."""
        scope = self._scope
        sql = counted_sql(kind, rated=self._rated)
        counted = one(scope.db, sql, {"ns": scope.namespace, "gates": encode(names)})
        gates = [Gate(*row) for row in msgspec.json.decode(counted)]
        room = {gate.name: self._most(gate.name) - gate.taken for gate in gates}
        gates = [gate for gate in gates if room[gate.name] > 0]
        if not gates:
            return set()
        asked = {
            "ns": scope.namespace,
            "gates": encode([gate.name for gate in gates]),
            "n": min(ADMITTED_MAX, max(room[gate.name] for gate in gates)),
        }
        found = msgspec.json.decode(one(scope.db, LINE, asked), type=list[list[Candidate[int]]])
        return self._pass(list(zip(gates, found, strict=True)))

    def _pass(self, asked: list[tuple[Gate, list[Candidate[int]]]]) -> set[str]:
        passing: list[tuple[int, str | None]] = []
        starts: list[tuple[int, str | None, int]] = []
        spent: list[tuple[str, int]] = []
        for at, candidates in asked:
            passage = decide(at, candidates, partial(self._rule, at.name), self._scope.now, self._until)
            for task, start in zip(passage.passed, passage.starts, strict=True):
                behind = next_gate(at.name, task.work, task.queue)
                if start is None:
                    passing.append((task.id, behind))
                else:
                    starts.append((task.id, behind, start))
            if passage.spent_until is not None and passage.spent_until != at.spent_until:
                spent.append((at.name, passage.spent_until))
            if passage.token_us is not None:
                self.token_us = min(passage.token_us, self.token_us or passage.token_us)
        self._write(_SPEND, spent)
        self._write(GO_ON, passing)
        self._write(GO_ON_LATER, starts)
        came_to = dict(passing) | {row: gate for row, gate, _ in starts}
        admitted = [row for row, gate in came_to.items() if gate is None]
        self._scope.news.extend(admitted)
        self.admitted += len(admitted)
        return {gate for gate in came_to.values() if gate is not None}

    def _write(self, sql: str, rows: Sequence[object]) -> None:
        if rows:
            self._scope.db.execute(sql, {"ns": self._scope.namespace, "now": self._scope.now, "rows": encode(rows)})

    def _most(self, gate: str) -> int:
        """Return how many may have a slot of a gate at most."""
        if gate.startswith(KEY):
            return self._key_most
        rule = self._rules.get(gate)
        return ADMITTED_MAX**2 if rule is None or rule.at_once is None else rule.at_once

    def _rule(self, gate: str, task: Candidate[int]) -> LimitRule | None:
        if gate.startswith(KEY):
            return self._rules.get(KEYS + task.work_id, ONE_AT_A_TIME)
        return self._rules.get(gate)


# -- Declaring and looking

_DECLARE = (
    "INSERT INTO limit_rule (namespace, name, at_once, interval_us, burst) SELECT :ns, value->>0, value->>1, value->>2,"
    " value->>3 FROM json_each(:rows) WHERE true ON CONFLICT DO UPDATE SET at_once = excluded.at_once,"
    " interval_us = excluded.interval_us, burst = excluded.burst"
)
_WITHDRAW = (
    "DELETE FROM limit_rule WHERE namespace = :ns AND name IN (SELECT value FROM json_each(:known))"
    " AND name NOT IN (SELECT value->>0 FROM json_each(:rows))"
)
STOP_OLD = (
    "UPDATE task SET {column} = :gate, gate = iif(state = 0, '', gate),"
    " hold = iif(state = 0, coalesce(hold, 'limit'), hold)"
    " WHERE namespace = :ns AND {owner} = :owner AND state IN (0, 1) AND {column} IS NULL"
)
_COLUMNS = {
    WORK: ("limit_work", "work_id"),
    QUEUE: ("limit_queue", BASE_QUEUE),
}


def declare(scope: Scope, known: Sequence[str], rules: Sequence[LimitRule]) -> None:
    """Have these rules and, of the known names, no others; what waits or runs already is counted from now on."""
    names = {"ns": scope.namespace, "known": encode(known), "rows": encode(rules)}
    scope.db.execute(_WITHDRAW, names)
    scope.db.execute(_DECLARE, names)
    for rule in rules:
        kind = rule.name[: rule.name.index(":") + 1]
        if kind in _COLUMNS:
            column, owner = _COLUMNS[kind]
            sql = STOP_OLD.format(column=column, owner=owner)
            names = {"ns": scope.namespace, "gate": rule.name, "owner": rule.name.removeprefix(kind)}
            scope.db.execute(sql, names)


_WAITING = (
    f"SELECT json_group_array(json_array(gate, n, due)) FROM (SELECT gate, count(*) AS n, min(due_at) AS due FROM task"
    f" INDEXED BY task_gate WHERE {_IN_LINE} GROUP BY gate)"
)
_HAVING = " UNION ALL ".join(
    f"SELECT limit_{name} AS gate, count(*) AS n FROM task INDEXED BY"
    f" {SLOTS[kind].replace(f'limit_{name} = g.value AND ', '')} GROUP BY limit_{name}"
    for kind, name in ((KEY, "key"), (WORK, "work"), (QUEUE, "queue"))
)


def status(db: Connection, namespace: str) -> list[GateStatus]:
    """Return the gates at which anyone waits, whose slots anyone has, or that are declared, in order of their names."""
    rules = msgspec.json.decode(one(db, f"{RULES} WHERE namespace = ?", (namespace,)), type=list[LimitRule])
    waiting = msgspec.json.decode(one(db, _WAITING, {"ns": namespace}), type=list[tuple[str, int, int]])
    having = msgspec.json.decode(
        one(db, f"SELECT json_group_array(json_array(gate, n)) FROM ({_HAVING})", {"ns": namespace}),
        type=list[tuple[str, int]],
    )
    return statuses(rules, {name: (count, due) for name, count, due in waiting}, dict(having))
