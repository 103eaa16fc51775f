"""When to claim next: one instant, not a heap. What runs is what the claim returns, so nothing here can be stale."""

from __future__ import annotations

FAR = 1 << 62


class Timer:
    """The earliest of the next due time in the last claim's answer, hints, and the poll."""

    __slots__ = ("_ahead_us", "_next_us", "_poll_us")

    def __init__(self, *, ahead_us: int, poll_us: int) -> None:
        self._ahead_us = ahead_us
        self._poll_us = poll_us
        self._next_us = 0

    def hint(self, due_us: int) -> bool:
        """Take note that a task due then may have come; return whether this makes the next claim earlier."""
        earlier = due_us < self._next_us
        if earlier:
            self._next_us = due_us
        return earlier

    def asked(self) -> None:
        """A claim is on its way: from now on only hints that come later count."""
        self._next_us = FAR

    def answered(self, next_due_us: int | None, *, more: bool) -> None:
        """Take note of a claim's answer; `more`: ask again as soon as there is room."""
        if more:
            self._next_us = 0
        elif next_due_us is not None:
            self.hint(next_due_us)

    def failed(self, now_us: int, backoff_us: int) -> None:
        """The claim was not answered: try again after a while, whatever is hinted."""
        self._next_us = now_us + self._ahead_us + backoff_us

    def wait_us(self, now_us: int) -> int:
        """Return how long to wait until the next claim: 0 or less is now, the poll at most."""
        return min(self._next_us - self._ahead_us - now_us, self._poll_us)
