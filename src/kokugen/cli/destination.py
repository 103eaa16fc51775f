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
from kokugen.errors import KokugenError, SchemaVersionError
from kokugen.repository.versions import VersionedRepository
from kokugen.task import Params, TaskParam

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler
    from kokugen.registry.protocol import WorkRegistry
    from kokugen.repository.protocol import DurableRepository
    from kokugen.retry import Retry
    from kokugen.schedules.drafts import NewSchedule
    from kokugen.schedules.info import PutSchedule, ScheduleInfo


class Destination:
    """An open store. `works` are those of the application that it belongs to, where one was named."""

    def __init__(self, scheduler: Scheduler | AsyncScheduler, works: WorkRegistry | None = None) -> None:
        self._scheduler = scheduler
        self._works = works

    def refusal(self, param: TaskParam) -> str | None:
        """Say why the application cannot run such tasks; None where it can, or none was named."""
        from kokugen.registry.work import as_work

        if self._works is None:
            return None
        params, loaded = Params.of(param.param), self._works.load(param.work_id)
        if loaded is None:
            return f"the application declares no work {param.work_id!r}"
        try:
            as_work(param.work_id, loaded).encode(params.args, params.kwargs)
        except KokugenError as error:
            return str(error)
        return None

    def retry_of(self, work_id: str) -> Retry | None:
        """Return the retry that the application declares for a work."""
        loaded = None if self._works is None else self._works.load(work_id)
        declared: Retry | None = getattr(getattr(loaded, "declared", None), "retry", None)
        return declared

    def put(
        self, schedules: Sequence[NewSchedule], *, by: str, why: str | None = None, dry_run: bool = False
    ) -> list[PutSchedule]:
        """Store schedules, or say what would become of them."""
        from kokugen import AsyncScheduler

        if isinstance(self._scheduler, AsyncScheduler):
            return asyncio.run(self._scheduler.put_schedules(schedules, by=by, why=why, dry_run=dry_run))
        return self._scheduler.put_schedules(schedules, by=by, why=why, dry_run=dry_run)

    def owned(self, owner: str) -> list[ScheduleInfo]:
        """Return the schedules of an owner."""
        from kokugen import AsyncScheduler

        if isinstance(self._scheduler, AsyncScheduler):
            return asyncio.run(self._scheduler.schedules(owner=owner))
        return self._scheduler.schedules(owner=owner)

    def remove(self, name: str, *, by: str, why: str) -> ScheduleInfo:
        """Remove a schedule."""
        from kokugen import AsyncScheduler

        if isinstance(self._scheduler, AsyncScheduler):
            return asyncio.run(self._scheduler.remove(name, by=by, why=why))
        return self._scheduler.remove(name, by=by, why=why)


@contextmanager
def opened(url: str | None, app: str | None, *, dry_run: bool = False) -> Iterator[Destination]:
    """Open the store of a URL or of an application; a dry run makes none, and goes on in memory where there is none."""
    if app is None:
        with store.opened(url, make=True) if not dry_run or is_there(url) else in_memory(None) as scheduler:
            yield Destination(scheduler)
        return
    store.refuse_named()
    application = find_scheduler(app)
    if dry_run and not is_usable(application.repository):
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
    """Return whether there is a store at a URL that a dry run can look at. Raises SchemaVersionError."""
    from kokugen import Scheduler

    return bool(url) and is_usable(Scheduler(store.usable(url)).repository)


def is_usable(repository: DurableRepository) -> bool:
    """Return whether there is a store that a dry run can look at, and leave as it is. Raises SchemaVersionError."""
    if not isinstance(repository, VersionedRepository):
        return True
    schema = repository.schema()
    if schema.stored is not None and schema.stored < schema.newest:
        raise SchemaVersionError(
            f"{repository.url} has schema {schema.stored}, and to look at it would bring it to {schema.newest}: a dry "
            "run changes nothing, so run `kokugen migrate` first"
        )
    return schema.stored is not None


def close(application: Scheduler | AsyncScheduler) -> None:
    """Release the store of an application."""
    from kokugen import AsyncScheduler

    if isinstance(application, AsyncScheduler):
        asyncio.run(application.close())
    else:
        application.close()
