"""Schedules once a Django transaction is committed: for a store that is in another database than the models.

Where the store is in the same PostgreSQL database, `scheduler.within(connection)` is the better way: nothing is lost
between the commit and the scheduling.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from functools import partial
from typing import Any, ParamSpec, TypeVar

from django.db import transaction

from kokugen.acceptance import check_delay, check_time
from kokugen.registry.work import Work
from kokugen.scheduler import Scheduler

P = ParamSpec("P")
R = TypeVar("R")


class AfterCommit:
    """`after_commit(scheduler).after(timedelta(0), send, 7)`: refused now, or scheduled once the transaction commits.

    Outside of a transaction it is scheduled at once; rolled back, never. A process that dies between the commit and the
    scheduling has scheduled nothing.
    """

    def __init__(self, scheduler: Scheduler, using: str = "default") -> None:
        self._scheduler = scheduler
        self._using = using

    def at(self, when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Schedule a call of `work` at an aware instant. As `Scheduler.at`, without a handle."""
        check_time(when)
        self._keep(work, args, kwargs, self._scheduler.at, when)

    def after(self, delay: timedelta, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> None:
        """Schedule a call of `work` after a delay from the commit. As `at`."""
        check_delay(delay)
        self._keep(work, args, kwargs, self._scheduler.after, delay)

    def _keep(self, work: Work[P, R], args: Any, kwargs: Any, schedule: Callable[..., object], when: object) -> None:
        work.encode(args, kwargs)
        transaction.on_commit(partial(schedule, when, work, *args, **kwargs), using=self._using)


def after_commit(scheduler: Scheduler, using: str = "default") -> AfterCommit:
    """Return what schedules with the transaction that is open on this database of Django's."""
    return AfterCommit(scheduler, using)
