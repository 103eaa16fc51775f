"""Limits: which gates tasks have to pass is said as they are added; who passes is a function of the schema.

That function runs in a statement of its own, behind the one that ended or added something: the lock that it takes is
never held for longer than that, and not in a transaction of a user's.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

import msgspec

from kokugen.clock import SECOND_US
from kokugen.repository.limit_rows import (
    ADMITTED_MAX,
    AHEAD_US,
    GATES_MAX,
    Admission,
    GateStatus,
    LimitRule,
    statuses,
)
from kokugen.repository.postgres.adding import encode
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.rows import Added, AddResult, NewTask

ENTERED = (AddResult.ADDED, AddResult.REPLACED)


async def admit_added(scope: Scope, tasks: Sequence[NewTask], answers: Sequence[Added]) -> None:
    """Let those through that were added just now, where they are due and may pass."""
    until = scope.clock.wall_us() + SECOND_US
    pairs = zip(tasks, answers, strict=True)
    await admit_after(scope, [one.id for task, one in pairs if one.result in ENTERED and task.due_at <= until])


async def admit_after(scope: Scope, ids: Collection[str]) -> None:
    """Let those through who wait at gates that these tasks passed, or came to."""
    if not ids:
        return
    asked = {"ids": list(ids), "ahead": AHEAD_US, "most": ADMITTED_MAX}
    (told,) = await scope.session.row("admit_after", scope.names | asked)
    if told is not None and msgspec.json.decode(told, type=Admission).admitted:
        scope.admitted()


async def admit(scope: Scope, ahead_us: int, everywhere: bool) -> Admission:
    """Let those through who may pass now, part by part."""
    after = "" if everywhere else None
    asked = {"ahead": ahead_us, "most": ADMITTED_MAX, "gates_max": GATES_MAX, "after": after}
    admitted, tokens = 0, list[int]()
    while True:
        told, gates, next_due, now = await scope.session.row("admit", scope.names | asked)
        part = msgspec.json.decode(told, type=Admission)
        admitted += part.admitted
        tokens += [] if part.token_us is None else [part.token_us]
        if len(gates) < GATES_MAX:
            break
        asked["after"] = gates[-1]
    if everywhere:
        await scope.session.row("forget_spent", scope.names)
    if admitted:
        scope.admitted()
    return Admission(admitted, min(tokens, default=None), next_due, now)


async def declare(scope: Scope, known: Sequence[str], rules: Sequence[LimitRule]) -> None:
    """Have these rules and, of the known names, no others."""
    names = scope.names | {"known": list(known), "rows": encode(rules)}
    await scope.session.row("declare_limits", names)
    if rules:
        await scope.session.row("stop_at_limits", names)


async def gates(scope: Scope) -> list[GateStatus]:
    """Return the gates that are declared, at which a task waits, or whose slots a task has."""
    found = await scope.session.row("gates", scope.names)
    waiting = msgspec.json.decode(found["waiting"], type=list[tuple[str, int, int]])
    return statuses(
        msgspec.json.decode(found["rules"], type=list[LimitRule]),
        {name: (count, due) for name, count, due in waiting},
        dict(msgspec.json.decode(found["having"], type=list[tuple[str, int]])),
    )
