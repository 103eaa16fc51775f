"""The part of `AsyncScheduler` that is about schedules: it awaits what `Asking` asks."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Coroutine, Sequence
from datetime import datetime
from typing import Any, ParamSpec, TypeVar, Unpack, overload

from kokugen.options import OptionChanges
from kokugen.registry.work import Work
from kokugen.reply import Reply
from kokugen.repository.schedule_rows import AuditRow, ScheduleQuery, ScheduleRow
from kokugen.schedule_options import ScheduleOptions
from kokugen.schedules.drafts import NewSchedule, When
from kokugen.schedules.info import PutSchedule, ScheduleInfo
from kokugen.schedules.occurrences import Occurrence
from kokugen.schedules.preview import Tally, Upcoming
from kokugen.schedules.recurring import PAGE, Asking, EveryDecorator, page_of
from kokugen.task import TaskParam

P = ParamSpec("P")
R = TypeVar("R")
T = TypeVar("T")


class AsyncRecurring(Asking, ABC):
    """The schedules of an `AsyncScheduler`: as `Recurring`, with `await`."""

    @abstractmethod
    async def _ask(self, ask: Callable[[], Reply[T]]) -> T:
        """Return the answer to what `ask` asks for, once it is there."""

    @overload
    def every(
        self, when: When, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs
    ) -> Coroutine[Any, Any, ScheduleInfo]: ...
    @overload
    def every(self, when: When, /, **options: Unpack[OptionChanges]) -> EveryDecorator: ...
    def every(self, when: When, work: Any = None, /, *args: Any, **kwargs: Any) -> Any:
        """As `Scheduler.every`; what it returns is awaited, unless it declares."""
        if work is None:
            return self._declaration(when, kwargs)
        return self._ask(lambda: self._every(when, work, args, kwargs))

    async def put_schedule(
        self,
        when: When,
        param: TaskParam,
        options: ScheduleOptions,
        *,
        by: str | None = None,
        why: str | None = None,
    ) -> ScheduleInfo:
        """As `Scheduler.put_schedule`."""
        return await self._ask(lambda: self._put(when, param, options, by, why))

    async def put_schedules(
        self,
        schedules: Sequence[NewSchedule],
        *,
        by: str | None = None,
        why: str | None = None,
        dry_run: bool = False,
    ) -> list[PutSchedule]:
        """As `Scheduler.put_schedules`."""
        return await self._ask(lambda: self._put_all(schedules, by, why, dry_run))

    async def schedule_of(self, name: str) -> ScheduleInfo:
        """As `Scheduler.schedule_of`."""
        return await self._ask(lambda: self._told(self._agenda.book.get(name)))

    async def schedules(self, *, owner: str | None = None, paused: bool | None = None) -> list[ScheduleInfo]:
        """As `Scheduler.schedules`."""
        found: list[ScheduleInfo] = []
        query = ScheduleQuery(owner=owner, paused=paused, limit=PAGE)
        while rows := await self._page(query):
            found += self._agenda.readable(rows)
            query = ScheduleQuery(owner=owner, paused=paused, limit=PAGE, after=rows[-1].name)
        return found

    async def _page(self, query: ScheduleQuery) -> list[ScheduleRow]:
        return await self._ask(lambda: self._agenda.book.rows(query))

    async def edit(
        self,
        name: str,
        when: When | None = None,
        *,
        edition: int | None = None,
        by: str | None = None,
        why: str | None = None,
        **changes: Any,
    ) -> ScheduleInfo:
        """As `Scheduler.edit`."""
        return await self._ask(lambda: self._edit(name, when, edition, by, why, changes))

    async def pause(
        self, name: str, *, until: datetime | None = None, note: str | None = None, by: str | None = None
    ) -> ScheduleInfo:
        """As `Scheduler.pause`."""
        return await self._ask(lambda: self._pause(name, until, note, by))

    async def resume(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """As `Scheduler.resume`."""
        return await self._ask(lambda: self._told(self._agenda.book.resume(name, by=by, why=why)))

    async def trigger(self, name: str, *, by: str | None = None, why: str | None = None) -> str:
        """As `Scheduler.trigger`."""
        return await self._ask(lambda: self._agenda.book.trigger(name, by=by, why=why))

    async def backfill(
        self, name: str, start: datetime, end: datetime, *, by: str | None = None, why: str | None = None
    ) -> list[str]:
        """As `Scheduler.backfill`."""
        return await self._ask(lambda: self._backfill(name, start, end, by, why))

    async def remove(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """As `Scheduler.remove`."""
        return await self._ask(lambda: self._told(self._agenda.book.remove(name, by=by, why=why)))

    async def rollback(self, name: str, *, by: str | None = None, why: str | None = None) -> ScheduleInfo:
        """As `Scheduler.rollback`."""
        return await self._ask(lambda: self._told(self._agenda.book.rollback(name, by=by, why=why)))

    async def occurrences(
        self, name: str, since: datetime | None = None, until: datetime | None = None
    ) -> list[Occurrence]:
        """As `Scheduler.occurrences`."""
        return await self._ask(lambda: self._occurrences(name, since, until))

    async def preview(self, start: datetime, end: datetime, *, limit: int = 1000) -> list[Upcoming]:
        """As `Scheduler.preview`."""
        return self._agenda.preview(await self._all_schedules(), start, end, limit)

    async def preview_edit(
        self, name: str, when: When | None, start: datetime, end: datetime, /, *, limit: int = 1000, **changes: Any
    ) -> tuple[list[Upcoming], list[Upcoming]]:
        """As `Scheduler.preview_edit`."""
        return await self._ask(lambda: self._preview_edit(name, when, (start, end), limit, changes))

    async def tally(self, edges: Sequence[datetime], *, names: Collection[str] | None = None) -> Tally:
        """As `Scheduler.tally`."""
        return self._agenda.tally(await self._all_schedules(names), edges)

    async def _all_schedules(self, names: Collection[str] | None = None) -> list[ScheduleRow]:
        found: list[ScheduleRow] = []
        query = page_of(names, None)
        while rows := await self._page(query):
            found += rows
            query = page_of(names, rows[-1].name)
        return found

    async def schedule_audit(self, name: str, limit: int = 100) -> list[AuditRow]:
        """As `Scheduler.schedule_audit`."""
        return await self._ask(lambda: self._agenda.book.audit(name, limit))

    async def why(self, name: str) -> str:
        """As `Scheduler.why`."""
        return await self._ask(lambda: self._agenda.why(name))
