"""A list of instants: what happens at these times, and never again."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from datetime import UTC, datetime
from functools import cached_property

from msgspec.structs import force_setattr

from kokugen.clock import to_us
from kokugen.errors import TriggerError
from kokugen.recurrence.trigger import MAX_US, MIN_US, Trigger, instant_us

INSTANTS_MAX = 10_000


class Instants(Trigger, frozen=True, tag="instants"):
    """These instants, each once, in order: `Instants((datetime(2026, 12, 24, 18, tzinfo=UTC),))`."""

    times: tuple[datetime, ...]

    def __post_init__(self) -> None:
        if not 0 < len(self.times) <= INSTANTS_MAX:
            raise TriggerError(f"Instants: {len(self.times)} times are not 1 to {INSTANTS_MAX}")
        for when in self.times:
            if not MIN_US <= instant_us(when) < MAX_US:
                raise TriggerError(f"Instants: {when} is not within the years 1970 to 8999")
        force_setattr(self, "times", tuple(sorted({when.astimezone(UTC) for when in self.times})))

    def next_us(self, after_us: int) -> int | None:
        at = bisect_right(self._instants, after_us)
        return self._instants[at] if at < len(self._instants) else None

    def prev_us(self, before_us: int) -> int | None:
        at = bisect_left(self._instants, before_us)
        return self._instants[at - 1] if at else None

    def count_us(self, start_us: int, end_us: int) -> int:
        return max(bisect_left(self._instants, end_us) - bisect_left(self._instants, start_us), 0)

    @property
    def is_whole(self) -> bool:
        return not any(when.microsecond for when in self.times)

    @cached_property
    def _instants(self) -> list[int]:
        return [to_us(when) for when in self.times]
