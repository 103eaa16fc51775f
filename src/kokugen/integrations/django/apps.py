"""The application in Django's registry: it knows the project's scheduler, and the tasks that are declared for it."""

from __future__ import annotations

from typing import Any

from django.apps import AppConfig, apps
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.module_loading import autodiscover_modules, import_string

from kokugen.registry.functions import FunctionRegistry
from kokugen.registry.work import Work
from kokugen.scheduler import Scheduler

SETTING = "KOKUGEN_SCHEDULER"


class KokugenConfig(AppConfig):  # type: ignore[misc] # Django tells no types
    """Imports the modules `jobs` and `tasks` of every installed application, so that their work is known."""

    name = "kokugen.integrations.django"
    label = "kokugen"
    verbose_name = "kokugen"

    def __init__(self, *about: Any) -> None:
        super().__init__(*about)
        self._tasks: dict[str, tuple[Any, Work[..., Any]]] = {}
        self._scheduler: Scheduler | None = None

    def ready(self) -> None:
        autodiscover_modules("jobs", "tasks")

    def declare(self, task: Any, work: Work[..., Any]) -> None:
        """Make a task of `django.tasks` known as work, once: what `using(…)` makes of it is the same work."""
        if work.id not in self._tasks:
            self._tasks[work.id] = task, work
            if self._scheduler is not None:
                _registry(self._scheduler).add(work)

    def task_of(self, work_id: str) -> tuple[Any, Work[..., Any]] | None:
        """Return a declared task and its work, or None."""
        return self._tasks.get(work_id)

    @property
    def scheduler(self) -> Scheduler:
        """Return the scheduler that the setting KOKUGEN_SCHEDULER names. Raises ImproperlyConfigured."""
        if self._scheduler is None:
            found = _imported(getattr(settings, SETTING, None))
            for _, work in self._tasks.values():
                _registry(found).add(work)
            self._scheduler = found
        return self._scheduler


def config() -> KokugenConfig:
    """Return the application. Raises ImproperlyConfigured where it is not installed."""
    try:
        found: KokugenConfig = apps.get_app_config(KokugenConfig.label)
    except LookupError:
        raise ImproperlyConfigured(f"add {KokugenConfig.name!r} to INSTALLED_APPS") from None
    return found


def _imported(path: Any) -> Scheduler:
    if not isinstance(path, str):
        raise ImproperlyConfigured(f"{SETTING} is to name a Scheduler, such as 'shop.jobs.scheduler'")
    found = import_string(path)
    if not isinstance(found, Scheduler):
        raise ImproperlyConfigured(f"{SETTING} = {path!r} is no kokugen.Scheduler but a {type(found).__name__}")
    return found


def _registry(scheduler: Scheduler) -> FunctionRegistry:
    if not isinstance(scheduler.works, FunctionRegistry):
        raise ImproperlyConfigured(f"the scheduler that {SETTING} names is to have a FunctionRegistry, for the tasks")
    return scheduler.works
