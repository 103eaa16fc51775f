"""How far the server's clock is ahead of this machine's: learned from calls whose answer tells the server's time.

Each such call bounds the difference: the server looked at its clock after the call was sent and before the answer came.
What all calls allow is between the tightest bounds; a call that does not fit shows that a clock was set, or has drifted
away, and counts alone.
"""

from __future__ import annotations

SLACK_US = 2
"""Both clocks are told in whole microseconds."""


class Drift:
    """The bounds. One loop takes notes, any thread may ask."""

    def __init__(self) -> None:
        self._least_us: int | None = None
        self._most_us = 0
        self.ahead_us = 0
        """The least that it can be, so that nothing starts before it is due there; nought where it is one machine."""

    def note(self, sent_us: int, server_us: int, answered_us: int, *, near: bool) -> None:
        """Take note of the server's time in the answer to a call; `near`: from what seems to be this machine."""
        least, most = server_us - answered_us - SLACK_US, server_us - sent_us + SLACK_US
        if least > most:
            return  # this machine's clock was set back meanwhile
        if self._least_us is not None:
            together = max(least, self._least_us), min(most, self._most_us)
            least, most = together if together[0] <= together[1] else (least, most)
        self._least_us, self._most_us = least, most
        self.ahead_us = 0 if near and least <= 0 <= most else least
