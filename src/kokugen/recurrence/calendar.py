"""Calendars: sets of time, such as holidays, business days, office hours and blackouts, that triggers are limited by.

A calendar says of an instant whether it is inside, and for how long that stays so; everything else follows.
`trigger & calendar` and `trigger - calendar` are in `kokugen.recurrence.limited`.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from functools import cached_property
from typing import TYPE_CHECKING, Literal, NamedTuple, TypeAlias

from msgspec.structs import force_setattr

from kokugen.clock import SECOND_US, to_us
from kokugen.errors import TriggerError, UnknownCalendarError
from kokugen.recurrence.cron_field import WEEKDAY, Place, read_field
from kokugen.recurrence.offsets import DAY_S, OffsetTable, offset_table
from kokugen.recurrence.pattern import EPOCH_DAY
from kokugen.recurrence.plain import Plain, check_name
from kokugen.recurrence.trigger import MAX_US, MIN_US, instant_us
from kokugen.recurrence.wall import check_zone
from kokugen.zones import load_zone

WEEK_DAYS = 7
FAR_US = 1 << 62
FAR_S = FAR_US // SECOND_US
DATES_MAX = 10_000


class Stay(NamedTuple):
    """Whether a time is inside, from `start` on, before `end`. Another stay beside it may say the same."""

    is_inside: bool
    start: int
    end: int


class Calendar(Plain, frozen=True):
    """A set of time. Join them with `|`, `&` and `-`; `~calendar` is all other time."""

    def contains(self, when: datetime) -> bool:
        """Return whether an aware time is inside. Outside of the years 1970 to 8999 none is."""
        us = instant_us(when)
        return MIN_US <= us < MAX_US and self.stay_us(us).is_inside

    def stay_us(self, us: int) -> Stay:
        """Return the stay of an instant, in microseconds since the epoch."""
        raise NotImplementedError

    def __or__(self, other: Calendar) -> Calendar:
        return Joined((self, other)) if isinstance(other, Calendar) else NotImplemented

    def __and__(self, other: Calendar) -> Calendar:
        return Joined((self, other), need="all") if isinstance(other, Calendar) else NotImplemented

    def __sub__(self, other: Calendar) -> Calendar:
        return Joined((self, Complement(other)), need="all") if isinstance(other, Calendar) else NotImplemented

    def __invert__(self) -> Calendar:
        return Complement(self)


class Named(Calendar, frozen=True, tag="named"):
    """A calendar by its name. What holds one must be given the calendar with `bind` before it is asked for times."""

    name: str

    def __post_init__(self) -> None:
        check_name("Named", self.name)

    def bind(self, calendars: Mapping[str, Calendar]) -> Calendar:  # type: ignore[override]
        if self.name not in calendars:
            raise UnknownCalendarError(self.name)
        return calendars[self.name]

    def stay_us(self, us: int) -> Stay:  # noqa: ARG002
        raise UnknownCalendarError(self.name)


class Windows(Calendar, frozen=True, tag="windows"):
    """Some stretches of time, each from a start on, before an end: blackouts, maintenance, a fair."""

    windows: tuple[tuple[datetime, datetime], ...]

    def __post_init__(self) -> None:
        for start, end in self.windows:
            if not instant_us(start) < instant_us(end):
                raise TriggerError(f"Windows: {start} is not before {end}")
        windows = sorted((start.astimezone(UTC), end.astimezone(UTC)) for start, end in self.windows)
        force_setattr(self, "windows", tuple(windows))

    def stay_us(self, us: int) -> Stay:
        starts, ends = self._edges
        at = bisect_right(starts, us)
        if at and us < ends[at - 1]:
            return Stay(is_inside=True, start=starts[at - 1], end=ends[at - 1])
        return Stay(False, ends[at - 1] if at else -FAR_US, starts[at] if at < len(starts) else FAR_US)

    @cached_property
    def _edges(self) -> tuple[list[int], list[int]]:
        """The starts and ends of what is covered, where overlapping windows are one."""
        starts: list[int] = []
        ends: list[int] = []
        for start, end in self.windows:
            if ends and to_us(start) <= ends[-1]:
                ends[-1] = max(ends[-1], to_us(end))
            else:
                starts.append(to_us(start))
                ends.append(to_us(end))
        return starts, ends


class WallCalendar(Calendar, frozen=True, kw_only=True):
    """The base of calendars that go by what the clock in `tz` shows, an IANA name."""

    tz: str = "UTC"

    def __post_init__(self) -> None:
        check_zone(self.tz)

    def stay_us(self, us: int) -> Stay:
        instant = us // SECOND_US
        span = self._offsets.span(instant)
        is_inside, low, high = self.stay_of_wall(instant + span.offset)
        start, end = max(span.start, low - span.offset), min(span.end, high - span.offset)
        return Stay(is_inside, start * SECOND_US, end * SECOND_US)

    def stay_of_wall(self, wall: int) -> Stay:
        """Return the stay of a local time, in seconds since 1970-01-01 00:00 local time."""
        raise NotImplementedError

    @cached_property
    def _offsets(self) -> OffsetTable:
        return offset_table(UTC if self.tz == "UTC" else load_zone(self.tz))


class Days(WallCalendar, frozen=True, tag="days"):
    """Some dates, from midnight to midnight in `tz`: holidays."""

    dates: tuple[date, ...]

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.dates) > DATES_MAX:
            raise TriggerError(f"Days: {len(self.dates)} dates are more than {DATES_MAX}")
        for one in self.dates:
            if not isinstance(one, date) or isinstance(one, datetime):
                raise TriggerError(f"Days: {one!r} is not a date")
        force_setattr(self, "dates", tuple(sorted(set(self.dates))))

    def stay_of_wall(self, wall: int) -> Stay:
        day, days = wall // DAY_S, self._numbers
        at = bisect_right(days, day)
        if at and days[at - 1] == day:
            return Stay(is_inside=True, start=day * DAY_S, end=(day + 1) * DAY_S)
        start = (days[at - 1] + 1) * DAY_S if at else -FAR_S
        return Stay(False, start, days[at] * DAY_S if at < len(days) else FAR_S)

    @cached_property
    def _numbers(self) -> list[int]:
        return [one.toordinal() - EPOCH_DAY for one in self.dates]


class Weekly(WallCalendar, frozen=True, tag="weekly"):
    """Some days of the week, as cron names them, and the hours of each: `Weekly("mon-fri", time(9), time(17))`.

    Without hours, from midnight to midnight. Where `end` is not later than `start`, it is on the next day.
    """

    weekdays: str
    start: time = time(0)
    end: time = time(0)

    def __post_init__(self) -> None:
        super().__post_init__()
        for name in ("start", "end"):
            wall_time_s(name, getattr(self, name))
        self._windows  # noqa: B018 - says what is wrong with the weekdays

    def stay_of_wall(self, wall: int) -> Stay:
        week = (wall // DAY_S + EPOCH_DAY) // WEEK_DAYS * WEEK_DAYS - EPOCH_DAY  # the day number of its Sunday
        base, second = week * DAY_S, wall - week * DAY_S
        before = -WEEK_DAYS * DAY_S
        for start, end in self._windows:
            if second < start:
                return Stay(is_inside=False, start=base + before, end=base + start)
            if second < end:
                return Stay(is_inside=True, start=base + start, end=base + end)
            before = end
        raise AssertionError("the windows of a week reach into the next")

    @cached_property
    def _windows(self) -> list[tuple[int, int]]:
        """The windows of the last, this and the next week that concern this one, in seconds since its Sunday 00:00."""
        field = read_field(Place(self.weekdays, 0, self.weekdays), WEEKDAY)
        if field.nth:
            raise TriggerError(f"Weekly: {self.weekdays!r} is not the same in every week")
        start, end = (wall_time_s(name, getattr(self, name)) for name in ("start", "end"))
        length = end - start if end > start else end + DAY_S - start
        days = [day for day in range(-WEEK_DAYS, 2 * WEEK_DAYS) if field.values >> day % WEEK_DAYS & 1]
        return [(day * DAY_S + start, day * DAY_S + start + length) for day in days]


class BusinessDays(WallCalendar, frozen=True, tag="business_days"):
    """The days of the working week that are no holidays, from midnight to midnight in `tz`."""

    holidays: AnyCalendar | None = None
    weekdays: str = "mon-fri"

    def __post_init__(self) -> None:
        super().__post_init__()
        self._working  # noqa: B018 - says what is wrong with the weekdays

    def stay_us(self, us: int) -> Stay:
        return self._working.stay_us(us)

    @cached_property
    def _working(self) -> Calendar:
        week = Weekly(self.weekdays, tz=self.tz)
        return week if self.holidays is None else week - self.holidays


class Joined(Calendar, frozen=True, tag="joined"):
    """What is inside of any, or of all, of some calendars."""

    calendars: tuple[AnyCalendar, ...]
    need: Literal["any", "all"] = "any"

    def __post_init__(self) -> None:
        if not isinstance(self.calendars, tuple) or not self.calendars or self.need not in {"any", "all"}:
            raise TriggerError("Joined: give a tuple of one calendar or more, and need='any' or 'all'")

    def stay_us(self, us: int) -> Stay:
        stays = [calendar.stay_us(us) for calendar in self.calendars]
        is_inside = (any if self.need == "any" else all)(stay.is_inside for stay in stays)
        return Stay(is_inside, max(stay.start for stay in stays), min(stay.end for stay in stays))


class Complement(Calendar, frozen=True, tag="complement"):
    """All time that is not in a calendar."""

    calendar: AnyCalendar

    def stay_us(self, us: int) -> Stay:
        is_inside, start, end = self.calendar.stay_us(us)
        return Stay(not is_inside, start, end)


# All kinds of calendars: each has a tag of its own in a spec.
if TYPE_CHECKING:
    AnyCalendar: TypeAlias = Calendar
else:
    AnyCalendar = Named | Windows | Days | Weekly | BusinessDays | Joined | Complement


def wall_time_s(name: str, value: time) -> int:
    """Return a time of the day in seconds. Raises TriggerError where it has a zone, or a part of a second."""
    if not isinstance(value, time) or value.tzinfo is not None or value.microsecond:
        raise TriggerError(
            f"{name}: {value!r} is not a time of the day in whole seconds without a zone: give time(9, 30)"
        )
    return value.hour * 3600 + value.minute * 60 + value.second
