"""The schedules of a scheduler: how they are declared, put into the store and turned into tasks.

`Front` has one; the faces ask its book, and the engine runs its materialiser.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import msgspec
from msgspec.structs import replace

from kokugen.acceptance import new_task, request_of, row_of
from kokugen.clock import SECOND_US, duration_us, from_us, to_us
from kokugen.engine.engine import Engine
from kokugen.errors import KokugenError, OptionError, RepositoryError
from kokugen.middleware.base import ScheduleRequest, schedule_chain
from kokugen.options import Options
from kokugen.parts import Parts
from kokugen.recurrence.book import Book, Put
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.definitions import Definitions
from kokugen.recurrence.edits import Draft
from kokugen.recurrence.edits import row_of as row_of_draft
from kokugen.recurrence.info import ScheduleInfo, info_of
from kokugen.recurrence.interval import Every
from kokugen.recurrence.materialiser import Materialiser
from kokugen.recurrence.occurrences import Occurrence, occurrences_of
from kokugen.recurrence.policy import Catchup, Policy, Template
from kokugen.recurrence.preview import Upcoming, preview
from kokugen.recurrence.spec import dump_spec, load_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.recurrence.why import why_text
from kokugen.registry.protocol import Work
from kokugen.reply import Reply
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.rows import NewTask
from kokugen.repository.schedule_rows import Overlap, ScheduleQuery, ScheduleRow
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import Params, TaskParam

logger = logging.getLogger("kokugen")

When = Trigger | timedelta | str
"""What `every` takes: a trigger, a period of real time, or a cron expression."""

CODE = "code"
"""The owner of what is declared in code, unless told."""
WHY_US = 7 * 86_400 * SECOND_US
"""How far around now it looks to say why."""
_POLICY_OF = {
    "start": "start_us",
    "end": "end_us",
    "max_runs": "max_runs",
    "jitter": "jitter_us",
    "catchup": "catchup",
    "window": "window_us",
    "misfire": "misfire_us",
    "rate": "rate",
}
RETRY_S, RETRY_MAX_S = 0.5, 10.0


class Agenda:
    """Of one scheduler. Nothing of it touches the store before it is asked."""

    def __init__(self, parts: Parts, engine: Callable[[], Engine | None], handle: Callable[[], object]) -> None:
        self._parts = parts
        self._engine = engine
        self._handle = handle
        self._definitions = Definitions()
        self.add_calendar = self._definitions.add_calendar
        self._declared: dict[str, tuple[Draft, bool]] = {}
        self._materialiser: Materialiser | None = None

    # -- Declaring

    def declare(self, when: When, work: Work, options: Options, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Take note of a schedule that is part of the code: it is put into the store when the scheduler starts.

        Raises OptionError where one of this name is declared already.
        """
        draft = self.draft(when, work, options, tuple(args), kwargs, owner=CODE)
        if draft.name in self._declared:
            raise OptionError(f"a schedule {draft.name!r} is declared already: give one of them another name")
        self._declared[draft.name] = (draft, isinstance(when, timedelta))

    def draft(
        self,
        when: When,
        work: Work,
        options: Options,
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        owner: str | None = None,
    ) -> Draft:
        """Return a schedule as it is to be stored; its template goes through the middleware, once."""
        said = options.schedule or ScheduleOptions()
        request = ScheduleRequest(
            work_id=work.id,
            params=Params(args, kwargs),
            scheduled_time_us=0,
            options=replace(options, schedule=None),
        )
        request = self._through_middleware(request)
        param = work.encode(request.params.args, request.params.kwargs)
        task = new_task(request, "", param, request.options, self._declared_options(work))
        return self._drafted(when, said, task, owner=owner)

    def plain_draft(self, when: When, param: TaskParam, said: ScheduleOptions) -> Draft:
        """Return a schedule of tasks in plain data; the work need not be declared here. As `draft`."""
        work = self._parts.work_of(param.work_id)
        request = request_of(param, None if work is None else work.declared)
        return self._drafted(when, said, row_of(self._through_middleware(request), "", work))

    def _drafted(self, when: When, said: ScheduleOptions, task: NewTask, owner: str | None = None) -> Draft:
        if task.unique_key is not None or task.id:
            raise OptionError("a schedule has many tasks, so that they can have no id or unique key of yours")
        return Draft(
            name=said.name or task.work_id,
            owner=said.owner or owner,
            spec=dump_spec(trigger_of(when, said.start or from_us(self._parts.clock.wall_us()))),
            policy=_json(policy_of(said)),
            template=_json(template_of(task)),
            overlap=Overlap(said.overlap),
        )

    def _through_middleware(self, request: ScheduleRequest) -> ScheduleRequest:
        seen: list[ScheduleRequest] = []

        def accept(last: ScheduleRequest) -> Reply[Any]:
            seen.append(last)
            return Reply.of(self._handle())

        schedule_chain(self._parts.middleware, accept)(request)
        if len(seen) != 1:
            raise OptionError(f"a middleware did not pass the schedule of {request.work_id!r} on, once")
        return seen[0]

    def _declared_options(self, work: Work) -> Options | None:
        known = self._parts.work_of(work.id)
        return None if known is None else known.declared

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

    def put(self, draft: Draft, *, counts_on: bool = False, by: str | None = None) -> Reply[Put]:
        """Put a schedule into the store; a bare period `counts_on` from when it was first put there."""
        if not counts_on or msgspec.json.decode(draft.policy, type=Policy).start_us is not None:
            return self.book.put(draft, by=by)
        found = self.book.rows(ScheduleQuery(names=(draft.name,)))
        return found.and_then(lambda rows: self.book.put(_counting_on(draft, rows), by=by))

    def readable(self, rows: list[ScheduleRow]) -> list[ScheduleInfo]:
        """Return what is known of schedules; those that cannot be read here are left out, and logged."""
        infos = []
        for row in rows:
            try:
                infos.append(self.info(row))
            except KokugenError as error:
                logger.warning("the schedule %r cannot be read here: %s", row.name, error)
        return infos

    def edited(self, draft: Draft, when: When | None, changes: dict[str, Any]) -> Draft:
        """Return a draft with another trigger, or other options of a schedule. Raises OptionError."""
        unknown = set(changes) - set(ScheduleOptions.__struct_fields__)
        if unknown:
            raise OptionError(f"a schedule has no option {min(unknown)!r} that may be edited")
        if when is not None:
            draft = replace(draft, spec=dump_spec(trigger_of(when, from_us(self._parts.clock.wall_us()))))
        said = ScheduleOptions(**changes)
        asked = policy_of(said)
        stored = msgspec.json.decode(draft.policy, type=Policy)
        given = {_POLICY_OF[name] for name in changes if name in _POLICY_OF}
        policy = replace(stored, **{name: getattr(asked, name) for name in given})
        return replace(
            draft,
            policy=_json(policy),
            overlap=Overlap(said.overlap) if "overlap" in changes else draft.overlap,
            owner=said.owner if "owner" in changes else draft.owner,
        )

    def info(self, row: ScheduleRow) -> ScheduleInfo:
        """Return what is known of a schedule."""
        return info_of(row, self._definitions.of(row))

    def occurrences(self, name: str, first: int, last: int) -> Reply[list[Occurrence]]:
        """Return what became of a schedule's times. Raises NoScheduleError."""

        def tell(row: ScheduleRow) -> Reply[list[Occurrence]]:
            trigger = self._definitions.of(row).trigger
            return self.book.ledger(row.id, first, last).then(lambda found: occurrences_of(row, trigger, found))

        return self.book.get(name).and_then(tell)

    def preview(self, rows: list[ScheduleRow], start: datetime, end: datetime, limit: int) -> list[Upcoming]:
        """Return what schedules will make between two instants; those that cannot be read here are left out."""
        readable = {info.name for info in self.readable(rows)}
        known = [(row, self._definitions.of(row)) for row in rows if row.name in readable]
        return preview(known, start, end, limit)

    def sketch(self, row: ScheduleRow | None, draft: Draft) -> ScheduleRow:
        """Return the row that a draft would become, now; `row` is the one of its name that is there."""
        now = self._parts.clock.wall_us()
        new = row_of_draft("", draft, now)
        return (
            new if row is None else replace(new, runs=row.runs, paused_at=row.paused_at, paused_until=row.paused_until)
        )

    def why(self, name: str) -> Reply[str]:
        """Say in words why a schedule runs now, or does not. Raises NoScheduleError."""
        now = self._parts.clock.wall_us()

        def tell(row: ScheduleRow) -> Reply[str]:
            found = self.book.ledger(row.id, now - WHY_US, now + WHY_US)
            definition = self._definitions.of(row)
            return found.then(lambda ledger: why_text(row, definition, ledger, now))

        return self.book.get(name).and_then(tell)

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
        )
        return [Service(self._put_declared, self._materialiser.run)]

    async def _put_declared(self) -> None:
        """Put what the code declares into the store; it is tried again until the store takes it."""
        for draft, counts_on in list(self._declared.values()):
            pause_s = RETRY_S
            while not await self._try_to_put(draft, counts_on=counts_on):
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, 2 * pause_s)

    async def _try_to_put(self, draft: Draft, *, counts_on: bool) -> bool:
        try:
            await self.put(draft, counts_on=counts_on, by=draft.owner)
        except RepositoryError as error:
            logger.warning("cannot declare the schedule %r yet: %s", draft.name, error)
            return False
        except KokugenError:
            logger.exception("the schedule %r is not declared", draft.name)
        return True

    def _tell(self) -> None:
        if self._materialiser is not None:
            self._materialiser.hint()

    def _wake_claims(self, due_us: int) -> None:
        engine = self._engine()
        if engine is not None:
            engine.hint(due_us)


