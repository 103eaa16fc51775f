"""How tasks come in and are claimed: one JSON array in, one JSON text out, however many rows there are.

A value a column would cost the client three times as much, and a statement a row would crawl beside a busy thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from kokugen.repository.postgres.lane import Scope
from kokugen.repository.rows import Added, AddResult, ClaimAnswer, Claimed, ClaimRequest, NewTask

AGAIN_S = 0.005


def encode(value: object) -> str:
    """Return JSON text, to be bound."""
    return msgspec.json.encode(value).decode()


# -- T1


async def add(scope: Scope, tasks: Sequence[NewTask]) -> list[Added]:
    """Add tasks in one statement, or in several where an id comes again."""
    answers: list[Added] = []
    for part in _parts(tasks):
        answers += await _add(scope, part)
    return answers


def _parts(tasks: Sequence[NewTask]) -> list[Sequence[NewTask]]:
    """Cut before every id that came before, so that each part is added on top of what those before it left."""
    if len({task.id for task in tasks}) == len(tasks):
        return [tasks]
    parts: list[Sequence[NewTask]] = []
    part: dict[str, NewTask] = {}
    for task in tasks:
        if task.id in part:
            parts.append(list(part.values()))
            part = {}
        part[task.id] = task
    return [*parts, list(part.values())]


async def _add(scope: Scope, tasks: Sequence[NewTask]) -> list[Added]:
    """Add tasks in one statement; look only at those that something stands in the way of."""
    answers: dict[int, Added] = {}
    left = dict(enumerate(tasks))
    while left:
        (added,) = await scope.session.row("add", scope.names | {"rows": encode(list(left.values()))})
        if added is None:
            answers |= {place: Added(task.id, AddResult.ADDED) for place, task in left.items()}
            break
        fresh = set(msgspec.json.decode(added))
        for place, task in list(left.items()):
            if task.id in fresh:
                answers[place] = Added(left.pop(place).id, AddResult.ADDED)
        await _look(scope, left, answers)
    return [answers[place] for place in range(len(tasks))]


async def _look(scope: Scope, left: dict[int, NewTask], answers: dict[int, Added]) -> None:
    """Answer those whose id or unique key is taken; one that ended between two looks is left, to be added again."""
    asked = encode([(task.id, task.unique_key) for task in left.values()])
    (found,) = await scope.session.row("holders", scope.names | {"rows": asked})
    for (place, task), (exists, holder) in zip(list(left.items()), msgspec.json.decode(found), strict=True):
        if exists:
            answers[place] = Added(left.pop(place).id, AddResult.EXISTED)
        elif holder is not None:
            answers[place] = Added(holder, AddResult.DUPLICATE)
            del left[place]
        else:
            assert task.unique_key is not None, "a task that collides with none is added"
            await asyncio.sleep(AGAIN_S)


# -- T2


async def claim(scope: Scope, request: ClaimRequest) -> ClaimAnswer:
    """Expire, look, take: one statement."""
    asked = {
        "ahead": request.ahead_us,
        "queues": list(request.queues),
        "slots": request.slots,
        "buffer": request.buffer,
        "lost_max": request.lost_max,
        "only": None if request.only is None else sorted(request.only),
        "skip": sorted(request.skip),
        "node": request.node_id,
        "nonce": request.nonce,
        "ttl": request.ttl_s,
    }
    sent_us = scope.clock.wall_us()
    with scope.unsettled.under_way(request.nonce, scope.session):
        row = await scope.session.row("claim", scope.names | asked)
    scope.drift.note(sent_us, row["now"], scope.clock.wall_us(), near=scope.session.near)
    tasks = _claimed(row["tasks"])
    more = row["more"] or len(tasks) >= request.slots + request.buffer
    return ClaimAnswer(claim=request.nonce, tasks=tasks, next_due=row["next_due"], more=more, now=row["now"])


async def held(scope: Scope, node_id: str, nonce: str) -> ClaimAnswer:
    """Return what the node has under this claim, once nothing more can come of it."""
    await scope.unsettled.settle(nonce, scope.session)
    row = await scope.session.row("held", scope.names | {"node": node_id, "nonce": nonce})
    return ClaimAnswer(claim=nonce, tasks=_claimed(row["tasks"]), next_due=None, more=False, now=row["now"])


def _claimed(text: str | None) -> list[Claimed]:
    return [] if text is None else msgspec.json.decode(text, type=list[Claimed])
