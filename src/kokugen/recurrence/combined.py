"""Triggers made of others: the times of any, of all, of one without another's, and those inside or outside a calendar.

All kinds of triggers meet here, in `AnyTrigger`, for what reads any of them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, TypeAlias

from kokugen.clock import from_us
from kokugen.errors import TriggerError
from kokugen.recurrence.calendar import AnyCalendar, Calendar, Stay
from kokugen.recurrence.calendar_interval import CalendarInterval
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.nth_day import NthDay
from kokugen.recurrence.rrule import RRule
from kokugen.recurrence.trigger import MAX_US, MIN_US, YEARS_MAX, Trigger

TRIES_MAX = 100_000
"""How many times are tried until one is found; then the search is given up with an error, which nobody can miss."""
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

    def count_us(self, start_us: int, end_us: int) -> int:
        """Return the sum of all, without what an earlier one has too."""
        total = self.triggers[0].count_us(start_us, end_us)
        for number, one in enumerate(self.triggers[1:], 1):
            shared = AllOf((AnyOf(self.triggers[:number]), one))
            total += one.count_us(start_us, end_us) - shared.count_us(start_us, end_us)
        return total


class AllOf(Trigger, frozen=True, tag="all_of"):
    """The times that all of some triggers have: `a & b`."""

    triggers: tuple[AnyTrigger, ...]

    def __post_init__(self) -> None:
        _check_parts(self, self.triggers)

    def next_us(self, after_us: int) -> int | None:
        at = self.triggers[0].next_us(after_us)
        for _ in range(TRIES_MAX):
            if at is None or at > after_us + SEARCH_US:
                return None
            others = [one.next_us(at - 1) for one in self.triggers]
            if any(other is None for other in others):
                return None
            latest = max(other for other in others if other is not None)
            if latest == at:
                return at
            at = latest
        raise _too_rare(self, after_us)

    def prev_us(self, before_us: int) -> int | None:
        at = self.triggers[0].prev_us(before_us)
        for _ in range(TRIES_MAX):
            if at is None or at < before_us - SEARCH_US:
                return None
            others = [one.prev_us(at + 1) for one in self.triggers]
            if any(other is None for other in others):
                return None
            earliest = min(other for other in others if other is not None)
            if earliest == at:
                return at
            at = earliest
        raise _too_rare(self, before_us)


class Without(Trigger, frozen=True, tag="without"):
    """The times of a trigger that another does not have: `a - b`."""

    trigger: AnyTrigger
    excluded: AnyTrigger

    def __post_init__(self) -> None:
        _check_parts(self, (self.trigger, self.excluded))

    def next_us(self, after_us: int) -> int | None:
        at: int | None = after_us
        for _ in range(TRIES_MAX):
            assert at is not None
            at = self.trigger.next_us(at)
            if at is None or self.excluded.next_us(at - 1) != at:
                return at
        raise _too_rare(self, after_us)

    def prev_us(self, before_us: int) -> int | None:
        at: int | None = before_us
        for _ in range(TRIES_MAX):
            assert at is not None
            at = self.trigger.prev_us(at)
            if at is None or self.excluded.prev_us(at + 1) != at:
                return at
        raise _too_rare(self, before_us)

    def count_us(self, start_us: int, end_us: int) -> int:
        shared = AllOf((self.trigger, self.excluded))
        return self.trigger.count_us(start_us, end_us) - shared.count_us(start_us, end_us)


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
        at = self.trigger.next_us(after_us)
        for _ in range(TRIES_MAX):
            if at is None or at > after_us + SEARCH_US:
                return None
            stay = self.stay(at)
            if stay.is_inside:
                return at
            at = self.trigger.next_us(stay.end - 1)
        raise _too_rare(self, after_us)

    def prev_us(self, before_us: int) -> int | None:
        at = self.trigger.prev_us(before_us)
        for _ in range(TRIES_MAX):
            if at is None or at < before_us - SEARCH_US:
                return None
            stay = self.stay(at)
            if stay.is_inside:
                return at
            at = self.trigger.prev_us(stay.start)
        raise _too_rare(self, before_us)

    def count_us(self, start_us: int, end_us: int) -> int:
        return sum(self.trigger.count_us(start, end) for start, end in self._inside(start_us, end_us))

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


def _too_rare(trigger: Trigger, us: int) -> TriggerError:
    near = from_us(min(max(us, MIN_US), MAX_US)).isoformat()
    return TriggerError(f"{trigger!r} has no time among {TRIES_MAX} that were tried from {near} on: it is too rare")
