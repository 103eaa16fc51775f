"""What people and code do to a schedule, each as one swap: created, edited, paused, resumed, triggered, backfilled.

Pure, as `decision` is. A change of plan first decides, as things were, about every time that has passed; then it takes
back what waits for a later one, and decides anew about what comes soon.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import msgspec
from msgspec import Struct

from kokugen.clock import from_us
from kokugen.errors import LimitExceededError, OptionError
from kokugen.ids import occurrence_id
from kokugen.options import check_by, check_words
from kokugen.repository.schedule_rows import (
    AuditRow,
    Ledger,
    LedgerRow,
    Overlap,
    Reason,
    ScheduleChange,
    ScheduledTask,
    ScheduleRow,
)
from kokugen.schedules.decision import Decision
from kokugen.schedules.definitions import Definition
from kokugen.task import TaskState, replace

BACKFILL_MAX = 1000
"""How many occurrences one call makes."""


class Draft(Struct, frozen=True, kw_only=True):
    """A schedule as it is declared: what an edit replaces, and a rollback brings back."""

    name: str
    owner: str | None = None
    spec: str
    policy: str = "{}"
    template: str
    overlap: str = Overlap.QUEUE_ONE

    @classmethod
    def of(cls, row: ScheduleRow) -> Draft:
        """Return the draft that a row came of."""
        return cls(**{name: getattr(row, name) for name in cls.__struct_fields__})

    @property
    def text(self) -> str:
        """Return it as JSON, as the audit keeps it."""
        return msgspec.json.encode(self).decode()


class Act(Struct, frozen=True, kw_only=True):
    """Someone's doing: who, why, when, and how far ahead decisions go. Raises OptionError for a name or a reason.

    No time up to `since` is decided anew.
    """

    now: int
    ahead_us: int
    since: int = 0
    by: str | None = None
    why: str | None = None

    def __post_init__(self) -> None:
        check_by(self.by)
        check_words("why", self.why)

    @property
    def until(self) -> int:
        return self.now + self.ahead_us

    @property
    def cut(self) -> int:
        """Return up to when tasks are let be: what is due runs, whatever is changed."""
        return max(self.now, self.since)


class Unsettled(Exception):
    """There is more to decide than goes into one swap: carry out `change`, then try again."""

    def __init__(self, change: ScheduleChange) -> None:
        self.change = change


def settled_until(ledger: Ledger) -> int:
    """Return up to when nothing is decided anew although it is to come: it is claimed, cancelled or over.

    A clock that was set back brings times again that have passed: all up to when something was decided already.
    """
    over = [one.nominal for one in ledger.tasks if one.state is not TaskState.INITIALIZED]
    over += [one.nominal for one in ledger.ends if one.state is not TaskState.INITIALIZED]
    return max([0, *over, *(row.at for row in ledger.rows)])


def create(
    schedule_id: str, draft: Draft, definition: Definition, act: Act, paused: str | None = None
) -> ScheduleChange:
    """Make a schedule, paused where there is a note why. Its times count from its start, else from now on."""
    start = definition.policy.start_us
    row = replace(row_of(schedule_id, draft, act.now), decided=act.now if start is None else start - 1)
    if paused is not None:
        row = replace(row, paused_at=act.now, paused_note=paused, paused_by=act.by)
    return _creation(row, draft, definition, act)


def bring_back(
    schedule_id: str, draft: Draft, definition: Definition, act: Act, past: Ledger, pause: dict[str, Any]
) -> ScheduleChange:
    """Make a schedule that was removed, from now on: with its ledger, its runs, and its pause unless that has ended."""
    row = row_of(schedule_id, draft, act.now)
    taken_back = sum(1 for end in past.ends if end.state is TaskState.INITIALIZED)
    made = sum(entry.count or 0 for entry in past.rows if entry.reason == Reason.MADE)
    gen = 1 + max((entry.gen for entry in past.rows), default=0)
    row = replace(row, gen=gen, runs=max(0, made - taken_back), decided=act.cut)
    if pause.get("paused_at") is not None:
        row = replace(row, **pause | {"paused_at": act.now})
    return _creation(replace(row, decided=_reopened(row, definition, act)), draft, definition, act)


def pause_in(schedule_id: str, rows: Sequence[AuditRow]) -> dict[str, Any]:
    """Return the fields of the pause that a schedule was in, by its changes, newest first; empty: none is known."""
    for row in rows:
        if row.schedule_id == schedule_id and row.what in {"pause", "resume"} and row.after is not None:
            found: dict[str, Any] = msgspec.json.decode(row.after)
            return found
    return {}


def _creation(row: ScheduleRow, draft: Draft, definition: Definition, act: Act) -> ScheduleChange:
    row = replace(row, **_of_ends(definition, act, None))
    decision = Decision(row, definition.trigger, definition.policy, now=act.now, until=act.until)
    return ScheduleChange(
        row=replace(decision.row, rev=1),
        tasks=decision.tasks(definition.template),
        ledger=decision.ledger,
        audit=_audit(row, act, "create", None, draft.text),
    )


def put_over(row: ScheduleRow, draft: Draft) -> Draft:
    """Return the draft as it is put over a schedule: where it names no owner, the schedule keeps its own."""
    return draft if draft.owner is not None else replace(draft, owner=row.owner)


def differs(row: ScheduleRow, draft: Draft) -> bool:
    """Return whether a schedule is another once the draft is put over it."""
    return Draft.of(row) != put_over(row, draft)


def edit(row: ScheduleRow, before: Definition, draft: Draft, after: Definition, act: Act) -> ScheduleChange:
    """Give a schedule another definition, from now on. It stays paused if it is. Raises Unsettled."""
    settled = _settled(row, before, act)
    begun = _after_its_end(settled.row, before, act)
    changed = _next_edition(settled.row, act, decided=_reopened(begun, after, act), spaced=None)
    changed = replace(changed, gen=row.gen + 1, failures=0, **_fields(draft))
    awaited = _next_of(row, settled, before, changed.decided)
    ended = None if awaited is None or before.delay_us is None else awaited - before.delay_us
    changed = replace(changed, **_of_ends(after, act, ended))
    decision = Decision(changed, after.trigger, after.policy, now=act.now, until=act.until)
    return ScheduleChange(
        row=replace(decision.row, rev=row.rev + 1),
        expected=row.rev,
        drop_from=act.cut + 1,
        tasks=[*settled.tasks(before.template), *decision.tasks(after.template)],
        ledger=[*settled.ledger, *decision.ledger],
        audit=_audit(row, act, "edit", Draft.of(row).text, draft.text),
    )


def remove(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange:
    """Delete a schedule; what is due already still runs. Raises Unsettled."""
    settled = _settled(row, definition, act)
    return ScheduleChange(
        row=row,
        expected=row.rev,
        remove=True,
        drop_from=act.cut + 1,
        tasks=settled.tasks(definition.template),
        ledger=settled.ledger,
        audit=_audit(row, act, "remove", Draft.of(row).text, None),
    )


def pause(row: ScheduleRow, definition: Definition, act: Act, until: int | None) -> ScheduleChange:
    """Make nothing more, until then or until it is resumed; what is due already still runs. Raises Unsettled.

    A schedule that is paused already gets the new end, note and name. Raises OptionError for an end that has passed.
    """
    if until is not None and until <= act.now:
        raise OptionError(f"until={from_us(until).isoformat()} has passed: use a later time, or None")
    about = {"paused_until": until, "paused_note": act.why, "paused_by": act.by, "wake_at": until}
    if row.paused_at is not None:
        again = replace(_next_edition(row, act), **about)
        return ScheduleChange(row=again, expected=row.rev, audit=_pausing(row, act, "pause", again))
    settled = _settled(row, definition, act)
    reopened = _reopened(settled.row, definition, act)
    paused = replace(_next_edition(settled.row, act, decided=reopened), paused_at=act.now, **about)
    paused = replace(paused, rev=row.rev + 1, next_at=_next_of(row, settled, definition, paused.decided))
    return ScheduleChange(
        row=paused,
        expected=row.rev,
        drop_from=act.cut + 1,
        tasks=settled.tasks(definition.template),
        ledger=settled.ledger,
        audit=_pausing(row, act, "pause", paused),
    )


def resume(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange:
    """End a pause now: what passed meanwhile is accounted for, and does not run."""
    ending = _next_edition(replace(row, paused_until=act.now), act)
    decision = Decision(ending, definition.trigger, definition.policy, now=act.now, until=act.until)
    resumed = replace(decision.row, rev=row.rev + 1)
    return ScheduleChange(
        row=resumed,
        expected=row.rev,
        tasks=decision.tasks(definition.template),
        ledger=decision.ledger,
        audit=_pausing(row, act, "resume", resumed),
    )


def fails(row: ScheduleRow) -> bool:
    """Return whether so many runs of a schedule failed in a row that it is to be paused."""
    return row.paused_at is None and row.failures_max is not None and row.failures >= row.failures_max


def pause_for_failures(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange:
    """Pause a schedule too many of whose runs failed in a row. Raises Unsettled."""
    told = "the last run failed" if row.failures == 1 else f"the last {row.failures} runs failed"
    return pause(row, definition, msgspec.structs.replace(act, why=told), None)


def trigger(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange:
    """Make one occurrence now, beside the schedule's own; also while it is paused."""
    entry = _entry(row, act, act.now, act.now, 1, Reason.TRIGGERED)
    return ScheduleChange(
        row=replace(row, rev=row.rev + 1, modified_at=act.now),
        expected=row.rev,
        tasks=[_task(row, definition, act.now, act.now, _overlap_of(row))],
        ledger=[entry],
        audit=_audit(row, act, "trigger", None, None),
    )


