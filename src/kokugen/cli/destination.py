"""Where an import puts its schedules: a store by its URL, or an application with what it declares.

Called by `kokugen.cli.takeover`, which has read and checked everything before.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING

from kokugen.cli import store
from kokugen.cli.application import find_scheduler
from kokugen.errors import KokugenError
from kokugen.repository.locate import stored_version
from kokugen.task import Params

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler
    from kokugen.importers.found import Found
    from kokugen.recurrence.info import PutSchedule
    from kokugen.registry.protocol import WorkRegistry
    from kokugen.schedules.drafts import NewSchedule


class Destination:
    """An open store. `works` are those of the application that it belongs to, where one was named."""

    def __init__(self, scheduler: Scheduler | AsyncScheduler, works: WorkRegistry | None = None) -> None:
        self._scheduler = scheduler
        self._works = works

    def refusal(self, found: Found) -> str | None:
        """Say why the application cannot run what was found; None where it can, or none was named."""
        from kokugen.registry.work import as_work

        if self._works is None:
            return None
        work_id, params = found.param.work_id, Params.of(found.param.param)
        loaded = self._works.load(work_id)
        if loaded is None:
            return f"the application declares no work {work_id!r}"
        try:
            as_work(work_id, loaded).encode(params.args, params.kwargs)
        except KokugenError as error:
            return str(error)
        return None

    def put(self, schedules: Sequence[NewSchedule], *, by: str, dry_run: bool) -> list[PutSchedule]:
        """Store schedules, or say what would become of them."""
        from kokugen import AsyncScheduler

        if isinstance(self._scheduler, AsyncScheduler):
            return asyncio.run(self._scheduler.put_schedules(schedules, by=by, dry_run=dry_run))
        return self._scheduler.put_schedules(schedules, by=by, dry_run=dry_run)


@contextmanager
def opened(url: str | None, app: str | None, dry_run: bool) -> Iterator[Destination]:
    """Open the store of a URL or of an application; a dry run makes none, and goes on in memory where there is none."""
    if app is None:
        with in_memory(None) if dry_run and not is_there(url) else store.opened(url, make=True) as scheduler:
            yield Destination(scheduler)
        return
    store.refuse_named()
    application = find_scheduler(app)
    path = store.file_of(application.url)
    if dry_run and path is not None and not path.exists():
        with in_memory(application.works) as scheduler:
            yield Destination(scheduler, application.works)
        return
    try:
        yield Destination(application, application.works)
    finally:
        close(application)


def in_memory(works: WorkRegistry | None) -> closing[Scheduler]:
    """Return a scheduler of a store that is gone afterwards."""
    from kokugen import Scheduler

    return closing(Scheduler("memory://", works=works, namespace=store.chosen_namespace()))


def is_there(url: str | None) -> bool:
    """Return whether there is a store at a URL."""
    if not url:
        return False
    path = store.file_of(url)
    return path.exists() if path is not None else stored_version(url) is not None


def close(application: Scheduler | AsyncScheduler) -> None:
    """Release the store of an application."""
    from kokugen import AsyncScheduler

    if isinstance(application, AsyncScheduler):
        asyncio.run(application.close())
    else:
        application.close()
