"""Triggers made of others: the times of any, of all, of one without another's, and those inside or outside a calendar.

All kinds of triggers meet here, in `AnyTrigger`, for what reads any of them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import reduce
from operator import and_, or_
from typing import TYPE_CHECKING, TypeAlias

from kokugen.clock import SECOND_US, from_us
from kokugen.errors import TriggerError
from kokugen.recurrence.bits import ones
from kokugen.recurrence.calendar import AnyCalendar, Calendar, Stay
from kokugen.recurrence.calendar_interval import CalendarInterval
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.masks import Jump, count_masked, next_masked, prev_masked
from kokugen.recurrence.nth_day import NthDay
from kokugen.recurrence.rrule import RRule
from kokugen.recurrence.trigger import MAX_US, MIN_US, YEARS_MAX, Trigger

TRIES = 50
"""How many times are tried one by one; then a search goes on by whole days, as bits."""
TRIES_MAX = 100_000
"""How many are tried where times have parts of a second; then it is given up with an error, which nobody can miss."""
Search = Callable[[Trigger, int, Jump], int | None]
SEARCH_US = YEARS_MAX * 366 * 86_400_000_000


class AnyOf(Trigger, frozen=True, tag="any_of"):
    """The times of any of some triggers, each once: `a | b`."""

    triggers: tuple[AnyTrigger, ...]

    def __post_init__(self) -> None:
        _check_parts(self, self.triggers)

    def next_us(self, after_us: int) -> int | None:
        return min((at for one in self.triggers if (at := one.next_us(after_us)) is not None), default=None)

    def prev_us(self, before_us: int) -> int | None:
        return max((at for one in self.triggers if (at := one.prev_us(before_us)) is not None), default=None)

    @property
    def is_whole(self) -> bool:
        return all(one.is_whole for one in self.triggers)

    def mask(self, start: int, width: int) -> int:
        return reduce(or_, (one.mask(start, width) for one in self.triggers))

    def count_us(self, start_us: int, end_us: int) -> int:
        return _count(self, start_us, end_us)


class AllOf(Trigger, frozen=True, tag="all_of"):
    """The times that all of some triggers have: `a & b`."""

    triggers: tuple[AnyTrigger, ...]

    def __post_init__(self) -> None:
        _check_parts(self, self.triggers)

    def next_us(self, after_us: int) -> int | None:
        at = first = self._latest(after_us)
        for _ in range(self._tries):
            if at is None or first is None or at > first + SEARCH_US:
                return None
            following = self._latest(at - 1)
            if following == at:
                return at
            at = following
        return _searched(self, next_masked, after_us, self._latest)

    def prev_us(self, before_us: int) -> int | None:
        at = first = self._earliest(before_us)
        for _ in range(self._tries):
            if at is None or first is None or at < first - SEARCH_US:
                return None
            preceding = self._earliest(at + 1)
            if preceding == at:
                return at
            at = preceding
        return _searched(self, prev_masked, before_us, self._earliest)

    @property
    def is_whole(self) -> bool:
        return all(one.is_whole for one in self.triggers)

    def mask(self, start: int, width: int) -> int:
        return reduce(and_, (one.mask(start, width) for one in self.triggers))

    def count_us(self, start_us: int, end_us: int) -> int:
        return _count(self, start_us, end_us)

    @property
    def _tries(self) -> int:
        return TRIES if self.is_whole else TRIES_MAX

    def _latest(self, after_us: int) -> int | None:
        """Return the last of what each has next: nothing earlier can be a time of all."""
        found = [one.next_us(after_us) for one in self.triggers]
        return max((at for at in found if at is not None), default=None) if None not in found else None

    def _earliest(self, before_us: int) -> int | None:
        found = [one.prev_us(before_us) for one in self.triggers]
        return min((at for at in found if at is not None), default=None) if None not in found else None


class Without(Trigger, frozen=True, tag="without"):
    """The times of a trigger that another does not have: `a - b`."""

    trigger: AnyTrigger
    excluded: AnyTrigger

    def __post_init__(self) -> None:
        _check_parts(self, (self.trigger, self.excluded))

    def next_us(self, after_us: int) -> int | None:
        at = self.trigger.next_us(after_us)
        for _ in range(self._tries):
            if at is None or self.excluded.next_us(at - 1) != at:
                return at
            at = self.trigger.next_us(at)
        return _searched(self, next_masked, after_us, self.trigger.next_us)

    def prev_us(self, before_us: int) -> int | None:
        at = self.trigger.prev_us(before_us)
        for _ in range(self._tries):
            if at is None or self.excluded.prev_us(at + 1) != at:
                return at
            at = self.trigger.prev_us(at)
        return _searched(self, prev_masked, before_us, self.trigger.prev_us)

    @property
    def is_whole(self) -> bool:
        return self.trigger.is_whole and self.excluded.is_whole

    def mask(self, start: int, width: int) -> int:
        return self.trigger.mask(start, width) & ~self.excluded.mask(start, width)

    def count_us(self, start_us: int, end_us: int) -> int:
        return _count(self, start_us, end_us)

    @property
    def _tries(self) -> int:
        return TRIES if self.is_whole else TRIES_MAX


class During(Trigger, frozen=True, tag="during"):
    """The times of a trigger that are inside a calendar: `trigger & calendar`."""

    trigger: AnyTrigger
    calendar: AnyCalendar

    def __post_init__(self) -> None:
        _check_parts(self, (self.trigger,))
        if not isinstance(self.calendar, Calendar):
            raise TriggerError(f"{type(self).__name__}: {self.calendar!r} is not a calendar")

    def stay(self, us: int) -> Stay:
        """Return the stay of an instant: inside is where times count."""
        return self.calendar.stay_us(us)

    def next_us(self, after_us: int) -> int | None:
        at = first = self.trigger.next_us(after_us)
        for _ in range(TRIES_MAX):
            if at is None or first is None or at > first + SEARCH_US:
                return None
            stay = self.stay(at)
            if stay.is_inside:
                return at
            at = self.trigger.next_us(stay.end - 1)
        raise _too_rare(self, after_us)

    def prev_us(self, before_us: int) -> int | None:
        at = first = self.trigger.prev_us(before_us)
        for _ in range(TRIES_MAX):
            if at is None or first is None or at < first - SEARCH_US:
                return None
            stay = self.stay(at)
            if stay.is_inside:
                return at
            at = self.trigger.prev_us(stay.start)
        raise _too_rare(self, before_us)

    def count_us(self, start_us: int, end_us: int) -> int:
        return sum(self.trigger.count_us(start, end) for start, end in self._inside(start_us, end_us))

    @property
    def is_whole(self) -> bool:
        return self.trigger.is_whole

    def mask(self, start: int, width: int) -> int:
        inside = 0
        for low, high in self._inside(start * SECOND_US, (start + width) * SECOND_US):
            inside |= ones(-(-low // SECOND_US) - start, -(-high // SECOND_US) - start)
        return self.trigger.mask(start, width) & inside

    def _inside(self, start_us: int, end_us: int) -> Iterator[tuple[int, int]]:
        """Yield the stretches that count, going from one time of the trigger to the next where there are few."""
        at = self.trigger.next_us(start_us - 1)
        while at is not None and at < end_us:
            is_inside, _, end = self.stay(at)
            if is_inside:
                yield at, min(end, end_us)
            at = self.trigger.next_us(end - 1)


class Outside(During, frozen=True, tag="outside"):
    """The times of a trigger that are not inside a calendar: `trigger - calendar`."""

    def stay(self, us: int) -> Stay:
        is_inside, start, end = self.calendar.stay_us(us)
        return Stay(not is_inside, start, end)


# All kinds of triggers: each has a tag of its own in a spec.
if TYPE_CHECKING:
    AnyTrigger: TypeAlias = Trigger
else:
    AnyTrigger = (
        Cron | Every | After | CalendarInterval | RRule | NthDay | Instants | AnyOf | AllOf | Without | During | Outside
    )


def _check_parts(whole: Trigger, parts: tuple[Trigger, ...]) -> None:
    name = type(whole).__name__
    if not isinstance(parts, tuple) or not parts:
        raise TriggerError(f"{name}: give a tuple of one trigger or more")
    for part in parts:
        if not isinstance(part, Trigger):
            raise TriggerError(f"{name}: {part!r} is not a trigger")
        if part.after_completion:
            raise TriggerError(f"{name}: {part!r} has no times before its runs have ended, so it cannot be combined")


def _count(trigger: Trigger, start_us: int, end_us: int) -> int:
    """Count as bits where that is possible; else walk."""
    if trigger.is_whole:
        return count_masked(trigger, start_us, end_us)
    return sum(1 for _ in trigger.walk_us(start_us, end_us))


def _searched(trigger: Trigger, search: Search, us: int, jump: Jump) -> int | None:
    """Go on as bits, where that is possible, after some tries in vain."""
    if not trigger.is_whole:
        raise _too_rare(trigger, us)
    return search(trigger, us, jump)


def _too_rare(trigger: Trigger, us: int) -> TriggerError:
    near = from_us(min(max(us, MIN_US), MAX_US)).isoformat()
    return TriggerError(f"{trigger!r} has no time among {TRIES_MAX} that were tried from {near} on: it is too rare")
