"""The schedules of a store, by name: what faces and command line ask of them. Every method returns a `Reply`.

Each change is read, decided and swapped; where someone else was first it is decided anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec import Struct

from kokugen.clock import SECOND_US, Clock
from kokugen.errors import NoScheduleError, OptionError, ScheduleConflictError
from kokugen.ids import IdSource
from kokugen.options import check_limit, check_text
from kokugen.reply import Reply, gather
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import (
    AuditRow,
    Changed,
    Ledger,
    LedgerQuery,
    LedgerRow,
    ScheduleChange,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.schedules import edits
from kokugen.schedules.bulk import Bulk, Planned
from kokugen.schedules.definitions import Definition, Definitions
from kokugen.schedules.edits import Act, Draft, Unsettled
from kokugen.schedules.materialiser import AHEAD_S
from kokugen.task import replace

SPAN_US = 2**53
"""All times are between this before the epoch, and after it."""
TRIES_MAX = 50
"""How often a change is decided anew before it is given up."""
NAMES_MAX = 500
"""How many schedules one look reads by their names."""

Change = Callable[[ScheduleRow, Definition, Act], ScheduleChange | None]
"""What is to be done to a schedule; None: nothing."""


class Put(Struct, frozen=True):
    """What became of a declaration."""

    row: ScheduleRow
    created: bool = False
    changed: bool = False


class Book:
    """Of one store. `told()` is called after every change, so that this process looks at it at once."""

    def __init__(
        self,
        repository: ScheduleRepository,
        definitions: Definitions,
        *,
        clock: Clock,
        ids: IdSource,
        told: Callable[[], object] = lambda: None,
    ) -> None:
        self.definitions = definitions
        self._repository = repository
        self._clock = clock
        self._ids = ids
        self._told = told

    # -- Reading

    def rows(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        """Return schedules in order of their names."""
        return self._repository.schedules(query)

    def named(self, names: Sequence[str]) -> Reply[dict[str, ScheduleRow]]:
        """Return those schedules of these names that there are, by their names."""
        pages = [tuple(names[at : at + NAMES_MAX]) for at in range(0, len(names), NAMES_MAX)]
        found = [self.rows(ScheduleQuery(names=page, limit=NAMES_MAX)) for page in pages]
        return gather(found).then(lambda _: {row.name: row for rows in found for row in rows.peek()})

    def get(self, name: str) -> Reply[ScheduleRow]:
        """Return a schedule. Raises NoScheduleError."""
        return self._find(name).then(lambda row: _there(row, name))

    def _find(self, name: str) -> Reply[ScheduleRow | None]:
        found = self._repository.schedules(ScheduleQuery(names=(check_text("schedule", name),)))
        return found.then(lambda rows: rows[0] if rows else None)

    def ledger(self, schedule_id: str, first: int, last: int) -> Reply[Ledger]:
        """Return a part of a schedule's ledger."""
        return self._repository.ledger(LedgerQuery(schedule_id=schedule_id, first=first, last=last))

    def audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        """Return the changes of a schedule by someone, newest first."""
        return self._repository.schedule_audit(check_text("schedule", name), check_limit(limit))

    # -- Changing

    def put(self, draft: Draft, *, by: str | None = None, why: str | None = None) -> Reply[Put]:
        """Create a schedule, or edit the one of this name; nothing happens where it is like this already."""
        definition = self.definitions.of(_sketch(draft))
        return self._put(draft, definition, by, why, TRIES_MAX)

    def _put(self, draft: Draft, definition: Definition, by: str | None, why: str | None, tries: int) -> Reply[Put]:
        def decide(row: ScheduleRow | None) -> Reply[Put]:
            if row is not None:
                return self._put_over(row, draft, by, why)
            change = edits.create(self._ids.task_id(), draft, definition, self._act(by, why))
            return self._swap(change).and_then(
                lambda answer: (
                    Reply.of(Put(change.row, created=True, changed=True))
                    if answer.applied
                    else self._put(draft, definition, by, why, _less(tries, draft.name))
                )
            )

        return self._find(draft.name).and_then(decide)

    def put_all(
        self,
        drafts: Sequence[tuple[Draft, str | None]],
        rows: Mapping[str, ScheduleRow],
        *,
        by: str | None = None,
        why: str | None = None,
        dry_run: bool = False,
    ) -> Reply[list[Put]]:
        """Put schedules of different names into the store, each as `put` does, in one go.

        `rows` are those of them that are there. The note beside a draft makes the schedule paused where it is new.
        Answers in the order of the drafts; a dry run says what would be, and changes nothing.
        """
        changed = [
            row for draft, _ in drafts if (row := rows.get(draft.name)) is not None and edits.differs(row, draft)
        ]
        seen = {row.id: self._act_on(row, by, why) for row in changed}

        def put(_: object) -> Reply[list[Put]]:
            acts = {schedule_id: act.peek() for schedule_id, act in seen.items()}
            bulk = Bulk(self, self._repository, self._ids, self._act(by, why), acts)
            plans = bulk.plans(drafts, rows)
            return Reply.of([_put_of(plan) for plan in plans]) if dry_run else bulk.put(plans)

        return gather(list(seen.values())).and_then(put)

    def definition_of(self, draft: Draft) -> Definition:
        """Return what a draft says. Raises KokugenError where it cannot be read here."""
        return self.definitions.of(_sketch(draft))

    def settled(self, plan: Planned, act: Act) -> Reply[Put]:
        """Return what became of a plan; what is left of it to do is done."""
        self._told()
        if not plan.is_done:
            return self.put(plan.draft, by=act.by, why=act.why)
        put = _put_of(plan)
        if plan.answer is None or not plan.answer.dropped:
            return Reply.of(put)
        return self._change(plan.draft.name, edits.go_on, None, None).then(lambda row: replace(put, row=row))

    def _put_over(self, row: ScheduleRow, draft: Draft, by: str | None, why: str | None) -> Reply[Put]:
        """Edit a schedule where it differs."""
        if not edits.differs(row, draft):
            return Reply.of(Put(row))
        return self.edit(edits.put_over(row, draft), by=by, why=why).then(lambda after: Put(after, changed=True))

    def edit(
        self, draft: Draft, *, rev: int | None = None, by: str | None = None, why: str | None = None
    ) -> Reply[ScheduleRow]:
        """Give a schedule another definition. Raises ScheduleConflictError unless its edition is `rev`, where given."""
        after = self.definitions.of(_sketch(draft))

        def change(row: ScheduleRow, before: Definition, act: Act) -> ScheduleChange | None:
            if rev is not None and row.edition != rev:
                raise ScheduleConflictError(row.name, row.edition, rev)
            return None if Draft.of(row) == draft else edits.edit(row, before, draft, after, act)

        return self._change(draft.name, change, by, why)

    def pause(
        self, name: str, *, until: int | None = None, by: str | None = None, why: str | None = None
    ) -> Reply[ScheduleRow]:
        """Make nothing more of a schedule until it is resumed, or until then."""
        return self._change(name, lambda row, definition, act: edits.pause(row, definition, act, until), by, why)

    def resume(self, name: str, *, by: str | None = None, why: str | None = None) -> Reply[ScheduleRow]:
        """End a pause; nothing happens where there is none."""

        def change(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange | None:
            return None if row.paused_at is None else edits.resume(row, definition, act)

        return self._change(name, change, by, why)

    def trigger(self, name: str, *, by: str | None = None, why: str | None = None) -> Reply[str]:
        """Make one occurrence now; answers with the id of its task."""
        made: list[str] = []

        def change(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange:
            change = edits.trigger(row, definition, act)
            made[:] = [task.id for task in change.tasks]
            return change

        return self._change(name, change, by, why).then(lambda _: made[0])

    def backfill(
        self, name: str, first: int, last: int, *, by: str | None = None, why: str | None = None
    ) -> Reply[list[str]]:
        """Make the occurrences from `first` to `last` that were not made; answers with the ids of their tasks."""
        made: list[str] = []

        def change(decided: Sequence[LedgerRow]) -> Change:
            def fill(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange | None:
                change = edits.backfill(row, definition, act, (first, last), decided)
                made[:] = [] if change is None else [task.id for task in change.tasks]
                return change

            return fill

        def fill(row: ScheduleRow) -> Reply[list[str]]:
            ledger = self.ledger(row.id, first, last)
            return ledger.and_then(lambda found: self._change(name, change(found.rows), by, why)).then(
                lambda _: list(made)
            )

        return self.get(name).and_then(fill)

    def remove(self, name: str, *, by: str | None = None, why: str | None = None) -> Reply[ScheduleRow]:
        """Delete a schedule; its ledger and audit stay."""
        return self._change(name, edits.remove, by, why)

    def declare_all(self, rows: Sequence[ScheduleRow]) -> Reply[list[Changed]]:
        """Say that code of their owner declares schedules still; what someone changed meanwhile is left out."""
        now = self._clock.wall_us()
        again = (replace(row, declared=row.declared + 1, rev=row.rev + 1, modified_at=now) for row in rows)
        return self._repository.change_schedules([ScheduleChange(row=after, expected=after.rev - 1) for after in again])

    def withdraw(self, seen: ScheduleRow, why: str) -> Reply[ScheduleRow]:
        """Delete a schedule that its owner declares no more, unless someone has declared it since it was seen."""

        def change(row: ScheduleRow, definition: Definition, act: Act) -> ScheduleChange | None:
            same = (row.id, row.owner, row.declared) == (seen.id, seen.owner, seen.declared)
            return edits.remove(row, definition, act) if same else None

        return self._change(seen.name, change, seen.owner, why)

    def rollback(self, name: str, *, by: str | None = None, why: str | None = None) -> Reply[ScheduleRow]:
        """Undo the last edit, or the removal, of a schedule. Raises NoScheduleError, OptionError: there is neither."""
        why = why or "rollback"

        def undo(rows: list[AuditRow]) -> Reply[ScheduleRow]:
            if not rows:
                raise NoScheduleError(name)
            for place, row in enumerate(rows):
                if row.what in {"edit", "remove"} and row.before is not None:
                    pause = edits.pause_in(row.schedule_id, rows[place:])
                    return self._undo(row.schedule_id, edits.draft_of(row.before), pause, by, why)
            raise OptionError(f"schedule {name!r} was neither edited nor removed: there is nothing to undo")

        return self.audit(name, 1000).and_then(undo)

    def _undo(
        self, schedule_id: str, draft: Draft, pause: dict[str, Any], by: str | None, why: str
    ) -> Reply[ScheduleRow]:
        def undo(there: ScheduleRow | None) -> Reply[ScheduleRow]:
            if there is None:
                return self._bring_back(schedule_id, draft, pause, by, why)
            return self.put(draft, by=by, why=why).then(lambda put: put.row)

        return self._find(draft.name).and_then(undo)

    def _bring_back(
        self, schedule_id: str, draft: Draft, pause: dict[str, Any], by: str | None, why: str
    ) -> Reply[ScheduleRow]:
        """Make a schedule that was removed anew; where someone else was first, that one is edited."""
        definition = self.definition_of(draft)

        def create(past: Ledger) -> Reply[ScheduleRow]:
            act = replace(self._act(by, why), since=edits.settled_until(past))
            change = edits.bring_back(schedule_id, draft, definition, act, past, pause)
            return self._swap(change).and_then(
                lambda answer: (
                    Reply.of(change.row) if answer.applied else self._undo(schedule_id, draft, pause, by, why)
                )
            )

        return self.ledger(schedule_id, -SPAN_US, SPAN_US).and_then(create)

    def removed(self, name: str) -> Reply[str | None]:
        """Return the id of the schedule that had this name until it was removed; None: there was none."""

        def newest(rows: list[AuditRow]) -> str | None:
            return rows[0].schedule_id if rows and rows[0].what == "remove" else None

        return self.audit(name, 1).then(newest)

    # -- Swapping

    def _act(self, by: str | None, why: str | None) -> Act:
        return Act(now=self._clock.wall_us(), ahead_us=round(AHEAD_S * SECOND_US), by=by, why=why)

    def _change(
        self, name: str, change: Change, by: str | None, why: str | None, tries: int = TRIES_MAX
    ) -> Reply[ScheduleRow]:
        def decide(row: ScheduleRow, act: Act) -> Reply[ScheduleRow]:
            try:
                wanted = change(row, self.definitions.of(row), act)
            except Unsettled as first:
                return self._swap(first.change).and_then(lambda _: self._change(name, change, by, why, tries))
            if wanted is None:
                return Reply.of(row)
            return self._swap(wanted).and_then(lambda answer: self._after(answer, wanted, again))

        def again() -> Reply[ScheduleRow]:
            return self._change(name, change, by, why, _less(tries, name))

        def act_on(row: ScheduleRow) -> Reply[ScheduleRow]:
            return self._act_on(row, by, why).and_then(lambda act: decide(row, act))

        return self.get(name).and_then(act_on)

    def _act_on(self, row: ScheduleRow, by: str | None, why: str | None) -> Reply[Act]:
        """Look what of a schedule's times to come is settled already, where any of them is decided."""
        act = self._act(by, why)
        if row.decided <= act.now:
            return Reply.of(act)
        ledger = self.ledger(row.id, act.now + 1, row.decided)
        return ledger.then(lambda found: replace(act, since=edits.settled_until(found)))

    def _after(
        self, answer: Changed, change: ScheduleChange, again: Callable[[], Reply[ScheduleRow]]
    ) -> Reply[ScheduleRow]:
        if not answer.applied:
            return again()
        if answer.dropped and not change.remove:  # what was taken back may be made anew, where there is a `max_runs`
            return self._change(change.row.name, edits.go_on, None, None)
        return Reply.of(change.row)

    def _swap(self, change: ScheduleChange) -> Reply[Changed]:
        def tell(answers: list[Changed]) -> Changed:
            self._told()
            return answers[0]

        return self._repository.change_schedules([change]).then(tell)


def _put_of(plan: Planned) -> Put:
    """Return what a plan makes of its schedule."""
    if plan.change is not None:
        return Put(plan.change.row, created=plan.row is None, changed=True)
    if plan.row is not None and Draft.of(plan.row) == plan.draft:
        return Put(plan.row)
    return Put(_sketch(plan.draft), changed=True)


def _there(row: ScheduleRow | None, name: str) -> ScheduleRow:
    if row is None:
        raise NoScheduleError(name)
    return row


def _less(tries: int, name: str) -> int:
    if tries <= 1:
        raise ScheduleConflictError(name)
    return tries - 1


def _sketch(draft: Draft) -> ScheduleRow:
    """Return a row to read a draft's definition from."""
    return edits.row_of("", draft, 0)
