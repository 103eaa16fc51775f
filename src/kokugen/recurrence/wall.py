"""Local times as instants: what a time zone's clock changes make of times that a clock on the wall shows.

Where clocks go forward, local times are left out (a gap); where they go back, local times come twice (a fold).
`WallClock` says for each span of one offset which of its local times count, under a policy; `WallTrigger` is the base
of all triggers that speak of local time, and asks its `Walls` for them.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Literal, NamedTuple, Protocol

from kokugen.clock import EPOCH, SECOND_US
from kokugen.errors import TriggerError
from kokugen.recurrence.offsets import DAY_S, OffsetTable, Span, offset_table
from kokugen.recurrence.trigger import MAX_US, MIN_US, YEARS_MAX, Trigger, not_aware
from kokugen.zones import load_zone

MARGIN_S = 2 * DAY_S
"""More than any two offsets of a zone differ."""
NEVER = 1 << 60
SEARCH_S = YEARS_MAX * 366 * DAY_S
MIN_S = MIN_US // SECOND_US
MAX_S = MAX_US // SECOND_US

Gap = Literal["after", "skip"]
Fold = Literal["first", "second", "both"]


class Walls(Protocol):
    """Local times, in whole seconds since 1970-01-01 00:00 local time, without a zone."""

    def at_or_after(self, wall: int) -> int | None:
        """Return the first that is not earlier; None where there is none, or none for 40 years."""
        ...

    def before(self, wall: int) -> int | None:
        """Return the last that is earlier; None where there is none, or none for 40 years."""
        ...

    def count(self, start: int, end: int) -> int:
        """Return how many there are from `start` on, before `end`."""
        ...


class MaskedWalls(Walls, Protocol):
    """Local times that can be told as bits without walking them."""

    def mask(self, start: int, end: int) -> int:
        """Return those from `start` on, before `end`, as bits, the lowest for `start`."""
        ...


class Stretch(NamedTuple):
    """What counts in a span: local times from `low` on, before `high`; and at its start, any of the gap before it."""

    start: int
    end: int
    offset: int
    low: int
    high: int
    gap_low: int
    gap_high: int


NOWHERE = Stretch(0, 0, 0, 0, 0, 0, 0)
"""The stretch of no instant at all."""


class WallClock:
    """A zone under a policy: `gap` and `fold`, or real time, where every local time counts as often as it comes."""

    __slots__ = ("_fold", "_gap", "_is_real", "_last", "offsets")

    def __init__(self, offsets: OffsetTable, gap: Gap, fold: Fold, *, is_real: bool = False) -> None:
        self.offsets = offsets
        self._gap = gap
        self._fold = fold
        self._is_real = is_real
        self._last = NOWHERE

    def stretch(self, instant: int) -> Stretch:
        """Return the stretch of an instant."""
        last = self._last
        if not last.start <= instant < last.end:
            last = self._last = self._stretch(self.offsets.span(instant))
        return last

    def _stretch(self, span: Span) -> Stretch:
        low, high = span.start + span.offset, span.end + span.offset
        gap_low = low
        if not self._is_real:
            if span.before < span.offset and self._gap == "after":
                gap_low = span.start + span.before
            if span.before > span.offset and self._fold == "first":
                low = span.start + span.before
            if span.after < span.offset and self._fold == "second":
                high = span.end + span.after
        return Stretch(span.start, span.end, span.offset, low, high, gap_low, span.start + span.offset)

    def next(self, walls: Walls, instant: int, limit: int) -> int | None:
        """Return the first instant that is not earlier and at which one of the local times comes, up to `limit`."""
        start, end, offset, low, high, _, _ = self._last
        if start < instant < end:  # nearly always, and then there is no more to it
            first = instant + offset
            near = walls.at_or_after(first if first > low else low)  # noqa: FURB136 - max() would be a tenth of it all
            if near is not None and near < high and near - offset <= limit:
                return near - offset
        return self._next_from(walls, instant, limit)

    def _next_from(self, walls: Walls, instant: int, limit: int) -> int | None:
        """Search for it span by span."""
        asked, wall = 1, 0  # from the first of these to the second there is no local time; at first nothing is known
        while instant <= limit:
            start, end, offset, low, high, gap_low, gap_high = self.stretch(instant)
            if gap_low < gap_high and instant <= start and _has(walls, gap_low, gap_high):
                return start
            lowest = max(instant + offset, low)
            if not asked <= lowest <= wall:
                found = walls.at_or_after(lowest)
                if found is None:  # but a fold may bring back an earlier one
                    limit = min(limit, instant + MARGIN_S)
                asked, wall = lowest, NEVER if found is None else found
            if wall < high:
                return wall - offset if wall - offset <= limit else None
            instant = end
        return None

    def prev(self, walls: Walls, instant: int, limit: int) -> int | None:
        """Return the last instant that is earlier and at which one of the local times comes, down to `limit`."""
        asked, wall = -1, 0  # from the second of these to the first there is no other local time
        while instant > limit:
            start, _, offset, low, high, gap_low, gap_high = self.stretch(instant - 1)
            highest = min(instant + offset, high)
            if not wall < highest <= asked:
                found = walls.before(highest)
                if found is None:
                    limit = max(limit, instant - MARGIN_S)
                asked, wall = highest, -NEVER if found is None else found
            if wall >= low:
                return wall - offset if wall - offset >= limit else None
            if gap_low < gap_high and start >= limit and _has(walls, gap_low, gap_high):
                return start
            instant = start
        return None

    def count(self, walls: Walls, start: int, end: int) -> int:
        """Return how many instants there are from `start` on, before `end`, at which one of the local times comes."""
        found, instant = 0, start
        while instant < end:
            span = self.stretch(instant)
            low, high = max(instant + span.offset, span.low), min(end + span.offset, span.high)
            found += walls.count(low, high) if low < high else 0
            if span.gap_low < span.gap_high and span.start >= start:
                found += _has(walls, span.gap_low, span.gap_high) and not _has(walls, low, low + 1)
            instant = span.end
        return found

    def mask(self, walls: MaskedWalls, start: int, end: int) -> int:
        """Return the instants from `start` on, before `end`, at which one of the local times comes, as bits."""
        found, instant = 0, start
        while instant < end:
            span = self.stretch(instant)
            low, high = max(instant + span.offset, span.low), min(min(end, span.end) + span.offset, span.high)
            if low < high:
                found |= walls.mask(low, high) << (low - span.offset - start)
            if span.gap_low < span.gap_high and span.start >= start and _has(walls, span.gap_low, span.gap_high):
                found |= 1 << (span.start - start)
            instant = span.end
        return found


def _has(walls: Walls, low: int, high: int) -> bool:
    first = walls.at_or_after(low)
    return first is not None and first < high


class WallTrigger(Trigger, frozen=True, kw_only=True):
    """The base of triggers that speak of local time in `tz`, an IANA name.

    `gap`: a local time that the zone skips comes at the first instant after the gap ("after"), or not ("skip").
    `fold`: one that comes twice counts the "first" time, the "second", or "both". What goes by real time has no use
    for either.
    """

    tz: str = "UTC"
    gap: Gap = "after"
    fold: Fold = "first"

    def __post_init__(self) -> None:
        _check_choice("gap", self.gap, ("after", "skip"))
        _check_choice("fold", self.fold, ("first", "second", "both"))
        check_zone(self.tz)

    def next(self, after: datetime) -> datetime | None:
        try:
            since = after - EPOCH
        except TypeError as error:
            raise not_aware(after) from error
        found = self._next_s(since.days * DAY_S + since.seconds + 1)
        return None if found is None else EPOCH + timedelta(seconds=found)

    def next_us(self, after_us: int) -> int | None:
        found = self._next_s(after_us // SECOND_US + 1)
        return None if found is None else found * SECOND_US

    def prev_us(self, before_us: int) -> int | None:
        instant = min(-(-before_us // SECOND_US), MAX_S, self.ends + MARGIN_S)
        found = self.clock.prev(self.walls, instant, max(instant - SEARCH_S, MIN_S)) if instant > MIN_S else None
        return None if found is None else found * SECOND_US

    def count_us(self, start_us: int, end_us: int) -> int:
        return self.clock.count(self.walls, -(-start_us // SECOND_US), -(-end_us // SECOND_US))

    def mask(self, start: int, width: int) -> int:
        walls = self.masked_walls
        if walls is None:
            return super().mask(start, width)
        return self.clock.mask(walls, max(start, MIN_S), min(start + width, MAX_S)) << max(MIN_S - start, 0)

    @property
    def begins(self) -> int:
        """Return a local time that all of its times are not earlier than: searches begin there."""
        return MIN_S

    @property
    def ends(self) -> int:
        """Return a local time that all of its times are not later than: searches backwards begin there."""
        return MAX_S

    @property
    def is_real(self) -> bool:
        """Return whether it goes by real time: each local time comes as often as the clock shows it."""
        return False

    @cached_property
    def _earliest(self) -> int:
        return max(self.begins - MARGIN_S, MIN_S)

    @cached_property
    def clock(self) -> WallClock:
        """The clock on its wall."""
        zone = UTC if self.zone_name == "UTC" else load_zone(self.zone_name)
        return WallClock(offset_table(zone), self.gap, self.fold, is_real=self.is_real)

    @property
    def zone_name(self) -> str:
        """The name of its zone."""
        return self.tz

    @property
    def walls(self) -> Walls:
        """Its local times."""
        raise NotImplementedError

    @property
    def masked_walls(self) -> MaskedWalls | None:
        """Its local times, where they can be told as bits."""
        return None

    def _next_s(self, instant: int) -> int | None:
        if instant >= MAX_S:
            return None
        if instant < self._earliest:  # noqa: PLR1730 - the same
            instant = self._earliest
        found = self.clock.next(self.walls, instant, instant + SEARCH_S)
        return found if found is None or found < MAX_S else None


def check_zone(name: str) -> None:
    """Raise TriggerError unless this is the name of a time zone."""
    if not isinstance(name, str):
        raise TriggerError(f"tz: {name!r} is not a text: give the zone's IANA name, such as 'Europe/Berlin'")
    try:
        load_zone(name)
    except (KeyError, ValueError, OSError) as error:
        raise TriggerError(f"tz: there is no time zone {name!r}: give an IANA name, such as 'Europe/Berlin'") from error


def _check_choice(what: str, value: str, allowed: tuple[str, ...]) -> None:
    if value not in allowed:
        raise TriggerError(f"{what}: {value!r} is not one of {', '.join(map(repr, allowed))}")
