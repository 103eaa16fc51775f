"""Intervals of real time: a fixed rate, and a fixed delay after each run."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

from msgspec.structs import force_setattr

from kokugen.clock import EPOCH, SECOND_US, duration_us, to_us
from kokugen.errors import TriggerError
from kokugen.recurrence.bits import repeated
from kokugen.recurrence.trigger import MAX_US, MIN_US, Trigger, instant_us

PERIOD_MIN = timedelta(milliseconds=1)


class Every(Trigger, frozen=True, tag="every"):
    """A fixed rate in real time: at `start`, and again after each `period`, whatever clocks on the wall do.

    Without a start the times are whole periods since 1970-01-01 UTC: every 15 minutes is at :00, :15, :30 and :45,
    and every day at midnight UTC.
    """

    period: timedelta
    start: datetime = EPOCH

    def __post_init__(self) -> None:
        _check_period(self.period, "Every")
        force_setattr(self, "start", _utc(self.start))

    def next_us(self, after_us: int) -> int | None:
        start_us, period_us = to_us(self.start), duration_us(self.period)
        step = max((after_us - start_us) // period_us + 1, 0)
        at = start_us + step * period_us
        return at if at < MAX_US else None

    def prev_us(self, before_us: int) -> int | None:
        start_us, period_us = to_us(self.start), duration_us(self.period)
        step = (min(before_us, MAX_US) - start_us - 1) // period_us
        return start_us + step * period_us if step >= 0 else None

    def count_us(self, start_us: int, end_us: int) -> int:
        return max(self._before(end_us) - self._before(start_us), 0)

    @property
    def is_whole(self) -> bool:
        return duration_us(self.period) % SECOND_US == 0 and to_us(self.start) % SECOND_US == 0

    def mask(self, start: int, width: int) -> int:
        first = self.next_us(start * SECOND_US - 1)
        period = duration_us(self.period) // SECOND_US
        return 0 if first is None else repeated(first // SECOND_US - start, period, width)

    def _before(self, us: int) -> int:
        """Return how many times are earlier."""
        return max(-((to_us(self.start) - us) // duration_us(self.period)), 0)


class After(Trigger, frozen=True, tag="after"):
    """A fixed delay after each run: `next(ended)` is `delay` later than when the last run ended.

    It has no times of its own: `prev` is None, and `between` and `count_between` are refused, for what comes when
    depends on how long runs take.
    """

    after_completion = True

    delay: timedelta

    def __post_init__(self) -> None:
        _check_period(self.delay, "After")

    def next_us(self, after_us: int) -> int | None:
        at = max(after_us, MIN_US) + duration_us(self.delay)
        return at if at < MAX_US else None

    def prev_us(self, before_us: int) -> int | None:  # noqa: ARG002
        return None

    def count_us(self, start_us: int, end_us: int) -> int:  # noqa: ARG002
        raise self._refusal()

    def walk_us(self, start_us: int, end_us: int) -> Iterator[int]:  # noqa: ARG002
        raise self._refusal()

    def _refusal(self) -> TriggerError:
        return TriggerError(f"{self!r} has no times before its runs have ended: ask for next(ended)")


def _check_period(period: timedelta, what: str) -> None:
    if not isinstance(period, timedelta) or period < PERIOD_MIN:
        raise TriggerError(f"{what}: {period!r} is not a timedelta of at least a millisecond")


def _utc(start: datetime) -> datetime:
    if not MIN_US <= instant_us(start) < MAX_US:
        raise TriggerError(f"Every: start {start} is not within the years 1970 to 8999")
    return start.astimezone(UTC)
