"""When to claim next: one instant, not a heap. What runs is what the claim returns, so nothing here can be stale."""

from __future__ import annotations

from kokugen.clock import SECOND_US

FAR = 1 << 62


class Timer:
    """The earliest of the next due time in the last claim's answer, hints, and the poll.

    What is due goes by the wall clock; the poll and the wait after an error by the boot clock, which nobody can set.
    """

    __slots__ = ("_ahead_us", "_next_us", "_not_before_s", "_poll_at_s")

    def __init__(self, *, ahead_us: int) -> None:
        self._ahead_us = ahead_us
        self._next_us = 0
        self._poll_at_s = 0.0
        self._not_before_s = 0.0

    def hint(self, due_us: int) -> bool:
        """Take note that a task due then may have come; return whether this makes the next claim earlier."""
        earlier = due_us < self._next_us
        if earlier:
            self._next_us = due_us
        return earlier

    def asked(self, poll_at_s: float) -> None:
        """A claim is on its way: from now on only hints that come later count, and the next poll."""
        self._next_us = FAR
        self._poll_at_s = poll_at_s

    def answered(self, next_due_us: int | None, *, more: bool) -> None:
        """Take note of a claim's answer; `more`: ask again as soon as there is room."""
        if more:
            self._next_us = 0
        elif next_due_us is not None:
            self.hint(next_due_us)

    def rest(self) -> None:
        """There is nothing to claim: from now on only hints count."""
        self._next_us = FAR

    def failed(self, now_s: float, backoff_s: float) -> None:
        """The claim was not answered: try again after a while, whatever is hinted."""
        self._next_us = 0
        self._not_before_s = now_s + backoff_s

    def wait_s(self, now_us: int, now_s: float) -> float:
        """Return how long to wait until the next claim: 0 or less is now."""
        due_s = (self._next_us - self._ahead_us - now_us) / SECOND_US
        return max(min(due_s, self._poll_at_s - now_s), self._not_before_s - now_s)
