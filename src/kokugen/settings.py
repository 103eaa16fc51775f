"""The numbers that the engine runs by. The defaults suit nearly everyone; all may be set."""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from kokugen.errors import OptionError

DAY = timedelta(days=1)


class Settings(Struct, frozen=True, kw_only=True):
    """Durations in seconds unless they say otherwise. Checked when made: raises OptionError.

    A claim is trusted for `ttl_s - margin_s` after it was last extended, which happens every `beat_s`; other nodes
    look every `watch_s` and take over what they saw unchanged for `ttl_s`: `2·beat + rpc < ttl - margin` must hold.
    """

    ttl_s: float = 30.0
    beat_s: float = 10.0
    watch_s: float = 5.0
    margin_s: float = 5.0
    rpc_s: float = 4.0
    poll_s: float = 1.0
    ahead_s: float = 0.02
    buffer_s: float = 0.05
    buffer_max: int = 4096
    surplus_s: float = 0.25
    grace_s: float = 20.0
    late_s: float = 1.0
    outbox_max: int = 10_000
    prune_s: float = 60.0
    keep_done: timedelta = 7 * DAY
    keep_cancelled: timedelta = 30 * DAY
    keep_failed: timedelta = 30 * DAY

    def __post_init__(self) -> None:
        for name in (
            "ttl_s",
            "beat_s",
            "watch_s",
            "margin_s",
            "rpc_s",
            "poll_s",
            "buffer_s",
            "surplus_s",
            "prune_s",
        ):
            if not getattr(self, name) > 0:
                raise OptionError(f"{name}={getattr(self, name)!r}: use a number of seconds above 0")
        if not 2 * self.beat_s + self.rpc_s < self.ttl_s - self.margin_s:
            raise OptionError(
                f"2·beat_s + rpc_s < ttl_s - margin_s must hold, not 2·{self.beat_s} + {self.rpc_s} and "
                f"{self.ttl_s} - {self.margin_s}: a node would mistrust its own claims between two beats"
            )
        if not 0 <= self.ahead_s <= 1 or self.buffer_max < 1 or self.outbox_max < 1:
            raise OptionError("use ahead_s from 0 to 1, and buffer_max and outbox_max of at least 1")
