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
from kokugen.repository.sqlite.tasks import EXPIRED_MAX, LEVELS, Scope, encode

_FIRST = "coalesce(limit_key, limit_work, limit_queue)"
_WAITS = "namespace = :ns AND state = 0 AND hold = 'limit'"
SLOTS = {
    KEY: "task_key_slot WHERE namespace = :ns AND limit_key = g.value AND limit_key IS NOT NULL"
    " AND state IN (0, 1) AND gate IS NOT limit_key",
    WORK: "task_work_slot WHERE namespace = :ns AND limit_work = g.value AND limit_work IS NOT NULL"
    " AND state IN (0, 1) AND (gate IS NULL OR gate IS limit_queue)",
    QUEUE: "task_queue_slot WHERE namespace = :ns AND limit_queue = g.value AND limit_queue IS NOT NULL"
    " AND state IN (0, 1) AND gate IS NULL",
}
"""The index of those who have a slot of a gate, and the condition that they have."""

# -- Who has gates

RULES = f"SELECT json_group_array(json_array({', '.join(LimitRule.__struct_fields__)})) FROM limit_rule"
_ANY_RULE = "SELECT EXISTS (SELECT 1 FROM limit_rule WHERE namespace = ?)"
_RULED = "(SELECT name FROM limit_rule WHERE namespace = :ns AND name = '{kind}' || task.{column})"
_GATE = (
    "WITH r AS MATERIALIZED (SELECT value->>0 AS id, value->>1 AS limit_key FROM json_each(:rows)) UPDATE task SET"
    f" limit_key = '{KEY}' || r.limit_key, limit_work = {_RULED.format(kind=WORK, column='work_id')},"
    f" limit_queue = {_RULED.format(kind=QUEUE, column='queue')} FROM r WHERE namespace = :ns AND task.id = r.id"
    " AND state = 0"
)
STOP = (
    f"UPDATE task SET gate = {_FIRST}, hold = coalesce(hold, 'limit') WHERE namespace = :ns AND state = 0"
    f" AND id IN (SELECT value->>0 FROM json_each(:rows)) AND {_FIRST} IS NOT NULL"
)


def gate(scope: Scope, rows: Sequence[tuple[str, str | None]]) -> bool:
    """Have new tasks (ids and keys) stop at their gates, before anyone may claim them; return whether any has one."""
    if all(key is None for _, key in rows) and not one(scope.db, _ANY_RULE, (scope.namespace,)):
        return False
    names = {"ns": scope.namespace, "rows": encode(rows)}
    scope.db.execute(_GATE, names)
    scope.db.execute(STOP, names)
    return bool(scope.db.changes())


# -- Who passes

_SOME_WAIT = f"SELECT EXISTS (SELECT 1 FROM task INDEXED BY task_gate WHERE {_WAITS.replace(':ns', '?')})"
GATES_OF = (
    "SELECT json_group_array(DISTINCT g.value) FROM task t CROSS JOIN"
    " json_each(json_array(t.limit_key, t.limit_work, t.limit_queue)) g WHERE t.namespace = :ns"
    " AND t.id IN (SELECT value FROM json_each(:ids)) AND g.value IS NOT NULL"
)
DUE_GATES = (
    f"SELECT json_group_array(DISTINCT gate) FROM task INDEXED BY task_gate_due WHERE {_WAITS}"
    " AND due_at > :since AND due_at <= :until"
)
ALL_GATES = (
    "WITH RECURSIVE g (name) AS ("
    f"SELECT (SELECT min(gate) FROM task INDEXED BY task_gate WHERE {_WAITS} AND gate > :after) UNION ALL"
    f" SELECT (SELECT min(gate) FROM task INDEXED BY task_gate WHERE {_WAITS} AND gate > g.name)"
    f" FROM g WHERE g.name IS NOT NULL LIMIT {GATES_MAX + 1})"
    " SELECT json_group_array(name) FROM g WHERE name IS NOT NULL"
)
NEXT_DUE = f"SELECT min(due_at) FROM task INDEXED BY task_gate_due WHERE {_WAITS} AND due_at > :until"
EXPIRE = (
    "UPDATE task SET state = 3, reason = 'expired', finished_at = :now, modified_at = :now, rev = rev + 1, hold = NULL"
    f" WHERE namespace = :ns AND id IN (SELECT id FROM task INDEXED BY task_gate_deadline WHERE {_WAITS}"
    " AND start_deadline IS NOT NULL AND start_deadline <= :now LIMIT :max)"
)


