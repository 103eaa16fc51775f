"""One decision about a schedule: every nominal time up to an instant becomes a task, or is accounted for.

Pure arithmetic: a row, its trigger and policy and the time go in, the next row, the tasks and the ledger come out. All
nodes decide alike; the store takes the first one's answer (`ScheduleChange`).
"""

from __future__ import annotations

from hashlib import blake2b
from itertools import islice

from kokugen.clock import EPOCH, SECOND_US, duration_us, from_us
from kokugen.errors import InvalidEntryError
from kokugen.ids import occurrence_id
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.trigger import Trigger
from kokugen.recurrence.wall import WallTrigger
from kokugen.repository.schedule_rows import (
    LedgerRow,
    Overlap,
    Reason,
    ScheduleChange,
    ScheduledTask,
    ScheduleRow,
)
from kokugen.schedules.policy import BATCH_MAX, Catchup, Policy, Template
from kokugen.task import replace

RULES_US = 86_400 * SECOND_US
"""Within what time a schedule in local time is decided about again, by rules that are new by then."""
NEVER_US = 2**62
NO_TIMES = Instants((EPOCH,))
COUNTED_MAX = 20_000
"""How many nominal times are counted one by one, where the trigger cannot calculate how many there are."""


class Decision:
    """Decides about one schedule, once: `until` an instant a little ahead, as things are `now`."""

    def __init__(self, row: ScheduleRow, trigger: Trigger, policy: Policy, *, now: int, until: int) -> None:
        self.made: list[tuple[int, int]] = []
        """The nominal time and the due time of each occurrence that becomes a task."""
        self.ledger: list[LedgerRow] = []
        self.whole = False
        """Whether everything until then is decided; else another decision goes on from here."""
        self._before = row
        self._after_us = duration_us(trigger.delay) if isinstance(trigger, After) else None
        self._trigger = trigger if self._after_us is None else awaited(row)
        self._policy = policy if self._after_us is None else replace(policy, misfire_us=NEVER_US)  # it is never missed
        self._now = now
        self._horizon = until
        self._until = until if policy.end_us is None else min(until, policy.end_us)
        self._decided = row.decided
        self._spaced = row.spaced
        self._skipped, self._coalesced = row.skipped, row.coalesced
        self._paused = row.paused_at is not None
        self._decide()

    # -- What comes of it

    @property
    def row(self) -> ScheduleRow:
        """Return the row after it, at the next revision."""
        before, next_at = self._before, self._next()
        after: ScheduleRow = replace(
            before,
            rev=before.rev + 1,
            decided=self._decided,
            next_at=next_at,
            wake_at=self._wake(next_at),
            spaced=self._spaced,
            runs=before.runs + len(self.made),
            skipped=self._skipped,
            coalesced=self._coalesced,
            modified_at=self._now,
        )
        if before.paused_at is not None and not self._paused:
            after = replace(after, paused_at=None, paused_until=None, paused_note=None, paused_by=None, failures=0)
        return after

    def tasks(self, template: Template) -> list[ScheduledTask]:
        """Return the tasks of what was made."""
        schedule_id = self._before.id
        overlap = None if self._before.overlap == Overlap.ALLOW else self._before.overlap
        reports = self._after_us is not None or self._policy.failures_max is not None
        return [
            template.task(
                occurrence_id(schedule_id, nominal),
                schedule_id=schedule_id,
                nominal=nominal,
                due_at=due_at,
                overlap=overlap,
                reports=reports,
            )
            for nominal, due_at in self.made
        ]

    def change(self, template: Template) -> ScheduleChange:
        """Return the swap that carries it out. Raises InvalidEntryError where its times do not add up."""
        self._verify()
        return ScheduleChange(
            row=self.row, expected=self._before.rev, tasks=self.tasks(template), ledger=list(self.ledger)
        )

    def _verify(self) -> None:
        """Hold what is accounted for against what the trigger counts, where it can calculate that."""
        counts = [entry.count for entry in self.ledger if entry.count is not None]
        if not calculates(self._trigger) or len(counts) < len(self.ledger):
            return
        enumerated = self._trigger.count_us(self._before.decided + 1, self._decided + 1)
        if enumerated != sum(counts):
            first, last = from_us(self._before.decided).isoformat(), from_us(self._decided).isoformat()
            raise InvalidEntryError(
                f"schedule {self._before.name!r} has {enumerated} times from {first} to {last}, "
                f"and {sum(counts)} are accounted for: nothing is decided"
            )

    def _next(self) -> int | None:
        """Return the first nominal time that is not decided."""
        if self._room() <= 0:
            return None
        at = self._trigger.next_us(self._decided)
        if self._after_us is not None and self._skipped > self._before.skipped:
            at = self._decided + self._after_us  # a pause took the place of a run
        end = self._policy.end_us
        return None if at is None or (end is not None and at > end) else at

    def _wake(self, next_at: int | None) -> int | None:
        if self._paused:
            return self._before.paused_until
        if next_at is None:
            return None
        if self._spaced is not None and next_at <= self._now - self._policy.misfire_us:
            return max(next_at, self._spaced)  # the rest is made when it is its turn: the store need not hold all of it
        if self._after_us is not None or _is_in_utc(self._trigger):
            return next_at
        return min(next_at, self._now + self._until_looked_at_again())

    def _until_looked_at_again(self) -> int:
        """Return after how long to look again although nothing comes before: a node may have new rules of the zone."""
        return round(RULES_US * (1 + share_of(self._before.id)) / 2)

    # -- Deciding

    def _decide(self) -> None:
        if self._room() <= 0:
            self.whole = True
            return
        if self._paused and not self._resume():
            return
        missed = min(self._now - self._policy.misfire_us, self._until)
        if self._decided < missed and not self._catch_up(missed):
            return
        self.whole = self._keep_up()

    def _resume(self) -> bool:
        """End a pause whose time is over, and account for what passed; return whether it is."""
        end = self._before.paused_until
        if end is None or end > self._horizon:
            return False
        self._skip(min(end, self._until), Reason.PAUSED)
        self._paused = False
        return True

    def _catch_up(self, missed: int) -> bool:
        """Decide about what is too late simply to run; return whether that is done."""
        policy = self._policy
        self._skip(min(self._now - policy.window_us, missed), Reason.TOO_OLD)
        if policy.catchup is Catchup.SKIP:
            self._skip(missed, Reason.MISSED)
            return True
        if policy.catchup is Catchup.ONE:
            self._coalesce(missed)
            return self._room() > 0
        self._skip(self._before_the_latest(missed), Reason.MISSED)
        return self._make_all(missed)

    def _before_the_latest(self, missed: int) -> int:
        """Return up to when nothing is caught up with, since enough times came later."""
        most, first = self._policy.catchup_max, missed + 1
        if most is None:
            return self._decided
        for _ in range(most):
            at = self._trigger.prev_us(first)
            if at is None or at <= self._decided:
                return self._decided
            first = at
        return first - 1

    def _coalesce(self, missed: int) -> None:
        latest = self._trigger.prev_us(missed + 1)
        if latest is not None and latest > self._decided and self._room() > 0:
            self._coalesced += self._account(latest - 1, Reason.COALESCED, into=latest)
            self._make(latest, latest)

    def _make_all(self, missed: int) -> bool:
        """Make tasks of what was missed, up to a bound, and no faster than the rate."""
        rate = self._policy.rate
        while (nominal := self._trigger.next_us(self._decided)) is not None and nominal <= missed:
            if self._room() <= 0 or len(self.made) >= BATCH_MAX:
                return False
            if rate is None:
                self._make(nominal, nominal)
                continue
            due_at = max(self._spaced or 0, self._now)
            if due_at > self._horizon:
                return False
            self._spaced = due_at + max(1, round(SECOND_US / rate))
            self._make(nominal, due_at)
        return True

    def _keep_up(self) -> bool:
        """Make tasks of what is due, or will be soon."""
        nominal = self._trigger.next_us(self._decided)
        while nominal is not None and nominal <= self._until:
            if self._room() <= 0 or len(self.made) >= BATCH_MAX:
                return False
            following = self._trigger.next_us(nominal)
            self._make(nominal, nominal + self._delay(nominal, following))
            nominal = following
        if self._after_us is None or self._until < self._horizon:  # else the next may be any time after this one
            self._decided = max(self._decided, self._until)
        return True

    def _room(self) -> int:
        """Return how many more tasks the schedule may make."""
        most = self._policy.max_runs
        return BATCH_MAX if most is None else most - self._before.runs - len(self.made)

    def _delay(self, nominal: int, following: int | None) -> int:
        """Return how much later than its nominal time an occurrence is due: less than until the next one."""
        jitter = self._policy.jitter_us
        if jitter <= 0:
            return 0
        if following is not None:
            jitter = min(jitter, following - nominal - 1)
        return round(jitter * share_of(self._before.id))

    def _make(self, nominal: int, due_at: int) -> None:
        self.made.append((nominal, due_at))
        self._decided = nominal
        newest = self.ledger[-1] if self.ledger else None
        if newest is not None and newest.reason == Reason.MADE:
            self.ledger[-1] = replace(newest, last=nominal, count=(newest.count or 0) + 1)
        else:
            self.ledger.append(self._entry(nominal, nominal, 1, Reason.MADE))

    def _skip(self, until: int, reason: Reason) -> None:
        """Account for what is left of the times until then, none of which runs."""
        if until > self._decided:
            self._skipped += self._account(until, reason)
            self._decided = until

    def _account(self, until: int, reason: Reason, into: int | None = None) -> int:
        """Write down the undecided times until then and return how many they are, as far as they are counted."""
        first = self._trigger.next_us(self._decided)
        if first is None or first > until:
            return 0
        last = self._trigger.prev_us(until + 1)
        assert last is not None, "there is a last one where there is a first"
        count = count_of(self._trigger, first, last)
        self.ledger.append(self._entry(first, last, count, reason, into))
        return count or 0

    def _entry(self, first: int, last: int, count: int | None, reason: Reason, into: int | None = None) -> LedgerRow:
        return LedgerRow(
            schedule_id=self._before.id,
            gen=self._before.gen,
            first=first,
            last=last,
            count=count,
            reason=reason,
            stand_in=into,
            at=self._now,
        )


def awaited(row: ScheduleRow) -> Trigger:
    """Return the times of a schedule whose next depends on the end of its last run: that one, once it is known."""
    return NO_TIMES if row.next_at is None else Instants((from_us(row.next_at),))


def calculates(trigger: Trigger) -> bool:
    """Return whether a trigger calculates how many times there are, without a walk."""
    return type(trigger).count_us is not Trigger.count_us


def count_of(trigger: Trigger, first: int, last: int) -> int | None:
    """Return how many nominal times there are from `first` to `last`; None where that would take too long."""
    if calculates(trigger):
        return trigger.count_us(first, last + 1)
    counted = sum(1 for _ in islice(trigger.walk_us(first, last + 1), COUNTED_MAX + 1))
    return counted if counted <= COUNTED_MAX else None


def _is_in_utc(trigger: Trigger) -> bool:
    """Return whether no new rules of a time zone can move its times."""
    return isinstance(trigger, Every) or (isinstance(trigger, WallTrigger) and trigger.zone_name == "UTC")


def share_of(schedule_id: str) -> float:
    """Return the share of the jitter that this schedule has, from 0 on and below 1: always the same."""
    return int.from_bytes(blake2b(schedule_id.encode(), digest_size=6).digest()) / 2**48
