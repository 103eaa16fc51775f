"""The schedules that are part of the code, which are put into the store once a scheduler of that code runs."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Sequence
from datetime import timedelta
from typing import Any, Protocol

from kokugen.errors import KokugenError, OptionError, RepositoryError
from kokugen.options import Options
from kokugen.recurrence.book import Put
from kokugen.recurrence.edits import Draft
from kokugen.registry.protocol import Work
from kokugen.reply import Reply
from kokugen.schedules.drafts import Drafts, When

logger = logging.getLogger("kokugen")

CODE = "code"
"""The owner of what is declared in code, unless told."""
RETRY_S, RETRY_MAX_S = 0.5, 10.0


class PutDraft(Protocol):
    """Puts a draft into the store; see `Agenda.put`."""

    def __call__(self, draft: Draft, *, counts_on: bool, by: str | None) -> Reply[Put]: ...


class Declarations:
    """Of one scheduler."""

    def __init__(self, drafts: Drafts, put: PutDraft) -> None:
        self._drafts = drafts
        self._put = put
        self._declared: dict[str, tuple[Draft, bool]] = {}

    def add(self, when: When, work: Work, options: Options, args: Sequence[Any], kwargs: dict[str, Any]) -> None:
        """Take note of a schedule that is part of the code.

        Raises OptionError where one of this name is declared already.
        """
        draft = self._drafts.of_work(when, work, options, tuple(args), kwargs, owner=CODE)
        if draft.name in self._declared:
            raise OptionError(f"a schedule {draft.name!r} is declared already: give one of them another name")
        self._declared[draft.name] = (draft, isinstance(when, timedelta))

    async def put(self) -> None:
        """Put what the code declares into the store; it is tried again until the store takes it."""
        for draft, counts_on in list(self._declared.values()):
            pause_s = RETRY_S
            while not await self._try_to_put(draft, counts_on=counts_on):
                await asyncio.sleep(pause_s)
                pause_s = min(RETRY_MAX_S, 2 * pause_s)

    async def _try_to_put(self, draft: Draft, *, counts_on: bool) -> bool:
        try:
            await self._put(draft, counts_on=counts_on, by=draft.owner)
        except RepositoryError as error:
            logger.warning("cannot declare the schedule %r yet: %s", draft.name, error)
            return False
        except KokugenError:
            logger.exception("the schedule %r is not declared", draft.name)
        return True
