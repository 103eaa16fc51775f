"""How tasks come in and are claimed: one JSON array in, one JSON text out, however many rows there are.

A value a column would cost the client three times as much, and a statement a row would crawl beside a busy thread.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

import msgspec

from kokugen.repository.limit_rows import AHEAD_US
from kokugen.repository.postgres.adding import Steps, Taken, adding
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.limits import admit_added
from kokugen.repository.rows import Added, AddResult, ClaimAnswer, Claimed, ClaimRequest, NewTask, linked

# -- T1


async def add(scope: Scope, tasks: Sequence[NewTask]) -> list[Added]:
    """Add tasks in one statement, or in several where an id comes again."""
    taken = await _carried_out(scope, adding(scope.names | {"line_up": AHEAD_US}, tasks))
    if taken.gated or any(answer.result is AddResult.REPLACED for answer in taken.answers):
        await admit_added(scope, tasks, taken.answers)
    return taken.answers


async def _carried_out(scope: Scope, steps: Steps[Taken]) -> Taken:
    try:
        ask = next(steps)
        while True:
            if ask.pause_s:
                await asyncio.sleep(ask.pause_s)
            ask = steps.send(await scope.session.row(ask.name, ask.values))
    except StopIteration as end:
        taken: Taken = end.value
        return taken


# -- T2


async def claim(scope: Scope, request: ClaimRequest) -> ClaimAnswer:
    """Expire, look, take: one statement."""
    asked = {
        "ahead": request.ahead_us,
        "ageing": request.ageing_us,
        "queues": list(request.queues),
        "slots": request.slots,
        "buffer": request.buffer,
        "lost_max": request.lost_max,
        "strict": sorted(request.strict),
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
    return [] if text is None else linked(msgspec.json.decode(text, type=list[Claimed]))
