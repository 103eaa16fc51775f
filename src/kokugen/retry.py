"""How often a task that raised is tried again, and after how long."""

from __future__ import annotations

from datetime import timedelta
from random import Random
from typing import Annotated

from msgspec import Meta, Struct

from kokugen.clock import SECOND_US, duration_us
from kokugen.errors import OptionError

DELAY_MAX = timedelta(days=30)
ATTEMPTS_MAX = 1_000_000
KINDS = (
    ("attempts", int, "a whole number"),
    ("initial", timedelta, "a timedelta"),
    ("factor", int | float, "a number"),
    ("delay_max", timedelta, "a timedelta"),
    ("jitter", bool, "True or False"),
    ("retry_on", tuple, "a tuple of exception classes"),
    ("give_up_on", tuple, "a tuple of exception classes"),
)

_Delay = Annotated[int, Meta(ge=0, le=duration_us(DELAY_MAX))]


class Retry(Struct, frozen=True):
    """Try up to `attempts` times, waiting `initial · factor^(n-1)` (at most `delay_max`) after the n-th attempt.

    With `jitter` each wait is drawn evenly from between zero and that ("full jitter"), so that tasks that failed
    together do not come back together. `retry_on` and `give_up_on` are exception classes; `give_up_on` wins.
    """

    attempts: int = 5
    initial: timedelta = timedelta(seconds=1)
    factor: float = 2.0
    delay_max: timedelta = timedelta(hours=1)
    jitter: bool = True
    retry_on: tuple[type[BaseException], ...] = (Exception,)
    give_up_on: tuple[type[BaseException], ...] = ()

    def __post_init__(self) -> None:
        for name, kind, use in KINDS:
            if not isinstance(getattr(self, name), kind):
                raise OptionError(f"Retry({name}={getattr(self, name)!r}): use {use}")
        if not 1 <= self.attempts <= ATTEMPTS_MAX:
            raise OptionError(f"Retry(attempts={self.attempts}): use 1 to {ATTEMPTS_MAX:,}")
        if self.initial < timedelta(0) or self.delay_max < self.initial or self.delay_max > DELAY_MAX:
            raise OptionError(f"Retry: 0 <= initial <= delay_max <= 30 days, not {self.initial} and {self.delay_max}")
        if not 1.0 <= self.factor <= 1000.0:
            raise OptionError(f"Retry(factor={self.factor}): use 1 to 1,000")

    def accepts(self, error: BaseException) -> bool:
        """Return whether an attempt that ended with `error` may be tried again."""
        return isinstance(error, self.retry_on) and not isinstance(error, self.give_up_on)

    def delay_us(self, attempt: int, random: Random) -> int:
        """Return how long to wait after the `attempt`-th attempt (from 1), in microseconds."""
        ceiling = duration_us(self.delay_max)
        grown = duration_us(self.initial) * self.factor ** min(attempt - 1, 64)
        full = min(ceiling, int(min(grown, 1e15)))
        return random.randrange(full + 1) if self.jitter else full


class StoredRetry(Struct, frozen=True, omit_defaults=True):
    """The numbers of a `Retry` that ride with a task; the exception classes stay with the code.

    Reading them refuses what no `Retry` allows: whoever can write the store must not stop the one who reads it.
    """

    initial_us: _Delay = SECOND_US
    factor: Annotated[float, Meta(ge=1.0, le=1000.0)] = 2.0
    delay_max_us: _Delay = 3600 * SECOND_US
    jitter: bool = True

    def __post_init__(self) -> None:
        if self.delay_max_us < self.initial_us:
            raise ValueError("a retry's first delay is above its longest")

    @classmethod
    def of(cls, retry: Retry) -> StoredRetry:
        """Return the numbers of `retry`."""
        return cls(duration_us(retry.initial), retry.factor, duration_us(retry.delay_max), retry.jitter)

    def onto(self, declared: Retry | None, attempts: int) -> Retry:
        """Return these numbers with the exception classes of the declared policy."""
        base = declared or Retry()
        return Retry(
            attempts=min(attempts, ATTEMPTS_MAX),
            initial=timedelta(microseconds=self.initial_us),
            factor=self.factor,
            delay_max=timedelta(microseconds=self.delay_max_us),
            jitter=self.jitter,
            retry_on=base.retry_on,
            give_up_on=base.give_up_on,
        )
