"""What is ahead of one schedule: the decisions of a scheduler, taken in advance, step by step, and thrown away.

`preview` tells the times one by one, `tally` counts them.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.schedules.decision import Decision, awaited
from kokugen.schedules.definitions import Definition
from kokugen.schedules.policy import MINUTE_US
from kokugen.task import replace

STEP_US = MINUTE_US
"""How much of the future is decided at first; each further step is twice as long."""


class Made(NamedTuple):
    """A nominal time that will be a task, and when that is due."""

    nominal: int
    due: int


class Outlook:
    """Of one schedule, as things are `now`; what is made already, and due later than now, is ahead as well."""

    def __init__(self, row: ScheduleRow, definition: Definition, now: int) -> None:
        self.row = standing(row, definition, now)
        """What the schedule is after all that was decided so far."""
        self.times = times_of(self.row, definition)
        """Its times, as far as they are known."""
        self._trigger = definition.trigger
        self._policy = definition.policy
        self._now = now

    def until(self, first: int, last: int) -> Iterator[Made]:
        """Yield what is due from `first` to `last`, in order."""
        return (made for made in self._until(first - self._policy.jitter_us, last) if first <= made.due <= last)

    def _until(self, first: int, last: int) -> Iterator[Made]:
        if last < self._now:
            return
        yield from self.settle()
        self._skip_to(first)
        step = STEP_US
        while (when := self._when()) is not None and when <= last:
            self._now = max(self._now, when)
            yield from self._decide(min(last, self._now + step))
            if self.row.next_at is None or self.row.decided >= last:
                return
            step *= 2

    def settle(self) -> Iterator[Made]:
        """Decide about everything that has passed, and yield what of that runs now; a pause is over then."""
        if self.row.paused_at is not None:
            if self.row.paused_until is None:
                return
            self._now = max(self._now, self.row.paused_until)
        while (at := self.times.next_us(self.row.decided)) is not None and at <= self._now:
            self._now = max(self._now, self._when() or 0)
            decided = self.row.decided
            yield from self._decide(self._now)
            if self.row.decided == decided:
                return

    @property
    def paused(self) -> bool:
        """Return whether nothing comes until someone resumes it."""
        return self.row.paused_at is not None and self.row.paused_until is None

    def _skip_to(self, first: int) -> None:
        """Go on at an instant in the future, with what will have run until then counted."""
        since = max(self.row.decided, self._now)
        if first <= since + 1 or self.row.decided < self._now - self._policy.misfire_us:
            return
        most, runs = self._policy.max_runs, self.row.runs
        if most is not None:
            runs = min(most, runs + self.times.count_us(self.row.decided + 1, first))
        self.row = replace(self.row, decided=first - 1, runs=runs)

    def _when(self) -> int | None:
        """Return when the next decision is wanted; None where none is."""
        row = self.row
        if row.paused_at is not None:
            return row.paused_until
        at = self.times.next_us(row.decided)
        if at is not None and row.spaced is not None and at <= self._now - self._policy.misfire_us:
            return max(at, row.spaced)
        return at

    def _decide(self, until: int) -> Iterator[Made]:
        while True:
            decision = Decision(self.row, self._trigger, self._policy, now=self._now, until=until)
            self.row = decision.row
            for nominal, due in decision.made:
                yield Made(nominal, max(due, self._now) if nominal < self._now else due)
            if decision.whole or not decision.made:
                return


def standing(row: ScheduleRow, definition: Definition, now: int) -> ScheduleRow:
    """Return a schedule as it was before it made tasks of times that are still to come."""
    start = definition.policy.start_us
    since = now if start is None else max(now, start - 1)
    if row.decided <= since or definition.delay_us is not None:
        return row
    made = definition.trigger.count_us(since + 1, row.decided + 1)
    before: ScheduleRow = replace(row, decided=since, runs=max(0, row.runs - made))
    return before


def times_of(row: ScheduleRow, definition: Definition) -> Trigger:
    """Return the times of a schedule; where each depends on the end of a run, the next one, if it is known."""
    return definition.trigger if definition.delay_us is None else awaited(row)
