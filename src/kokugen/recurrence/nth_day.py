"""The nth day of each month among those of a calendar: "the last business day of the month, at 17:00 in Tokyo"."""

from __future__ import annotations

from datetime import date, time
from functools import cached_property, lru_cache

from kokugen.clock import SECOND_US
from kokugen.errors import TriggerError
from kokugen.recurrence.calendar import AnyCalendar, Calendar, wall_time_s
from kokugen.recurrence.cron_field import MONTH, Place, read_field
from kokugen.recurrence.offsets import DAY_S, OffsetTable
from kokugen.recurrence.pattern import EPOCH_DAY, MONTHS_MAX, YEAR_MAX, month_length
from kokugen.recurrence.wall import WallTrigger

MONTHS_KEPT = 64


class NthDay(WallTrigger, frozen=True, tag="nth_day"):
    """The nth day of a month among those in a calendar, `at` a local time; -1 is the last.

    `NthDay(-1, BusinessDays(tz="Asia/Tokyo"), at=time(17), tz="Asia/Tokyo")`. `months` is a field of cron. A day is in
    the calendar when that time of it is. A month with fewer such days is left out.
    """

    nth: int
    of: AnyCalendar
    at: time = time(0)
    months: str = "*"

    def __post_init__(self) -> None:
        super().__post_init__()
        wall_time_s("NthDay: at", self.at)
        if isinstance(self.nth, bool) or not isinstance(self.nth, int) or not 1 <= abs(self.nth) <= 31:
            raise TriggerError(f"NthDay: nth {self.nth!r} is not 1 to 31, or -31 to -1")
        if not isinstance(self.of, Calendar):
            raise TriggerError(f"NthDay: {self.of!r} is not a calendar")
        read_field(Place(self.months, 0, self.months), MONTH)

    @cached_property
    def walls(self) -> _NthDays:
        return _NthDays(self, read_field(Place(self.months, 0, self.months), MONTH).values)


class _NthDays:
    """Its local times."""

    def __init__(self, trigger: NthDay, months: int) -> None:
        self._trigger = trigger
        self._months = months
        self._at_s = wall_time_s("at", trigger.at)
        self._in_month = lru_cache(maxsize=MONTHS_KEPT)(self._find)

    def at_or_after(self, wall: int) -> int | None:
        return self._search(wall, 1)

    def before(self, wall: int) -> int | None:
        return self._search(wall, -1)

    def count(self, start: int, end: int) -> int:
        months = range(_month_of(start), _month_of(end) + 1)
        found = map(self._in_month, months)
        return sum(1 for wall in found if wall is not None and start <= wall < end)

    def _search(self, wall: int, step: int) -> int | None:
        first = _month_of(wall)
        for month in range(first, first + step * MONTHS_MAX, step):
            if not 1969 <= month // 12 <= YEAR_MAX:
                return None
            found = self._in_month(month)
            if found is not None and (found >= wall if step > 0 else found < wall):
                return found
        return None

    def _find(self, month: int) -> int | None:
        """Return the local time in a month, counted from year 0."""
        year, number = month // 12, month % 12 + 1
        if not self._months >> number & 1:
            return None
        first = (date(year, number, 1).toordinal() - EPOCH_DAY) * DAY_S + self._at_s
        walls = [first + day * DAY_S for day in range(month_length(year, number))]
        inside = [wall for wall in walls if self._is_inside(wall)]
        nth = self._trigger.nth
        return inside[nth - 1 if nth > 0 else nth] if len(inside) >= abs(nth) else None

    def _is_inside(self, wall: int) -> bool:
        instant = instant_of(wall, self._trigger.clock.offsets)
        return self._trigger.of.stay_us(instant * SECOND_US).is_inside


def instant_of(wall: int, offsets: OffsetTable) -> int:
    """Return when a local time comes, about: where the clock leaves it out or shows it twice, either side will do."""
    return wall - offsets.span(wall - offsets.span(wall).offset).offset


def _month_of(wall: int) -> int:
    day = date.fromordinal(wall // DAY_S + EPOCH_DAY)
    return day.year * 12 + day.month - 1
