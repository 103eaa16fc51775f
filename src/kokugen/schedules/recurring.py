"""The part of the faces that is about schedules: `Asking` is what both ask, and `Recurring` blocks on the answers.

It decides nothing: `kokugen.schedules.agenda` has the parts. `AsyncRecurring` is next door.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any, ParamSpec, Protocol, TypeVar, Unpack, cast, overload

from kokugen.acceptance import check_time, check_work
from kokugen.errors import OptionError
from kokugen.front import Front
from kokugen.options import OptionChanges, Options, check_name, shortened
from kokugen.recurrence.calendar import Calendar
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.work import Work
from kokugen.reply import Reply
from kokugen.repository.schedule_rows import AuditRow, ScheduleQuery, ScheduleRow
from kokugen.schedule_options import ScheduleOptions
from kokugen.schedules.agenda import Agenda
from kokugen.schedules.book import SPAN_US, Put
from kokugen.schedules.drafts import NewSchedule, When
from kokugen.schedules.edits import Draft
from kokugen.schedules.info import PutSchedule, ScheduleInfo
from kokugen.schedules.occurrences import Occurrence
from kokugen.schedules.preview import Tally, Upcoming
from kokugen.task import TaskParam

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")

PAGE = 1000


class EveryDecorator(Protocol):
    """What `every` without work returns: it makes work of a function, unless it is work already."""

    def __call__(self, fn: Callable[P, R], /) -> Work[P, R]:
        """Declare the function."""
        ...


class Asking:
    """What both ask. Each method returns a reply."""

    _front: Front[Any]

    @property
    def _agenda(self) -> Agenda:
        return self._front.agenda

    def add_calendar(self, name: str, calendar: Calendar) -> None:
        """Let triggers of schedules name a calendar: holidays, business days. Every process that runs work needs it."""
        if not isinstance(calendar, Calendar):
            raise OptionError(f"{shortened(calendar)} is no calendar: use one of kokugen.recurrence, such as Weekly(…)")
        self._agenda.add_calendar(check_name("calendar", name), calendar)

    @property
    def calendars(self) -> Mapping[str, Calendar]:
        """Return the calendars that triggers of schedules may name here."""
        return self._agenda.calendars

    def _declaration(self, when: When, options: Any) -> Callable[[Callable[P, R]], Work[P, R]]:
        def declare(fn: Callable[P, R]) -> Work[P, R]:
            work: Any = fn if isinstance(fn, Work) else self._declared(fn)
            bound = work.options(**options)
            self._agenda.declarations.add(when, bound, bound.declared, (), {})
            return cast("Work[P, R]", work)

        return declare

    def _declared(self, fn: Callable[..., Any]) -> Work[..., Any]:
        works = self._front.parts.works
        if not isinstance(works, FunctionRegistry):
            raise OptionError("this scheduler was given a registry of its own: declare the work there")
        return cast("Work[..., Any]", works.work(fn))

    def _every(self, when: When, work: Any, args: Any, kwargs: Any) -> Reply[ScheduleInfo]:
        known: Any = check_work(work)
        said: Options = known.declared
        draft = self._agenda.drafts.of_work(when, known, said, args, kwargs)
        by = said.by or self._agenda.declarations.owner
        put = self._agenda.put(draft, counts_on=isinstance(when, timedelta), by=by, why=said.why)
        return put.then(lambda done: self._agenda.info(done.row))

    def _put(
        self, when: When, param: TaskParam, options: ScheduleOptions, by: str | None, why: str | None
    ) -> Reply[ScheduleInfo]:
        draft = self._agenda.drafts.of_param(when, param, options)
        put = self._agenda.put(draft, counts_on=isinstance(when, timedelta), by=by, why=why)
        return put.then(lambda done: self._agenda.info(done.row))

    def _put_all(
        self, schedules: Sequence[NewSchedule], by: str | None, why: str | None, dry_run: bool
    ) -> Reply[list[PutSchedule]]:
        def tell(puts: list[Put]) -> list[PutSchedule]:
            return [PutSchedule(info=self._agenda.info(put.row), made=put.created, changed=put.changed) for put in puts]

        return self._agenda.put_all(schedules, by=by, why=why, dry_run=dry_run).then(tell)

    def _preview_edit(
        self, name: str, when: When | None, span: tuple[datetime, datetime], limit: int, changes: dict[str, Any]
    ) -> Reply[tuple[list[Upcoming], list[Upcoming]]]:
        def compare(row: ScheduleRow) -> tuple[list[Upcoming], list[Upcoming]]:
            draft = self._agenda.drafts.edited(Draft.of(row), when, changes)
            return self._agenda.preview_edit(row, draft, *span, limit)

        return self._agenda.book.get(name).then(compare)

    def _edit(
        self, name: str, when: When | None, edition: int | None, by: str | None, why: str | None, changes: Any
    ) -> Reply[ScheduleInfo]:
        def edit(row: ScheduleRow) -> Reply[ScheduleRow]:
            draft = self._agenda.drafts.edited(Draft.of(row), when, changes)
            return self._agenda.book.edit(draft, rev=edition, by=by, why=why)

        return self._told(self._agenda.book.get(name).and_then(edit))

    def _told(self, row: Reply[ScheduleRow]) -> Reply[ScheduleInfo]:
        return row.then(self._agenda.info)

    def _occurrences(self, name: str, since: datetime | None, until: datetime | None) -> Reply[list[Occurrence]]:
        first = -SPAN_US if since is None else check_time(since)[0]
        last = SPAN_US if until is None else check_time(until)[0]
        return self._agenda.occurrences(name, first, last)

    def _backfill(self, name: str, start: datetime, end: datetime, by: str | None, why: str | None) -> Reply[list[str]]:
        first, last = check_time(start)[0], check_time(end)[0]
        if last < first:
            raise OptionError(f"end={end.isoformat()} is before start={start.isoformat()}")
        return self._agenda.book.backfill(name, first, last, by=by, why=why)

    def _pause(self, name: str, until: datetime | None, note: str | None, by: str | None) -> Reply[ScheduleInfo]:
        until_us = None if until is None else check_time(until)[0]
        return self._told(self._agenda.book.pause(name, until=until_us, by=by, why=note))


class Recurring(Asking, ABC):
    """The schedules of a `Scheduler`."""

    @abstractmethod
    def _await(self, reply: Reply[T], what: str) -> T:
        """Return the answer once it is there."""

    @overload
    def every(self, when: When, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> ScheduleInfo: ...
    @overload
    def every(self, when: When, /, **options: Unpack[OptionChanges]) -> EveryDecorator: ...
    def every(self, when: When, work: Any = None, /, *args: Any, **kwargs: Any) -> Any:
        """Schedule a call of `work` at every time of a trigger; durable once this returns.

        `when` is a trigger, such as `Cron("0 9 * * mon-fri", tz="Asia/Tokyo")`, a timedelta or a cron expression in
        UTC. The options, a schedule's among them, ride on the work, and so do `by` and `why`, which stay in the audit.
        A schedule of this name is edited where it is another, and left alone where it is the same.

        Without work it declares: `@scheduler.every(Cron("0 9 * * *"), name="…")` above a function, which is called
        without arguments. The schedule is put into the store when a scheduler of this code starts to run.
        """
        if work is None:
            return self._declaration(when, kwargs)
        return self._await(self._every(when, work, args, kwargs), "scheduling")

    def put_schedule(
        self,
        when: When,
        param: TaskParam,
        options: ScheduleOptions,
        *,
        by: str | None = None,
        why: str | None = None,
    ) -> ScheduleInfo:
        """Schedule tasks in plain data at every time of a trigger; the work need not be declared here. As `every`.

        The time of `param` does not matter.
        """
        return self._await(self._put(when, param, options, by, why), "scheduling")

    def put_schedules(
        self,
        schedules: Sequence[NewSchedule],
        *,
        by: str | None = None,
        why: str | None = None,
        dry_run: bool = False,
    ) -> list[PutSchedule]:
        """Make many schedules, or edit those of their names, in one go; all are checked before anything is changed.

        As `put_schedule`, in the order of the schedules; with `dry_run` nothing is changed, and it says what would be.
        Raises OptionError where two have one name.
        """
        return self._await(self._put_all(schedules, by, why, dry_run), "scheduling")

    def schedule_of(self, name: str) -> ScheduleInfo:
        """Return a schedule. Raises NoScheduleError."""
        return self._await(self._told(self._agenda.book.get(name)), "reading")

    def schedules(self, *, owner: str | None = None, paused: bool | None = None) -> list[ScheduleInfo]:
        """Return the schedules in order of their names; those that cannot be read here are left out."""
        found: list[ScheduleInfo] = []
        query = ScheduleQuery(owner=owner, paused=paused, limit=PAGE)
        while rows := self._await(self._agenda.book.rows(query), "listing"):
            found += self._agenda.readable(rows)
            query = ScheduleQuery(owner=owner, paused=paused, limit=PAGE, after=rows[-1].name)
        return found

    def edit(
        self,
        name: str,
        when: When | None = None,
        *,
        edition: int | None = None,
        by: str | None = None,
        why: str | None = None,
        **changes: Any,
    ) -> ScheduleInfo:
        """Change a schedule's trigger or its options (`catchup`, `end`, …) from now on.

        Raises NoScheduleError, OptionError, and ScheduleConflictError unless it is at `edition`, where that is given.
        """
        return self._await(self._edit(name, when, edition, by, why, changes), "editing")

    def pause(
        self, name: str, *, until: datetime | None = None, note: str | None = None, by: str | None = None
    ) -> ScheduleInfo:
        """Make nothing more of a schedule until it is resumed, or until then. What is due already still runs."""
        return self._await(self._pause(name, until, note, by), "pausing")

    def resume(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """End a pause. What passed meanwhile does not run, and is accounted for."""
        return self._await(self._told(self._agenda.book.resume(name, by=by, why=why)), "resuming")

    def trigger(self, name: str, *, by: str | None = None, why: str | None = None) -> str:
        """Make one occurrence of a schedule now, besides its own; return the id of its task. It waits for its turn."""
        return self._await(self._agenda.book.trigger(name, by=by, why=why), "triggering")

    def backfill(
        self, name: str, start: datetime, end: datetime, *, by: str | None = None, why: str | None = None
    ) -> list[str]:
        """Make those times of a span that did not become tasks; return the ids of their tasks."""
        return self._await(self._backfill(name, start, end, by, why), "backfilling")

    def remove(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """Delete a schedule and return what it was. Its ledger and audit stay."""
        return self._await(self._told(self._agenda.book.remove(name, by=by, why=why)), "removing")

    def rollback(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """Undo the last edit, or the removal, of a schedule, from now on. Raises OptionError where there is neither."""
        return self._await(self._told(self._agenda.book.rollback(name, by=by, why=why)), "rolling back")

    def occurrences(self, name: str, since: datetime | None = None, until: datetime | None = None) -> list[Occurrence]:
        """Return what became of a schedule's times, in order: the latest thousand. Of a removed one, too."""
        return self._await(self._occurrences(name, since, until), "reading")

    def preview(self, start: datetime, end: datetime, *, limit: int = 1000) -> list[Upcoming]:
        """Return what all schedules will make from `start` on and before `end`, as things are, in order.

        What has passed is told by `occurrences`.
        """
        return self._agenda.preview(self._all_schedules(), start, end, limit)

    def preview_edit(
        self, name: str, when: When | None, start: datetime, end: datetime, /, *, limit: int = 1000, **changes: Any
    ) -> tuple[list[Upcoming], list[Upcoming]]:
        """Return what a schedule will make from `start` on and before `end`, and what it would were it edited now.

        `when` and `changes` are those of `edit`. Where one has more than `limit`, both end at the same instant.
        """
        asked = self._preview_edit(name, when, (start, end), limit, changes)
        return self._await(asked, "reading")

    def tally(self, edges: Sequence[datetime], *, names: Collection[str] | None = None) -> Tally:
        """Count what schedules, or those with these names, will make between each two neighbours of `edges`.

        Counting takes about as long for a schedule that comes each second as for one that comes each hour.
        """
        return self._agenda.tally(self._all_schedules(names), edges)

    def _all_schedules(self, names: Collection[str] | None = None) -> list[ScheduleRow]:
        found: list[ScheduleRow] = []
        query = page_of(names, None)
        while rows := self._await(self._agenda.book.rows(query), "listing"):
            found += rows
            query = page_of(names, rows[-1].name)
        return found

    def schedule_audit(self, name: str, limit: int = 100) -> list[AuditRow]:
        """Return the changes of a schedule by someone, newest first."""
        return self._await(self._agenda.book.audit(name, limit), "reading")

    def why(self, name: str) -> str:
        """Say in plain words why a schedule, or the task of this id, runs now or does not. Raises NoScheduleError."""
        return self._await(self._agenda.why(name), "reading")


def page_of(names: Collection[str] | None, after: str | None) -> ScheduleQuery:
    """Return the query for the schedules, those with these names where given, after a name."""
    return ScheduleQuery(names=None if names is None else tuple(names), limit=PAGE, after=after)