def backfill(
    row: ScheduleRow, definition: Definition, act: Act, span: tuple[int, int], decided: Sequence[LedgerRow]
) -> ScheduleChange | None:
    """Make the occurrences of a span that is over that were not made; None where there are none.

    They run one after the other unless they may overlap. Raises LimitExceededError where they are too many.
    """
    first, last = span[0], min(span[1], row.decided, act.now)
    made = [entry for entry in decided if entry.reason in {Reason.MADE, Reason.BACKFILLED}]
    missing: list[int] = []
    for nominal in definition.trigger.walk_us(first, last + 1):
        if any(entry.first <= nominal <= entry.last for entry in made):
            continue
        missing.append(nominal)
        if len(missing) > BACKFILL_MAX:
            raise LimitExceededError(
                f"to backfill schedule {row.name!r} would make more than {BACKFILL_MAX} tasks: name a shorter span"
            )
    if not missing:
        return None
    overlap = None if row.overlap == Overlap.ALLOW else Overlap.QUEUE_ALL.value
    return ScheduleChange(
        row=replace(row, rev=row.rev + 1, modified_at=act.now),
        expected=row.rev,
        tasks=[_task(row, definition, nominal, act.now, overlap) for nominal in missing],
        ledger=[_entry(row, act, missing[0], missing[-1], len(missing), Reason.BACKFILLED)],
        audit=_audit(row, act, "backfill", None, None),
    )


