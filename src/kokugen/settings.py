"""The numbers that the engine runs by. The defaults suit nearly everyone; all may be set."""

from __future__ import annotations

from datetime import timedelta
from math import inf, ulp
from sys import float_info

from msgspec import Struct

from kokugen.errors import OptionError

DAY = timedelta(days=1)
FROM_ZERO = frozenset({"ahead_s", "grace_s", "late_s"})
"""The durations that may be nothing at all; every other one is above that."""
ENDLESS = frozenset({"ageing_s"})
"""The durations that may never end."""


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
    ageing_s: float = 600.0
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
        for name in self.__struct_fields__:
            _check(name, getattr(self, name))
        if not 2 * self.beat_s + self.rpc_s < self.ttl_s - self.margin_s:
            raise OptionError(
                f"2·beat_s + rpc_s < ttl_s - margin_s must hold, not 2·{self.beat_s} + {self.rpc_s} and "
                f"{self.ttl_s} - {self.margin_s}: a node would mistrust its own claims between two beats"
            )
        if self.ahead_s > 1:
            raise OptionError(f"ahead_s={self.ahead_s!r}: use 0 to 1")


def _check(name: str, value: object) -> None:
    """Raise OptionError unless this setting may have this value, apart from all others."""
    if name.startswith("keep_"):
        if not isinstance(value, timedelta) or value < timedelta(0):
            raise OptionError(f"{name}={value!r}: use a timedelta of at least 0, such as timedelta(days=7)")
    elif name.endswith("_max"):
        if not isinstance(value, int) or isinstance(value, bool) or value < 1:
            raise OptionError(f"{name}={value!r}: use a whole number of at least 1")
    elif not isinstance(value, int | float) or isinstance(value, bool) or not _least(name) <= value <= _most(name):
        least = "of at least" if name in FROM_ZERO else "above"
        endless = ", or math.inf" if name in ENDLESS else ""
        raise OptionError(f"{name}={value!r}: use a number of seconds {least} 0{endless}")


def _least(name: str) -> float:
    return 0.0 if name in FROM_ZERO else ulp(0.0)


def _most(name: str) -> float:
    return inf if name in ENDLESS else float_info.max
