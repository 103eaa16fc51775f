"""Runs that are this node's by the store, and that it knows nothing of.

A claim may be committed long after its node gave up waiting and asked what it holds: a lock held it up, or a network
delivered it late. Nobody runs what it took and nobody extends it; other nodes take it over, but there may be none.
"""

from __future__ import annotations

from collections.abc import Iterable

from kokugen.clock import Clock
from kokugen.repository.rows import Lease, Observed


class Strays:
    """What was seen of them, and since when.

    The rule is the one for other nodes' runs: unchanged for the whole ttl on this node's boot clock. By then the claim
    was sent so long ago that an answer that still comes starts nothing.
    """

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._seen: dict[Lease, tuple[int, float]] = {}

    def lost(self, strays: Iterable[Observed]) -> list[Observed]:
        """Take a look at those that there are now; return the ones that are to be recovered."""
        now_s = self._clock.boot_s()
        seen: dict[Lease, tuple[int, float]] = {}
        lost = []
        for one in strays:
            beat, since_s = self._seen.get(Lease(one.id, one.claim), (one.beat, now_s))
            seen[Lease(one.id, one.claim)] = (one.beat, since_s if beat == one.beat else now_s)
            if beat == one.beat and now_s - since_s >= one.ttl_s:
                lost.append(one)
        self._seen = seen
        return lost
