"""Who passes a gate: the one decision about limits, for stores that take it in this process under a lock of their own.

A rate is a bucket of tokens, kept as one instant (GCRA): until when the tokens taken so far are spent. A task takes its
token as it passes; one that passed and was not claimed yet counts, so that no more than `burst` wait behind a gate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Generic, TypeVar

from msgspec import Struct

from kokugen.repository.limit_rows import LimitRule

K = TypeVar("K", str, int)


class Gate(Struct, frozen=True):
    """A gate as it was read: its slots, those of them whose tasks were not claimed yet, and its bucket."""

    name: str
    taken: int
    idle: int
    spent_until: int | None = None


class Candidate(Struct, Generic[K], frozen=True, array_like=True, gc=False):
    """A due task that waits at the gate, in the order in which they may pass; `id` is what the store knows it by."""

    id: K
    work_id: str
    work: str | None
    queue: str | None
    due_at: int


class Passage(Struct, Generic[K], frozen=True):
    """Who passes, from when each may start (None: at once), the bucket behind them, and when the next token comes."""

    passed: list[Candidate[K]]
    starts: list[int | None]
    spent_until: int | None
    token_us: int | None


def decide(
    gate: Gate,
    candidates: Iterable[Candidate[K]],
    rule_of: Callable[[Candidate[K]], LimitRule | None],
    now: int,
    until: int,
) -> Passage[K]:
    """Let the first ones pass, up to one whose rule says no: nobody overtakes at a gate.

    Tokens that come by `until` are given away already; the tasks that have them may start then.
    """
    passed: list[Candidate[K]] = []
    starts: list[int | None] = []
    taken, idle, spent, token = gate.taken, gate.idle, gate.spent_until, None
    for candidate in candidates:
        rule = rule_of(candidate)
        start = None
        if rule is not None and rule.at_once is not None and taken >= rule.at_once:
            break
        if rule is not None and rule.interval_us is not None:
            after = max(spent or 0, now, candidate.due_at) + rule.interval_us
            comes = max(now, after - rule.burst * rule.interval_us)
            if idle >= rule.burst + (until - now) // rule.interval_us:  # they were let go, and wait for a worker
                token = now + rule.interval_us
                break
            if comes > until:
                token = comes
                break
            spent, start = after, comes if comes > now else None
        passed.append(candidate)
        starts.append(start)
        taken, idle = taken + 1, idle + 1
    return Passage(passed, starts, spent, token)
