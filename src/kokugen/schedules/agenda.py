"""The schedules of a scheduler: asked about and changed in the store, and turned into tasks.

`Front` has one; the faces ask its drafts, its declarations and its book, and the engine runs its service.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise

import msgspec

from kokugen.acceptance import check_time
from kokugen.clock import SECOND_US, from_us
from kokugen.engine.engine import Engine
from kokugen.engine.service import Service
from kokugen.errors import KokugenError, NoScheduleError, OptionError
from kokugen.offers import Offers, offers_of
from kokugen.options import check_limit, check_text
from kokugen.parts import Parts
from kokugen.recurrence.calendar import Calendar
from kokugen.reply import Reply
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import ScheduleQuery, ScheduleRow
from kokugen.schedules.book import Book, Put
from kokugen.schedules.declarations import Declarations
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.drafts import Drafts, NewSchedule, as_put, counting_on
from kokugen.schedules.edits import Draft, row_of
from kokugen.schedules.info import ScheduleInfo, info_of
from kokugen.schedules.materialiser import Materialiser
from kokugen.schedules.occurrences import Occurrence, occurrences_of
from kokugen.schedules.policy import Policy
from kokugen.schedules.preview import Schedule, Tally, Upcoming, Window, preview, preview_edit, tally
from kokugen.schedules.task_why import task_why, waits_for_worker
from kokugen.schedules.why import why_text
from kokugen.task import TaskInfo

logger = logging.getLogger("kokugen")

WHY_US = 7 * 86_400 * SECOND_US
"""How far around now it looks to say why."""


class Agenda:
    """Of one scheduler. Nothing of it touches the store before it is asked."""

    def __init__(
        self, parts: Parts, engine: Callable[[], Engine | None], handle: Callable[[], object], owner: str | None
    ) -> None:
        self.drafts = Drafts(parts, handle)
        self.declarations = Declarations(self.drafts, self.put, lambda: self.book, owner)
        self._parts = parts
        self._engine = engine
        self._definitions = Definitions()
        self.add_calendar = self._definitions.add_calendar
        self._materialiser: Materialiser | None = None

    @property
    def calendars(self) -> Mapping[str, Calendar]:
        """Return the calendars that triggers may name."""
        return self._definitions.calendars

    # -- The store

    @property
    def repository(self) -> ScheduleRepository:
        """Return the store. Raises OptionError for one that keeps no schedules."""
        repository = self._parts.repository
        if not isinstance(repository, ScheduleRepository):
            raise OptionError(f"{repository.url} keeps no schedules: use one of kokugen's own repositories")
        return repository

    @property
    def book(self) -> Book:
        """Return what changes and reads the store's schedules."""
        return Book(self.repository, self._definitions, clock=self._parts.clock, ids=self._parts.ids, told=self._tell)

    def put(
        self, draft: Draft, *, counts_on: bool = False, by: str | None = None, why: str | None = None
    ) -> Reply[Put]:
        """Put a schedule into the store; a bare period `counts_on` from when it was first put there."""
        if not counts_on or msgspec.json.decode(draft.policy, type=Policy).start_us is not None:
            return self.book.put(draft, by=by, why=why)
        found = self.book.rows(ScheduleQuery(names=(draft.name,)))
        return found.and_then(lambda rows: self.book.put(counting_on(draft, rows), by=by, why=why))

    def put_all(
        self, asked: Sequence[NewSchedule], *, by: str | None = None, why: str | None = None, dry_run: bool = False
    ) -> Reply[list[Put]]:
        """Put schedules into the store in one go. Raises OptionError where two have one name, before it does."""
        drafts = {one.name: self.drafts.of_param(one.when, one.param, one.options) for one in asked}
        if len(drafts) < len(asked):
            name = Counter(one.name for one in asked).most_common(1)[0][0]
            raise OptionError(f"two of the schedules have the name {name!r}: give each its own")

        def put(rows: dict[str, ScheduleRow]) -> Reply[list[Put]]:
            pairs = [(as_put(drafts[one.name], one, rows.get(one.name)), one.paused) for one in asked]
            return self.book.put_all(pairs, rows, by=by, why=why, dry_run=dry_run)

        return self.book.named(tuple(drafts)).and_then(put)

    def readable(self, rows: list[ScheduleRow]) -> list[ScheduleInfo]:
        """Return what is known of schedules; those that cannot be read here are left out, and logged."""
        return [info_of(row, definition) for row, definition in self._known(rows)]

    def _known(self, rows: list[ScheduleRow]) -> Iterator[Schedule]:
        for row in rows:
            try:
                yield Schedule(row, self._definitions.of(row))
            except KokugenError as error:
                logger.warning("the schedule %r cannot be read here: %s", row.name, error)

    def info(self, row: ScheduleRow) -> ScheduleInfo:
        """Return what is known of a schedule."""
        return info_of(row, self._definitions.of(row))

    def occurrences(self, name: str, first: int, last: int) -> Reply[list[Occurrence]]:
        """Return what became of a schedule's times; of one that was removed, too. Raises NoScheduleError."""

        def tell(rows: list[ScheduleRow]) -> Reply[list[Occurrence]]:
            if not rows:
                return self.book.removed(name).and_then(tell_removed)
            row, trigger = rows[0], self._definitions.of(rows[0]).trigger
            return self.book.ledger(row.id, first, last).then(lambda found: occurrences_of(row, trigger, found))

        def tell_removed(schedule_id: str | None) -> Reply[list[Occurrence]]:
            if schedule_id is None:
                raise NoScheduleError(name)
            return self.book.ledger(schedule_id, first, last).then(lambda found: occurrences_of(None, None, found))

        return self.book.rows(ScheduleQuery(names=(check_text("schedule", name),))).and_then(tell)

    # -- What is to come

    def preview(self, rows: list[ScheduleRow], start: datetime, end: datetime, limit: int) -> list[Upcoming]:
        """Return what schedules will make between two instants; those that cannot be read here are left out."""
        return preview(list(self._known(rows)), self._window(start, end, limit))

    def preview_edit(
        self, row: ScheduleRow, draft: Draft, start: datetime, end: datetime, limit: int
    ) -> tuple[list[Upcoming], list[Upcoming]]:
        """Return what a schedule will make between two instants, and what it would after an edit."""
        now = Schedule(row, self._definitions.of(row))
        after = self._definitions.of(row_of("", draft, 0))
        return preview_edit(now, draft, after, self._window(start, end, limit))

    def tally(self, rows: list[ScheduleRow], edges: Sequence[datetime]) -> Tally:
        """Count what schedules will make between instants; those that cannot be read here are left out."""
        for edge in edges:
            check_time(edge)
        if len(edges) < 2 or any(one >= two for one, two in pairwise(edges)):
            raise OptionError("edges: give at least two instants, each later than the one before")
        return tally(list(self._known(rows)), edges, self._parts.clock.wall_us())

    def _window(self, start: datetime, end: datetime, limit: int) -> Window:
        return Window(self._parts.clock.wall_us(), check_time(start)[0], check_time(end)[0], check_limit(limit))

    def why(self, name: str) -> Reply[str]:
        """Say in words why a schedule, or the task of this id, runs now or does not. Raises NoScheduleError."""
        now = self._parts.clock.wall_us()

        def tell(row: ScheduleRow) -> Reply[str]:
            found = self.book.ledger(row.id, now - WHY_US, now + WHY_US)
            definition = self._definitions.of(row)
            return found.and_then(
                lambda ledger: self._offers(now).then(lambda offers: why_text(row, definition, ledger, now, offers))
            )

        def tell_task(infos: list[TaskInfo]) -> Reply[str]:
            if not infos:
                raise NoScheduleError(name)
            if not waits_for_worker(infos[0], from_us(now)):
                return Reply.of(task_why(infos[0], from_us(now)))
            return self._offers(now).then(lambda offers: task_why(infos[0], from_us(now), offers))

        def choose(rows: list[ScheduleRow]) -> Reply[str]:
            return tell(rows[0]) if rows else self._parts.repository.get([name]).and_then(tell_task)

        return self.book.rows(ScheduleQuery(names=(check_text("name", name),))).and_then(choose)

    def _offers(self, now: int) -> Reply[list[Offers] | None]:
        repository = self._parts.repository
        return repository.nodes().then(lambda nodes: offers_of(nodes, repository.namespace, now))

    # -- Running

    def services(self) -> list[Service]:
        """Return what an engine runs beside itself."""
        repository = self._parts.repository
        if not isinstance(repository, ScheduleRepository):
            return []
        self._materialiser = Materialiser(
            repository,
            self._definitions,
            clock=self._parts.clock,
            random=self._parts.random,
            settings=self._parts.settings,
            wake_claims=self._wake_claims,
            skew_us=self._skew_us,
        )
        return [self._materialiser, self.declarations]

    def _tell(self) -> None:
        if self._materialiser is not None:
            self._materialiser.hint()

    async def _skew_us(self) -> int:
        engine = self._engine()
        return 0 if engine is None else await engine.storage.current_skew_us()

    def _wake_claims(self, due_us: int) -> None:
        engine = self._engine()
        if engine is not None:
            engine.hint(due_us)
