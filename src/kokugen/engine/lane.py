"""A lane: dispatchers that run the same works, and how much they have in hand and have room for.

Lanes that could take whatever a claim brings make one claim together, as a party: an idle node asks once, not once
a lane.
"""

from __future__ import annotations

from collections.abc import Sequence

from kokugen.dispatcher.protocol import Dispatcher
from kokugen.engine.timer import Timer

BUFFER_MIN = 16


class Load:
    """How many runs of a lane, or of lanes that share their dispatchers, were claimed and are not over."""

    __slots__ = ("runs",)

    def __init__(self) -> None:
        self.runs = 0


class Lane:
    """Counts what was claimed from its queues and is not over. The buffer is what the rate starts in `buffer_s`.

    It is `crowded` when the last claim left no slot free: tasks that wait for one may have been passed over. It is
    `behind` when more was due than the last claim took. One that is `alone` claims with no other.
    """

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        timer: Timer,
        *,
        queues: tuple[str, ...],
        load: Load,
        alone: bool = False,
        buffer_s: float,
        buffer_max: int,
    ) -> None:
        self.dispatchers = dispatchers
        self.timer = timer
        self.queues = queues
        self.alone = alone
        self.only: frozenset[str] | None = None
        self._load = load
        self.crowded = False
        self.behind = False
        self._slow = False
        self._buffer_s = buffer_s
        self._buffer_max = buffer_max
        self._rate = 0.0
        self._ended = 0
        self._since_s = 0.0

    @property
    def outstanding(self) -> int:
        return self._load.runs

    @property
    def capacity(self) -> int:
        return sum(one.capacity for one in self.dispatchers)

    @property
    def slots(self) -> int:
        """Return how many runs could start at once."""
        return max(0, self.capacity - self.outstanding)

    @property
    def buffer(self) -> int:
        """Return how many may wait for a slot: what soon starts, and some anyway, unless they waited too long."""
        if not self.capacity:
            return 0
        return max(0 if self._slow else BUFFER_MIN, min(self._buffer_max, int(self._rate * self._buffer_s)))

    @property
    def room(self) -> int:
        """Return how many more may be claimed; 0 above the low watermark, so that claims are batches."""
        target = self.capacity + self.buffer
        room = target - self.outstanding
        return room if self.outstanding < self.capacity or room * 2 >= target else 0

    @property
    def surplus(self) -> bool:
        """Return whether more was claimed than can be under way."""
        return self.outstanding > self.capacity

    def serve(self, only: frozenset[str]) -> None:
        """Claim these works alone from now on: at once where they are others than before, and never where none."""
        if only == self.only:
            return
        self.only = only
        if only:
            self.timer.hint(0)
        else:
            self.timer.rest()

    def took(self, count: int) -> None:
        self._load.runs += count

    def ended(self, count: int, ran: int, now_s: float) -> None:
        """Take note of runs that are over, and of how many of them had started: the rate, over 20 ms or more."""
        self._load.runs -= count
        assert self.outstanding >= 0, "more runs ended than were claimed"
        self._ended += ran
        span = now_s - self._since_s
        if span < 0.02:
            return
        self._rate = self._ended / span if span > 1 else 0.5 * self._rate + 0.5 * self._ended / span
        self._ended, self._since_s = 0, now_s
        self._slow = self._slow and self._rate * self._buffer_s < 1

    def gave_back(self, now_s: float) -> None:
        """Take note that what waited for a slot waited too long: claim no more of it until slots come free quickly."""
        self._slow = True
        self._rate, self._ended, self._since_s = 0.0, 0, now_s


Party = tuple[Lane, ...]
"""Lanes that claim together."""


def parties_of(lanes: Sequence[Lane]) -> list[Party]:
    """Return who claims together: all that may, unless one has no slot or lags behind.

    It would narrow the others' claim.
    """
    alone: list[Party] = [(lane,) for lane in lanes if lane.alone]
    others = [lane for lane in lanes if not lane.alone]
    if any(lane.behind or not lane.slots for lane in others):
        return [*((lane,) for lane in others), *alone]
    return [tuple(others), *alone] if others else alone
