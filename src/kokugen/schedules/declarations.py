"""The schedules that are part of the code: put into the store once a scheduler of that code runs, and looked after.

An owner is a service: its processes declare the same schedules, but for the time of a deploy. What an owner that has a
name does not declare any more is removed; `docs/explanation/schedules.md` has the rule.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import timedelta
from typing import Any, Protocol

from msgspec import Struct

from kokugen.errors import KokugenError, NoScheduleError, OptionError, RepositoryError
from kokugen.options import Options, check_name
from kokugen.registry.protocol import Work
from kokugen.reply import Reply
from kokugen.repository.schedule_rows import ScheduleQuery, ScheduleRow
from kokugen.schedule_options import is_imported
from kokugen.schedules.book import Book, Put
from kokugen.schedules.drafts import Drafts, When
from kokugen.schedules.edits import Draft

logger = logging.getLogger("kokugen")

CODE = "code"
"""The owner of what is declared in code, unless told. It may be several services, so nothing of it is removed."""
RETRY_S, RETRY_MAX_S = 0.5, 10.0
ROUND_S = 60.0
"""How often a process says what it declares."""
SILENT_MAX = 10
"""In how many rounds of a process nobody may declare a schedule before it takes it for withdrawn."""
WITHDRAWN = "no longer declared"
PAGE = 1000


class PutDraft(Protocol):
    """Puts a draft into the store; see `Agenda.put`."""

    def __call__(self, draft: Draft, *, counts_on: bool, by: str | None, why: str | None) -> Reply[Put]: ...


class Declared(Struct, frozen=True):
    """A schedule that is part of the code, and what the audit is told when it is put into the store."""

    draft: Draft
    counts_on: bool
    by: str | None
    why: str | None


class Declarations:
    """Of one scheduler, whose engine runs it as a service. `book()` is what changes the store."""

    def __init__(self, drafts: Drafts, put: PutDraft, book: Callable[[], Book], owner: str | None) -> None:
        self._drafts = drafts
        self._put = put
        self._book = book
        self.owner = CODE if owner is None else check_name("owner", owner)
        self._declared: dict[str, Declared] = {}
        self._seen: dict[str, tuple[int, int]] = {}
        """Of each schedule of our owners how often it was declared, and for how many rounds it has been just that."""

    def add(self, when: When, work: Work, options: Options, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Take note of a schedule that is part of the code.

        Raises OptionError where one of this name is declared already.
        """
        draft = self._drafts.of_work(when, work, options, tuple(args), kwargs, owner=self.owner)
        if draft.name in self._declared:
            raise OptionError(f"a schedule {draft.name!r} is declared already: give one of them another name")
        by = options.by or draft.owner
        self._declared[draft.name] = Declared(draft, isinstance(when, timedelta), by, options.why)

    async def prepare(self) -> None:
        """Do nothing: claims need not wait for it."""

    async def run(self) -> None:
        """Put what the code declares into the store, and look after it until it is cancelled."""
        for one in list(self._declared.values()):
            pause_s = RETRY_S
            while not await self._try_to_put(one):
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, 2 * pause_s)
        owners = {self.owner, *(one.draft.owner for one in self._declared.values())} - {CODE}
        while True:
            for owner in sorted(one for one in owners if one is not None):
                await self._try_to_look_after(owner)
            await asyncio.sleep(ROUND_S)

    def hint(self) -> None:
        """Do nothing: what is declared does not change."""

    # -- Putting

    async def _try_to_put(self, one: Declared) -> bool:
        draft = one.draft
        try:
            if not await self._is_taken(draft):
                await self._put(draft, counts_on=one.counts_on, by=one.by, why=one.why)
        except RepositoryError as error:
            logger.warning("cannot declare the schedule %r yet: %s", draft.name, error)
            return False
        except KokugenError:
            logger.exception("the schedule %r is not declared", draft.name)
        return True

    async def _is_taken(self, draft: Draft) -> bool:
        """Return whether the name is another service's, and say so."""
        found = await self._book().rows(ScheduleQuery(names=(draft.name,)))
        owners = [row.owner for row in found if not is_imported(row.owner)]
        taken = [owner for owner in owners if owner not in {None, CODE, draft.owner}]
        if taken:
            logger.error("the schedule %r is not declared: %r declares one of this name", draft.name, taken[0])
        return bool(taken)

    # -- Looking after

    async def _try_to_look_after(self, owner: str) -> None:
        try:
            await self._look_after(owner, await self._rows_of(owner))
        except KokugenError as error:
            logger.warning("cannot look after the schedules of %r: %s", owner, error)

    async def _rows_of(self, owner: str) -> list[ScheduleRow]:
        book, found = self._book(), list[ScheduleRow]()
        query = ScheduleQuery(owner=owner, limit=PAGE)
        while rows := await book.rows(query):
            found += rows
            query = ScheduleQuery(owner=owner, limit=PAGE, after=rows[-1].name)
        return found

    async def _look_after(self, owner: str, rows: list[ScheduleRow]) -> None:
        """Say what is declared here where nobody else has since the last round, and remove what nobody declares."""
        ours = {name for name, one in self._declared.items() if one.draft.owner == owner}
        silent = {row.name: self._rounds_of_silence(row) for row in rows}
        unsaid = [row for row in rows if row.name in ours and silent[row.name] > 0]
        if unsaid:
            await self._book().declare_all(unsaid)
        for row in rows:
            if row.name not in ours and silent[row.name] >= SILENT_MAX:
                await self._withdraw(row)
        await self._put_back(ours - {row.name for row in rows})

    async def _try_to_bring_back(self, one: Declared) -> None:
        try:
            await self._book().rollback(one.draft.name, by=one.by, why=one.why)
        except KokugenError as error:
            logger.warning("cannot bring the schedule %r back: %s", one.draft.name, error)
            return
        await self._try_to_put(one)

    def _rounds_of_silence(self, row: ScheduleRow) -> int:
        """Return for how many rounds, this one included, nobody has declared a schedule; at first sight 1."""
        declared, rounds = self._seen.get(row.id, (row.declared, 0))
        rounds = rounds + 1 if declared == row.declared else 0
        self._seen[row.id] = (row.declared, rounds)
        return rounds

    async def _withdraw(self, row: ScheduleRow) -> None:
        try:
            after = await self._book().withdraw(row, WITHDRAWN)
        except NoScheduleError:
            return  # another process was first
        if after.declared == row.declared:
            logger.warning("the schedule %r is removed: %r does not declare it any more", row.name, row.owner)
        self._seen.pop(row.id, None)

    async def _put_back(self, missing: Iterable[str]) -> None:
        """Declare anew what was taken for withdrawn while this process was silent; what people removed stays away."""
        for name in sorted(missing):
            newest = await self._book().audit(name, 1)
            if newest and (newest[0].what, newest[0].why) == ("remove", WITHDRAWN):
                await self._try_to_bring_back(self._declared[name])
