"""What a node itself saw of runs that it does not know, and since when: all that ever declares a run lost.

No clock of another machine is asked. What was seen unchanged for its whole ttl on this node's boot clock was not
extended, and its owner has mistrusted it for longer than `margin_s` by now.
"""

from __future__ import annotations

from collections.abc import Iterable

from kokugen.clock import Clock
from kokugen.repository.rows import Lease, Observed


class Sightings:
    """Looks in turn at the runs of others, or at the strays under this node's own name.

    A node that has not looked for `gap_s` stood still, and its neighbours may have with it: it begins afresh.
    """

    def __init__(self, clock: Clock, *, gap_s: float) -> None:
        self._clock = clock
        self._gap_s = gap_s
        self._looked_s = clock.boot_s()
        self._seen: dict[Lease, tuple[int, float]] = {}

    def stale(self, observed: Iterable[Observed]) -> list[Observed]:
        """Take a look at the runs that there are now; return those seen unchanged for their whole ttl."""
        now_s = self._clock.boot_s()
        before = self._seen if now_s - self._looked_s <= self._gap_s else {}
        self._looked_s, self._seen = now_s, {}
        stale = []
        for one in observed:
            lease = Lease(one.id, one.claim)
            beat, since_s = before.get(lease, (one.beat, now_s))
            if beat != one.beat:
                since_s = now_s
            self._seen[lease] = one.beat, since_s
            if now_s - since_s >= one.ttl_s:
                stale.append(one)
        return stale