def counted_sql(kind: str) -> str:
    """Return the query for the slots and the buckets of gates of one kind."""
    slots = f"FROM task INDEXED BY {SLOTS[kind]}"
    return (
        f"SELECT json_group_array(json_array(g.value, (SELECT count(*) {slots}), (SELECT count(*) {slots}"
        " AND state = 0), (SELECT spent_until FROM limit_bucket b WHERE b.namespace = :ns AND b.name = g.value)))"
        " FROM json_each(:gates) g"
    )


def candidates_sql() -> str:
    """Return the query for those who may pass gates, in order: one index range a level."""
    levels = " UNION ALL ".join(
        f"SELECT * FROM (SELECT {', '.join(_CANDIDATE)} FROM task INDEXED BY task_gate WHERE {_WAITS}"
        f" AND gate = g.value AND rank = {level} AND due_at <= :until ORDER BY due_at, id LIMIT :n)"
        for level in LEVELS
    )
    row = f"json_array({', '.join(_CANDIDATE)})"
    return (
        f"SELECT json_group_array(json((SELECT json_group_array({row}) FROM (SELECT * FROM ({levels}) LIMIT :n))))"
        " FROM json_each(:gates) g"
    )


_CANDIDATE = ("id", "work_id", "limit_work", "limit_queue")
_GO_ON = (
    "WITH r AS MATERIALIZED (SELECT value->>0 AS id, value->>1 AS gate, value->>2 AS start FROM json_each(:rows))"
    " UPDATE task SET gate = r.gate, hold = iif(r.gate IS NULL, NULL, 'limit'), modified_at = :now, rev = rev + 1,"
    " due_at = max(due_at, coalesce(r.start, due_at))"
    " FROM r WHERE namespace = :ns AND task.id = r.id"
)
_SPEND = (
    "INSERT INTO limit_bucket (namespace, name, spent_until) SELECT :ns, value->>0, value->>1 FROM json_each(:rows)"
    " WHERE true ON CONFLICT DO UPDATE SET spent_until = excluded.spent_until"
)
_FORGET_SPENT = "DELETE FROM limit_bucket WHERE namespace = :ns AND spent_until < :now"


def add(scope: Scope, tasks_: Sequence[NewTask]) -> list[Added]:
    """Add tasks; those with limits stop at their gates, and pass at once where they may."""
    answers = tasks.add(scope, tasks_)
    added = [task for task, answer in zip(tasks_, answers, strict=True) if answer.result is AddResult.ADDED]
    if gate(scope, [(task.id, task.limit_key) for task in added]):
        until = scope.now + AHEAD_US
        admit_after(scope, [task.id for task in added if task.due_at <= until])
    return answers


def admit_after(scope: Scope, ids: Collection[str]) -> None:
    """Let those through who wait at gates that these tasks passed, or came to."""
    if not ids or not one(scope.db, _SOME_WAIT, (scope.namespace,)):
        return
    found = one(scope.db, GATES_OF, {"ns": scope.namespace, "ids": encode(list(ids))})
    if gates := msgspec.json.decode(found, type=list[str]):
        Admitter(scope, scope.now + AHEAD_US).through(gates)


