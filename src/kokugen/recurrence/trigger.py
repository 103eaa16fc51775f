"""A trigger: the nominal times of something that recurs, as plain frozen data with arithmetic, without I/O.

Schedules hold triggers and ask them for times; `kokugen.recurrence.spec` writes them down as data.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from typing import TYPE_CHECKING, Any, ClassVar

from kokugen.clock import SECOND_US, from_us, to_us
from kokugen.errors import TriggerError
from kokugen.recurrence.plain import Plain

if TYPE_CHECKING:
    from kokugen.recurrence.calendar import Calendar

MIN_US = 0
"""The first instant a trigger knows: 1970-01-01 UTC."""
MAX_US = 221_845_392_000_000_000
"""The first that it does not know any more: 9000-01-01 UTC."""
YEARS_MAX = 40
"""How far a search goes. No day that a calendar has is rarer: 29 February on one weekday can take 40 years."""


class Trigger(Plain, frozen=True):
    """What recurs. Equal triggers have equal fields; `repr` reads as the constructor; all times are in UTC.

    `a | b` are the times of both, `a & b` those that both have, `a - b` those of the first alone; `&` and `-` take a
    calendar too. Times asked about must be aware. Outside of the years 1970 to 8999 nothing occurs.
    """

    after_completion: ClassVar[bool] = False
    """Whether the next time depends on when the last run ended, so that there are no times before it has."""

    def next(self, after: datetime) -> datetime | None:
        """Return the first time later than `after`; None where there is none (within 40 years)."""
        return _answer(self.next_us(max(instant_us(after), MIN_US - 1)))

    def prev(self, before: datetime) -> datetime | None:
        """Return the last time earlier than `before`; None where there is none (within 40 years)."""
        return _answer(self.prev_us(min(instant_us(before), MAX_US)))

    def between(self, start: datetime, end: datetime) -> Iterator[datetime]:
        """Yield the times from `start` on and before `end`, in order, as they are asked for: there may be many."""
        return self._walk(*_range_us(start, end))

    def count_between(self, start: datetime, end: datetime) -> int:
        """Return how many times `between` would yield, without walking them where the trigger can calculate it."""
        return self.count_us(*_range_us(start, end))

    def __or__(self, other: Trigger) -> Trigger:
        from kokugen.recurrence.combined import AnyOf

        return AnyOf((self, other)) if isinstance(other, Trigger) else NotImplemented

    def __and__(self, other: Trigger | Calendar) -> Trigger:
        from kokugen.recurrence.combined import AllOf, During

        return AllOf((self, other)) if isinstance(other, Trigger) else During(self, other)

    def __sub__(self, other: Trigger | Calendar) -> Trigger:
        from kokugen.recurrence.combined import Outside, Without

        return Without(self, other) if isinstance(other, Trigger) else Outside(self, other)

    def next_us(self, after_us: int) -> int | None:
        """`next`, in microseconds since the epoch."""
        raise NotImplementedError

    def prev_us(self, before_us: int) -> int | None:
        """`prev`, in microseconds since the epoch."""
        raise NotImplementedError

    @property
    def is_whole(self) -> bool:
        """Return whether all its times are whole seconds."""
        return True

    def mask(self, start: int, width: int) -> int:
        """Return its times of so many seconds from `start` on (since the epoch), as bits. It must be whole."""
        bits = 0
        for at in self.walk_us(start * SECOND_US, (start + width) * SECOND_US):
            bits |= 1 << (at // SECOND_US - start)
        return bits

    def count_us(self, start_us: int, end_us: int) -> int:
        """`count_between`, in microseconds since the epoch. This walks; what can calculate does."""
        return sum(1 for _ in self.walk_us(start_us, end_us))

    def walk_us(self, start_us: int, end_us: int) -> Iterator[int]:
        """`between`, in microseconds since the epoch."""
        at = self.next_us(start_us - 1)
        while at is not None and at < end_us:
            yield at
            at = self.next_us(at)

    def _walk(self, start_us: int, end_us: int) -> Iterator[datetime]:
        return map(from_us, self.walk_us(start_us, end_us))


def instant_us(when: datetime) -> int:
    """Return an aware datetime in microseconds since the epoch. Raises TriggerError for a naive one."""
    try:
        return to_us(when)
    except (TypeError, AttributeError) as error:
        raise not_aware(when) from error


def not_aware(when: Any) -> TriggerError:
    """Say what is wrong with a time that is no aware datetime."""
    if isinstance(when, datetime):
        return TriggerError(f"{when.isoformat()} has no time zone: give an aware datetime, such as one with tzinfo=UTC")
    return TriggerError(f"{when!r} is not a datetime: give an aware one, such as datetime(2026, 12, 24, tzinfo=UTC)")


def _range_us(start: datetime, end: datetime) -> tuple[int, int]:
    return max(instant_us(start), MIN_US), min(instant_us(end), MAX_US)


def _answer(us: int | None) -> datetime | None:
    return None if us is None else from_us(us)
