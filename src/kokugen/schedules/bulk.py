"""Many schedules put into a store in one go: what importers found, and what one call declares.

`Book.put_all` makes one. All of them are read and decided first; then the store swaps all of them at once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from msgspec import Struct

from kokugen.ids import IdSource
from kokugen.reply import Reply, gather
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import Changed, ScheduleChange, ScheduleRow
from kokugen.schedules import edits
from kokugen.schedules.definitions import Definition
from kokugen.schedules.edits import Act, Draft, Unsettled

if TYPE_CHECKING:
    from kokugen.schedules.book import Book, Put


class Planned(Struct, frozen=True):
    """A draft, the schedule that is there, and the swap; no swap: nothing is to be done, or too much for one."""

    draft: Draft
    row: ScheduleRow | None
    change: ScheduleChange | None = None
    answer: Changed | None = None

    @property
    def is_done(self) -> bool:
        """Return whether the store has the draft."""
        if self.change is None:
            return self.row is not None and Draft.of(self.row) == self.draft
        return self.answer is not None and self.answer.applied


class Bulk:
    """Of one call: someone's `act`, and that act on each schedule that it edits, by its id.

    Names differ; a draft's note makes a new schedule paused.
    """

    def __init__(
        self, book: Book, repository: ScheduleRepository, ids: IdSource, act: Act, acts: Mapping[str, Act]
    ) -> None:
        self._book = book
        self._repository = repository
        self._ids = ids
        self._act = act
        self._acts = acts

    def plans(self, drafts: Sequence[tuple[Draft, str | None]], rows: Mapping[str, ScheduleRow]) -> list[Planned]:
        """Decide about each, as the `rows` are. Raises KokugenError for a draft that cannot be read here."""
        definitions = [self._book.definition_of(draft) for draft, _ in drafts]
        return [
            self._plan(draft, note, rows.get(draft.name), after)
            for (draft, note), after in zip(drafts, definitions, strict=True)
        ]

    def put(self, plans: list[Planned]) -> Reply[list[Put]]:
        """Carry all of them out in one go. One whose schedule changed meanwhile is put by itself after that."""
        return self._swap(plans).and_then(self._finish)

    def _plan(self, draft: Draft, note: str | None, row: ScheduleRow | None, after: Definition) -> Planned:
        if row is None:
            return Planned(draft, row, edits.create(self._ids.task_id(), draft, after, self._act, note))
        draft = edits.put_over(row, draft)
        if Draft.of(row) == draft:
            return Planned(draft, row)
        try:
            return Planned(
                draft, row, edits.edit(row, self._book.definitions.of(row), draft, after, self._acts[row.id])
            )
        except Unsettled:
            return Planned(draft, row)

    def _swap(self, plans: list[Planned]) -> Reply[list[Planned]]:
        changes = [plan.change for plan in plans if plan.change is not None]

        def told(answers: list[Changed]) -> list[Planned]:
            left = iter(answers)
            return [
                plan if plan.change is None else Planned(plan.draft, plan.row, plan.change, next(left))
                for plan in plans
            ]

        return self._repository.change_schedules(changes).then(told)

    def _finish(self, plans: list[Planned]) -> Reply[list[Put]]:
        replies = [self._book.settled(plan, self._act) for plan in plans]
        return gather(replies).then(lambda _: [reply.peek() for reply in replies])