def admit(scope: Scope, since: int | None, until: int) -> Admission:
    """Let those through who may pass now: at the gates of what has become due since, or at all gates."""
    if not one(scope.db, _SOME_WAIT, (scope.namespace,)):
        return Admission(0)
    names = {"ns": scope.namespace, "now": scope.now, "until": until, "max": EXPIRED_MAX}
    scope.db.execute(EXPIRE, names)
    admitter = Admitter(scope, until)
    for gates in [_listed(scope, DUE_GATES, names | {"since": since})] if since is not None else _all_gates(scope):
        admitter.through(gates)
    if since is None:
        scope.db.execute(_FORGET_SPENT, {"ns": scope.namespace, "now": scope.now})
    next_due = one(scope.db, NEXT_DUE, names)
    return Admission(admitter.admitted, admitter.token_us, next_due)


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
        counted = one(scope.db, counted_sql(kind), {"ns": scope.namespace, "gates": encode(names)})
        gates = [Gate(*row) for row in msgspec.json.decode(counted)]
        room = {gate.name: self._most(gate.name) - gate.taken for gate in gates}
        gates = [gate for gate in gates if room[gate.name] > 0]
        if not gates:
            return set()
        asked = {
            "ns": scope.namespace,
            "gates": encode([gate.name for gate in gates]),
            "until": self._until,
            "n": min(ADMITTED_MAX, max(room[gate.name] for gate in gates)),
        }
        found = msgspec.json.decode(one(scope.db, candidates_sql(), asked), type=list[list[Candidate]])
        return self._pass(zip(gates, found, strict=True))

    def _pass(self, asked: Any) -> set[str]:
        passing: list[tuple[str, str | None, int | None]] = []
        spent: list[tuple[str, int]] = []
        for gate, candidates in asked:
            passage = decide(gate, candidates, partial(self._rule, gate.name), self._scope.now, self._until)
            passing += [
                (one_.id, next_gate(gate.name, one_.work, one_.queue), start)
                for one_, start in zip(passage.passed, passage.starts, strict=True)
            ]
            if passage.spent_until is not None and passage.spent_until != gate.spent_until:
                spent.append((gate.name, passage.spent_until))
            if passage.token_us is not None:
                self.token_us = min(passage.token_us, self.token_us or passage.token_us)
        names = {"ns": self._scope.namespace, "now": self._scope.now}
        if spent:
            self._scope.db.execute(_SPEND, names | {"rows": encode(spent)})
        if passing:
            self._scope.db.execute(_GO_ON, names | {"rows": encode(passing)})
        admitted = sum(behind is None for _, behind, _ in passing)
        if admitted:
            self._scope.news.append(0)
        self.admitted += admitted
        return {behind for _, behind, _ in passing if behind is not None}

    def _most(self, gate: str) -> int:
        """Return how many may have a slot of a gate at most."""
        if gate.startswith(KEY):
            return self._key_most
        rule = self._rules.get(gate)
        return ADMITTED_MAX**2 if rule is None or rule.at_once is None else rule.at_once

    def _rule(self, gate: str, task: Candidate) -> LimitRule | None:
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
    "UPDATE task SET {column} = :gate, gate = iif(state = 0, coalesce({first}), gate),"
    " hold = iif(state = 0, coalesce(hold, 'limit'), hold)"
    " WHERE namespace = :ns AND {owner} = :owner AND state IN (0, 1) AND {column} IS NULL"
)
_COLUMNS = {
    WORK: ("limit_work", "work_id", "limit_key, :gate"),
    QUEUE: ("limit_queue", "queue", "limit_key, limit_work, :gate"),
}


def declare(scope: Scope, known: Sequence[str], rules: Sequence[LimitRule]) -> None:
    """Have these rules and, of the known names, no others; what waits or runs already is counted from now on."""
    names = {"ns": scope.namespace, "known": encode(known), "rows": encode(rules)}
    scope.db.execute(_WITHDRAW, names)
    scope.db.execute(_DECLARE, names)
    for rule in rules:
        kind = rule.name[: rule.name.index(":") + 1]
        if kind in _COLUMNS:
            column, owner, first = _COLUMNS[kind]
            sql = STOP_OLD.format(column=column, owner=owner, first=first)
            names = {"ns": scope.namespace, "gate": rule.name, "owner": rule.name.removeprefix(kind)}
            scope.db.execute(sql, names)


_WAITING = (
    f"SELECT json_group_array(json_array(gate, n, due)) FROM (SELECT gate, count(*) AS n, min(due_at) AS due FROM task"
    f" INDEXED BY task_gate WHERE {_WAITS} GROUP BY gate)"
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