def go_on(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange | None:
    """Decide about what comes soon, where that is not decided; None where it is."""
    decision = Decision(row, definition.trigger, definition.policy, now=act.now, until=act.until)
    if decision.row.wake_at == row.wake_at and not decision.ledger:
        return None
    return decision.change(definition.template)


def row_of(schedule_id: str, draft: Draft, now: int) -> ScheduleRow:
    """Return the row of a new schedule, whose times count from now on."""
    return ScheduleRow(id=schedule_id, **_fields(draft), decided=now, created_at=now, modified_at=now)


def draft_of(text: str) -> Draft:
    """Return the draft that the audit kept."""
    return msgspec.json.decode(text, type=Draft)


def _settled(row: ScheduleRow, definition: Definition, act: Act) -> Decision:
    """Decide about what has passed. Raises Unsettled where that is too much for one swap."""
    decision = Decision(row, definition.trigger, definition.policy, now=act.now, until=act.now)
    if not decision.whole and row.paused_at is None and decision.made and decision.row.next_at is not None:
        raise Unsettled(decision.change(definition.template))
    return decision


def _reopened(row: ScheduleRow, definition: Definition, act: Act) -> int:
    """Return up to when a schedule is decided whose tasks to come are taken back: at least up to its start."""
    start = definition.policy.start_us
    decided = min(row.decided, act.cut)
    return decided if start is None or definition.delay_us is not None else max(decided, start - 1)


def _after_its_end(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleRow:
    """Return a schedule that is over as one that is decided up to now: what passed since was none of its times."""
    if row.next_at is not None or definition.delay_us is not None:
        return row
    now = act.cut if row.paused_at is None else min(act.cut, row.paused_at)
    after: ScheduleRow = replace(row, decided=max(row.decided, now))
    return after


def _next_edition(row: ScheduleRow, act: Act, **changes: object) -> ScheduleRow:
    after: ScheduleRow = replace(row, rev=row.rev + 1, edition=row.edition + 1, modified_at=act.now, **changes)
    return after


def _fields(draft: Draft) -> dict[str, Any]:
    return {name: getattr(draft, name) for name in Draft.__struct_fields__}


def _of_ends(definition: Definition, act: Act, ended: int | None) -> dict[str, Any]:
    """Return what the store is to do at the end of runs, and when the first is due whose delay begins now, or then."""
    about: dict[str, Any] = {"delay": definition.delay_us, "failures_max": definition.policy.failures_max}
    if definition.delay_us is None:
        return about
    start = definition.policy.start_us
    first = (act.now if ended is None else ended) + definition.delay_us
    return about | {"next_at": max(first, act.now + 1) if start is None or start <= act.now else start}


def _next_of(row: ScheduleRow, settled: Decision, definition: Definition, decided: int) -> int | None:
    """Return the next time of a schedule whose tasks later than `decided` are taken back."""
    if definition.delay_us is None:
        return definition.trigger.next_us(decided)
    return row.decided if row.decided > decided else settled.row.next_at


def _overlap_of(row: ScheduleRow) -> str | None:
    return None if row.overlap == Overlap.ALLOW else row.overlap


def _task(row: ScheduleRow, definition: Definition, nominal: int, due_at: int, overlap: str | None) -> ScheduledTask:
    task_id = occurrence_id(row.id, nominal)
    return definition.template.task(
        task_id, schedule_id=row.id, nominal=nominal, due_at=due_at, overlap=overlap, reports=definition.reports
    )


def _entry(row: ScheduleRow, act: Act, first: int, last: int, count: int, reason: Reason) -> LedgerRow:
    return LedgerRow(
        schedule_id=row.id,
        gen=row.gen,
        first=first,
        last=last,
        count=count,
        reason=reason,
        detail=act.by,
        at=act.now,
    )


def _audit(row: ScheduleRow, act: Act, what: str, before: str | None, after: str | None) -> AuditRow:
    return AuditRow(
        schedule_id=row.id, name=row.name, at=act.now, who=act.by, what=what, why=act.why, before=before, after=after
    )


def _pausing(row: ScheduleRow, act: Act, what: str, after: ScheduleRow) -> AuditRow:
    return _audit(row, act, what, _pause_of(row), _pause_of(after))


def _pause_of(row: ScheduleRow) -> str:
    names = ("paused_at", "paused_until", "paused_note", "paused_by")
    return msgspec.json.encode({name: getattr(row, name) for name in names}).decode()
