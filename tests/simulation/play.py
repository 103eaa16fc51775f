"""Playing histories: one from its plan, and a broken one made as small as it can be."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from msgspec import Struct

from kokugen.task import replace
from tests.simulation.cluster import Cluster
from tests.simulation.judge import Broken
from tests.simulation.plan import Plan, plan_of

TRIES_MAX = 400


class Played(Struct, frozen=True, kw_only=True):
    """What a history came to."""

    plan: Plan
    broken: tuple[Broken, ...]
    happened: Counter[str]
    checked: Counter[str]
    tasks: int
    runs: int
    told: tuple[tuple[float, str, str], ...]
    trace_hash: str


@contextmanager
def quiet() -> Iterator[None]:
    """Have nothing logged: machines in trouble have much to say."""
    logging.disable(logging.CRITICAL)
    try:
        yield
    finally:
        logging.disable(logging.NOTSET)


def play(plan: Plan | int) -> Played:
    """Play a history to its end, or to the first promise that was not kept."""
    cluster = Cluster(plan_of(plan) if isinstance(plan, int) else plan)
    with quiet():
        try:
            cluster.run()
        except Exception as error:
            error.add_note(f"seed {cluster.plan.seed}")
            raise
        finally:
            cluster.close()
    judge = cluster.judge
    return Played(
        plan=cluster.plan,
        broken=tuple(judge.broken),
        happened=judge.happened,
        checked=judge.checked,
        tasks=len(judge.rows) + len(judge.gone),
        runs=len(judge.calls),
        told=tuple(cluster.world.told),
        trace_hash=cluster.world.trace_hash(),
    )


def shrunk(played: Played) -> Played:
    """Return a history that breaks the same promise with as few deeds as can be found."""
    promise, step, tries = played.broken[0].promise, max(1, len(played.plan.deeds) // 2), 0
    while tries < TRIES_MAX:
        smaller = None
        for start in range(0, len(played.plan.deeds), step):
            tries += 1
            smaller = _without(played.plan, start, step, promise)
            if smaller is not None:
                break
        if smaller is not None:
            played = smaller
        elif step == 1:
            break
        else:
            step = max(1, step // 2)
    return played


def _without(plan: Plan, start: int, number: int, promise: str) -> Played | None:
    """Play without some of the deeds; return what comes of it, if that promise is still broken."""
    fewer: Plan = replace(plan, deeds=plan.deeds[:start] + plan.deeds[start + number :])
    played = play(fewer)
    return played if played.broken and played.broken[0].promise == promise else None
