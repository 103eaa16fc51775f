"""What a scheduler is made of before it runs: works, store, clock, chance, middleware, hooks."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from typing import TypeVar

from kokugen.clock import Clock, SystemClock
from kokugen.engine.hooks import Hooks
from kokugen.errors import OptionError
from kokugen.ids import IdSource, system_random
from kokugen.middleware.base import Middleware
from kokugen.middleware.payloads import payloads_of
from kokugen.options import check_name
from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.repository.locate import clock_of, open_repository
from kokugen.repository.protocol import DurableRepository
from kokugen.settings import Settings

T = TypeVar("T")

KINDS: dict[type, str] = {
    str: "a URL such as 'sqlite:///tasks.db'",
    Settings: "Settings(…)",
    Clock: "a clock with wall_us() and boot_s(), as kokugen.testing.VirtualClock",
    WorkRegistry: "a registry of work, such as FunctionRegistry()",
    DurableRepository: "a DurableRepository; one with the seed's methods alone goes by a task storage, task_storage=…",
}


class Parts:
    """What accepting tasks and running them share. The store is opened at first use."""

    def __init__(
        self,
        url: str | None,
        *,
        works: WorkRegistry | None,
        repository: DurableRepository | None,
        middleware: Sequence[Middleware],
        namespace: str,
        settings: Settings | None,
        clock: Clock | None,
    ) -> None:
        self.works: WorkRegistry = FunctionRegistry() if works is None else _checked("works", works, WorkRegistry)
        self.settings = Settings() if settings is None else _checked("settings", settings, Settings)
        clock = SystemClock() if clock is None else _checked("clock", clock, Clock)
        self.clock = clock_of(repository, clock)
        self.random = system_random()
        self.ids = IdSource(self.clock, system_random())
        self.hooks = Hooks()
        self.middleware = _checked_middleware(middleware)
        self.payloads = payloads_of(self.middleware, lambda: self.repository.namespace)
        self._repository = None if repository is None else _checked("repository", repository, DurableRepository)
        self._url = None if url is None else _checked("url", url, str)
        self.namespace = check_name("namespace", namespace)

    @property
    def repository(self) -> DurableRepository:
        """Return the store's repository, made at first use. Raises OptionError for a bad URL."""
        if self._repository is None:
            url = self._url or os.environ.get("KOKUGEN_URL")
            if not url:
                raise OptionError("no store: give Scheduler('sqlite:///file.db') a URL, or set KOKUGEN_URL")
            self._repository = open_repository(url, namespace=self.namespace, clock=self.clock)
            self.clock = clock_of(self._repository, self.clock)
        return self._repository

    def close(self) -> None:
        """Release the store."""
        if self._repository is not None:
            self._repository.close()

    def work_of(self, work_id: str) -> Work | None:
        """Return the work declared here, or None."""
        found = self.works.load(work_id)
        return None if found is None else as_work(work_id, found)


def _checked_middleware(middleware: Sequence[Middleware]) -> tuple[Middleware, ...]:
    """Return the middleware of a scheduler. Raises OptionError for what is none."""
    found = tuple(middleware) if isinstance(middleware, Iterable) else (middleware,)
    if not isinstance(middleware, Iterable) or not all(isinstance(one, Middleware) for one in found):
        raise OptionError(f"middleware={middleware!r}: use a list of middleware, such as [LogMiddleware()]")
    return found


def _checked(name: str, value: T, kind: type) -> T:
    """Return the value of a keyword of the scheduler's. Raises OptionError where it is of another kind."""
    if not isinstance(value, kind):
        raise OptionError(f"{name}={value!r}: use {KINDS[kind]}")
    return value
