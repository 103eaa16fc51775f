"""A backend for `django.tasks` (Django 6, or the package django-tasks): tasks are kept and run by kokugen.

`TASKS = {"default": {"BACKEND": "kokugen.integrations.django.backend.KokugenBackend"}}`. The id of a result is the
task's id in the store, its work id the path of the function, such as `shop.tasks.send`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections, transaction
from django.utils import timezone
from django.utils.crypto import get_random_string

from kokugen.errors import KokugenError, NoEntryError
from kokugen.integrations.django.apps import KokugenConfig, config
from kokugen.integrations.django.calls import work_of
from kokugen.integrations.django.interface import BaseTaskBackend, TaskResultDoesNotExist, task_enqueued
from kokugen.integrations.django.results import asked, stored
from kokugen.options import Options
from kokugen.registry.work import Work
from kokugen.scheduler import Scheduler
from kokugen.task import Priority
from kokugen.within import Transaction

WAYS = (None, "on_commit", "within")


class KokugenBackend(BaseTaskBackend):  # type: ignore[misc] # Django tells no types
    """Everything that a backend may support it does: later times, async tasks, results and priorities.

    `OPTIONS`: `transaction` is None (enqueued at once), "on_commit" (once the transaction is committed) or "within" (in
    the transaction itself, where the store is in the same PostgreSQL database), `database` its alias; `work` has
    options of kokugen's for every task, such as `{"retry": Retry(5)}`.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        given: Mapping[str, Any] = self.options
        unknown = set(given) - {"transaction", "database", "work"}
        self._way = given.get("transaction")
        self._database = given.get("database", "default")
        if unknown or self._way not in WAYS:
            raise ImproperlyConfigured(
                f"TASKS[{alias!r}]['OPTIONS'] has transaction (None, 'on_commit' or 'within'), database and work, "
                f"not {dict(given)!r}"
            )
        try:
            self._declared = Options().merged(**given.get("work", {}))
        except KokugenError as error:
            raise ImproperlyConfigured(f"TASKS[{alias!r}]['OPTIONS']['work']: {error}") from error

    def validate_task(self, task: Any) -> None:
        """Check a task, and make it known as work."""
        super().validate_task(task)
        self._work(task)

    def _work(self, task: Any) -> Work[..., Any]:
        app = config()
        known = app.task_of(task.module_path)
        if known is not None:
            return known[1]
        work = work_of(task, type(self), self._declared)
        app.declare(task, work)
        return work

    def enqueue(self, task: Any, args: Sequence[Any], kwargs: dict[str, Any]) -> Any:
        self.validate_task(task)
        scheduler = self._app.scheduler
        bound = self._work(task).options(queue=task.queue_name, priority=level(task.priority))
        result = asked(task, "", args, kwargs, timezone.now())  # refuses what is not JSON
        if self._way == "on_commit":
            bound = bound.options(id=get_random_string(32))
            bound.encode(tuple(args), kwargs)  # is refused now, not when it is committed
            transaction.on_commit(partial(_schedule, scheduler, bound, task, args, kwargs), using=self._database)
            task_id = bound.declared.id
        elif self._way == "within" and connections[self._database].in_atomic_block:
            task_id = _schedule(scheduler.within(connections[self._database]), bound, task, args, kwargs)
        else:
            task_id = _schedule(scheduler, bound, task, args, kwargs)
        object.__setattr__(result, "id", task_id)
        task_enqueued.send(type(self), task_result=result)
        return result

    def get_result(self, result_id: str) -> Any:
        scheduler = self._app.scheduler
        try:
            info = scheduler.get(result_id)
        except NoEntryError as error:
            raise TaskResultDoesNotExist(result_id) from error
        known = self._app.task_of(info.work_id)
        if known is None:
            raise TaskResultDoesNotExist(f"{result_id} is of {info.work_id!r}, which is no task here")
        return stored(known[0], info, scheduler)

    @property
    def _app(self) -> KokugenConfig:
        return config()


def _schedule(
    where: Scheduler | Transaction, work: Work[..., Any], task: Any, args: Sequence[Any], kwargs: dict[str, Any]
) -> str:
    if task.run_after is None:
        return where.after(timedelta(0), work, *args, **kwargs).id
    when = timezone.make_aware(task.run_after) if timezone.is_naive(task.run_after) else task.run_after
    return where.at(when, work, *args, **kwargs).id


def level(priority: int) -> Priority:
    """Return the level for a priority of Django's, -100 to 100: below 0, 0, up to 50, above."""
    if priority < 0:
        return Priority.LOW
    if priority == 0:
        return Priority.NORMAL
    return Priority.HIGH if priority <= 50 else Priority.URGENT
