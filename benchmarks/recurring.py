"""Schedules for the measurements: kokugen's are put into the store beforehand, as if made some time ago."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from datetime import timedelta
from itertools import islice
from typing import Any, Protocol, cast

import msgspec
from msgspec import Struct

from benchmarks import databases
from benchmarks.measure import Values, wall_us
from benchmarks.subject import Kokugen, Place, Subject
from benchmarks.trials import Kind, subject
from kokugen.clock import SystemClock, from_us
from kokugen.codec import encode_params
from kokugen.ids import IdSource, system_random
from kokugen.recurrence.interval import Every
from kokugen.recurrence.spec import dump_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import Overlap, ScheduleChange
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.edits import Act, Draft, create, row_of
from kokugen.schedules.policy import Policy, Template
from kokugen.task import Params

BATCH = 1000
LEADS_US = (2_000_000, 8_000_000, 32_000_000)
MAKING_US = {"kokugen": 50, "kokugen schedules": 300, "APScheduler": 15_000, "Celery beat": 1_000}
"""How long making one schedule takes, about: so much more they are ahead for each."""
SELDOM = timedelta(days=365)
First = tuple[int, tuple[Any, ...]]
"""The first time of a schedule, and the arguments of its work."""


class Repeating(Subject, Protocol):
    """A scheduler with schedules."""

    def repeat(self, work: Callable[..., object], firsts: Sequence[First], period: timedelta) -> None:
        """Make schedules that come again after each period. Of what has passed the latest is to run."""
        ...


class Plan(Struct, frozen=True):
    """A schedule to be made, and when it was made."""

    trigger: Trigger
    work_id: str
    made_us: int
    policy: Policy = Policy()
    overlap: Overlap = Overlap.QUEUE_ONE
    args: tuple[Any, ...] = ()


class Schedules(Kokugen):
    """kokugen with schedules."""

    def repeat(self, work: Callable[..., object], firsts: Sequence[First], period: timedelta) -> None:
        now_us = wall_us()
        self.plan(
            Plan(Every(period, start=from_us(us)), self.id_of(work), min(us - 1, now_us), args=args)
            for us, args in firsts
        )

    def id_of(self, work: Callable[..., object]) -> str:
        return self._works[work].id

    def plan(self, plans: Iterable[Plan]) -> None:
        """Put schedules into the store, which is not run yet."""
        self.scheduler.open()
        repository = self.scheduler.repository
        assert isinstance(repository, ScheduleRepository), "all of kokugen's own keep schedules"
        changes = _changes(plans)
        while batch := list(islice(changes, BATCH)):
            answers = repository.change_schedules(batch).result()
            assert all(answer.applied for answer in answers), "no name comes twice"
        if isinstance(self.place, str):
            databases.settle(self.place)


def repeating(kind: Kind, place: Place) -> Repeating:
    """Make a scheduler that has schedules."""
    return cast("Repeating", subject(kind, place))


def in_time(trial: Callable[[int], Values | None]) -> Values:
    """Return what a trial measures that is ready before its tasks are due: they are so many microseconds ahead.

    One that is not ready in time, and returns None, is tried again with more.
    """
    for lead_us in LEADS_US:
        if (values := trial(lead_us)) is not None:
            return values
    raise AssertionError(f"within {LEADS_US[-1] / 1e6:g} s a scheduler with schedules was not ready")


def _changes(plans: Iterable[Plan]) -> Iterator[ScheduleChange]:
    definitions = Definitions()
    ids = IdSource(SystemClock(), system_random())
    for number, plan in enumerate(plans):
        template = Template(work_id=plan.work_id, param=encode_params(Params(plan.args, {})))
        draft = Draft(
            name=f"schedule-{number:06}",
            spec=dump_spec(plan.trigger),
            policy=msgspec.json.encode(plan.policy).decode(),
            template=msgspec.json.encode(template).decode(),
            overlap=plan.overlap,
        )
        definition = definitions.of(row_of("", draft, plan.made_us))
        yield create(ids.task_id(), draft, definition, Act(now=plan.made_us, ahead_us=0))
