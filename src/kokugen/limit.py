"""`Limit`: how many tasks may run at once, and how many may start in a time.

Declared on work (`limit=`, `key_limit=`) or for a queue; stores keep it, and let tasks go by it.
"""

from __future__ import annotations

from datetime import timedelta

from msgspec import Struct

from kokugen.clock import duration_us
from kokugen.errors import OptionError

AT_ONCE_MAX = 100_000
RATE_MAX = 1_000_000
PER_MAX = timedelta(days=366)


class Limit(Struct, frozen=True):
    """At most `at_once` tasks at the same time, and at most `rate` starts `per` time; at least one of the two.

    Starts are spread evenly over the time; after a pause up to `burst` may start together. In any time t there are at
    most `rate * t / per + 2 * burst` starts, and never more than `rate` in the long run. Raises OptionError.
    """

    at_once: int | None = None
    rate: int | None = None
    per: timedelta = timedelta(seconds=1)
    burst: int = 1

    def __post_init__(self) -> None:
        if self.at_once is None and self.rate is None:
            raise OptionError("Limit() limits nothing: use Limit(5), or Limit(rate=100, per=timedelta(minutes=1))")
        _check("at_once", self.at_once, AT_ONCE_MAX)
        _check("rate", self.rate, RATE_MAX)
        _check("burst", self.burst, RATE_MAX)
        if not isinstance(self.per, timedelta) or not timedelta(0) < self.per <= PER_MAX:
            raise OptionError(f"per={self.per!r}: use a timedelta above zero, up to 366 days")
        if self.rate is not None and self.interval_us < 1:
            raise OptionError(f"rate={self.rate} per {self.per}: use at most one start a microsecond")

    @property
    def interval_us(self) -> int:
        """Return the time from one start to the next, where there is a rate; else nought."""
        return duration_us(self.per) // self.rate if self.rate else 0


def _check(name: str, value: object, most: int) -> None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= most):
        raise OptionError(f"{name}={value!r}: use 1 to {most:,}")