class Service:
    """Coroutines one after the other: the last goes on."""

    def __init__(self, *parts: Callable[[], Any]) -> None:
        self._parts = parts

    async def prepare(self) -> None:
        """Do nothing: claims need not wait for it."""

    async def run(self) -> None:
        """Run them."""
        for part in self._parts:
            await part()


def trigger_of(when: When, now: Any) -> Trigger:
    """Return the trigger that `every` was given. Raises OptionError, and what a trigger raises."""
    if isinstance(when, Trigger):
        if when.after_completion:
            raise OptionError(f"{when!r} is not built yet for schedules: use Every(…) with overlap='skip'")
        return when
    if isinstance(when, timedelta):
        return Every(when, start=now)
    if isinstance(when, str):
        return Cron(when)
    raise OptionError(f"every({when!r}, …): use a trigger, a timedelta or a cron expression")


def template_of(task: NewTask) -> Template:
    """Return the template of tasks like this one."""
    deadline = task.start_deadline
    return Template(
        work_id=task.work_id,
        param=task.param,
        queue=task.queue,
        rank=task.rank,
        mode=task.mode,
        max_attempts=task.max_attempts,
        max_lost=task.max_lost,
        start_within_us=None if deadline is None else deadline - task.due_at,
        tags=task.tags,
        options=task.options,
    )


def policy_of(said: ScheduleOptions) -> Policy:
    """Return the policy of a schedule's options."""
    return Policy(
        catchup=Catchup(said.catchup),
        misfire_us=duration_us(said.misfire),
        window_us=duration_us(said.window),
        rate=said.rate,
        jitter_us=duration_us(said.jitter),
        start_us=None if said.start is None else to_us(said.start.astimezone(UTC)),
        end_us=None if said.end is None else to_us(said.end.astimezone(UTC)),
        max_runs=said.max_runs,
    )


def _counting_on(draft: Draft, rows: list[ScheduleRow]) -> Draft:
    """Return a draft with the start that is stored, where nothing else of the period differs."""
    for row in rows:
        stored, asked = load_spec(row.spec), load_spec(draft.spec)
        if isinstance(stored, Every) and isinstance(asked, Every) and stored.period == asked.period:
            return replace(draft, spec=row.spec)
    return draft


def _json(value: object) -> str:
    return msgspec.json.encode(value).decode()
