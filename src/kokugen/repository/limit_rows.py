"""What travels between a repository and those who declare limits, let tasks go by them, and look at them.

A task with limits passes gates, one after the other: that of its key, that of its work, that of its queue. It waits at
a gate on hold (`LIMIT_HOLD`), its `gate` says at which; behind the last one any claim may take it. Whoever is behind a
gate, and not over, has one of its slots.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from msgspec import Struct

from kokugen.task import AT

BY_ID_TRIED = "claimed by its id while a limit keeps it waiting"
"""What is said of the seed's way to start a task, which would go past its gates."""
LIMIT_HOLD = "limit"
"""The hold of a task that waits until a limit lets it go."""
KEY, WORK, QUEUE = "key:", "work:", "queue:"
"""What the names of gates begin with, in the order in which a task passes them."""
KEYS = "keys:"
"""What the names of rules for keys begin with: the rest is the work whose tasks have the keys."""
AHEAD_US = 50_000
"""How long before it is due a task may pass its gates: then the claim alone decides how punctual it starts."""
GATES_MAX = 1000
"""How many gates one look lets tasks through at most."""
ADMITTED_MAX = 1000
"""How many tasks one look lets through a gate at most."""


class LimitRule(Struct, frozen=True, kw_only=True, array_like=True):
    """A limit as it is stored. `interval_us` is the time from one start to the next; None: there is no rate."""

    name: str
    at_once: int | None = None
    interval_us: int | None = None
    burst: int = 1


ONE_AT_A_TIME = LimitRule(name=KEYS, at_once=1)
"""The rule of keys for which none is declared."""


class Admission(Struct, frozen=True, array_like=True):
    """What one look at the gates did, when there is a token for who waits for one, and when the next task is due.

    `now` is what time it was in the store.
    """

    admitted: int
    token_us: int | None = None
    next_due: int | None = None
    now: int = 0


class GateStatus(Struct, frozen=True, kw_only=True, array_like=True):
    """A gate as it is now: what passed it and is not over, and what waits at it."""

    name: str
    at_once: int | None
    interval_us: int | None
    burst: int
    taken: int
    waiting: int
    oldest_due: int | None
    """When the first of the waiting ones was, or is, due."""


def gates_of(key: str | None, work: str | None, queue: str | None) -> list[str]:
    """Return the gates of a task in order."""
    return [gate for gate in (key, work, queue) if gate is not None]


def key_of(gate: str | None) -> str | None:
    """Return the key of a key's gate."""
    return None if gate is None else gate.removeprefix(KEY)


def queue_gate(queue: str) -> str:
    """Return the gate of a task's queue, which may end with the place where it runs."""
    return QUEUE + queue.partition(AT)[0]


def next_gate(gate: str, work: str | None, queue: str | None) -> str | None:
    """Return the gate behind one of a task's gates; None: it was the last."""
    if gate.startswith(KEY) and work is not None:
        return work
    return None if gate.startswith(QUEUE) else queue


def statuses(
    rules: Iterable[LimitRule], waiting: Mapping[str, tuple[int, int]], having: Mapping[str, int]
) -> list[GateStatus]:
    """Return what is known of gates, from how many wait since when, and how many have a slot, by their names."""
    by_name = {rule.name: rule for rule in rules}
    names = sorted({*by_name, *waiting, *having})
    return [_status(name, by_name.get(name), waiting.get(name), having.get(name, 0)) for name in names]


def _status(name: str, rule: LimitRule | None, waiting: tuple[int, int] | None, taken: int) -> GateStatus:
    count, oldest = waiting or (0, None)
    return GateStatus(
        name=name,
        at_once=rule.at_once if rule else None,
        interval_us=rule.interval_us if rule else None,
        burst=rule.burst if rule else 1,
        taken=taken,
        waiting=count,
        oldest_due=oldest,
    )
