"""What a schedule does about occurrences that are late, many or too many, and the task that each of them is."""

from __future__ import annotations

from enum import StrEnum
from functools import lru_cache

import msgspec
from msgspec import Struct

from kokugen.options import StoredOptions
from kokugen.repository.schedule_rows import ScheduledTask
from kokugen.task import MAX_LOST_DEFAULT, QUEUE_DEFAULT, Mode, Priority

MINUTE_US = 60_000_000
DAY_US = 86_400_000_000
BATCH_MAX = 1000
"""How many tasks one decision makes."""


class Catchup(StrEnum):
    """What becomes of occurrences that passed while no node decided about them."""

    SKIP = "skip"
    """None of them runs."""
    ONE = "one"
    """The latest runs and stands for the others."""
    ALL = "all"
    """All of them run, within the window."""


class Policy(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """How a schedule decides. Durations and instants in microseconds."""

    catchup: Catchup = Catchup.ONE
    misfire_us: int = MINUTE_US
    """How late an occurrence may be and still simply run."""
    window_us: int = DAY_US
    """How late an occurrence may be to be caught up with at all."""
    catchup_max: int | None = None
    """How many of them are caught up with, the latest; None: all."""
    rate: float | None = None
    """How many tasks a second catching up with all may make due; None: at once."""
    jitter_us: int = 0
    """By how much occurrences may start later, always before the next; each schedule has a share of its own."""
    start_us: int | None = None
    end_us: int | None = None
    """The last instant at which an occurrence may be."""
    max_runs: int | None = None
    failures_max: int | None = None
    """After how many failed runs in a row the schedule is paused."""


class Template(Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The task of every occurrence of a schedule, but for its times."""

    work_id: str
    param: str = "{}"
    queue: str = QUEUE_DEFAULT
    rank: int = -Priority.NORMAL
    mode: int = Mode.AT_LEAST_ONCE
    max_attempts: int = 1
    max_lost: int = MAX_LOST_DEFAULT
    start_within_us: int | None = None
    tags: str | None = None
    options: str | None = None

    def task(
        self, task_id: str, *, schedule_id: str, nominal: int, due_at: int, overlap: str | None, reports: bool
    ) -> ScheduledTask:
        """Return the task of one occurrence."""
        return ScheduledTask(
            id=task_id,
            work_id=self.work_id,
            due_at=due_at,
            scheduled_time=nominal,
            param=self.param,
            queue=self.queue,
            rank=self.rank,
            mode=self.mode,
            max_attempts=self.max_attempts,
            max_lost=self.max_lost,
            start_deadline=None if self.start_within_us is None else due_at + self.start_within_us,
            tags=self.tags,
            options=told(self.options, serial=overlap is not None, reports=reports),
            schedule_id=schedule_id,
            nominal=nominal,
            overlap=overlap,
            reports=reports,
        )


@lru_cache(maxsize=1024)
def told(options: str | None, *, serial: bool, reports: bool) -> str | None:
    """Return stored options that also say what waits for the end of the task."""
    if not serial and not reports:
        return options
    own = StoredOptions() if options is None else msgspec.json.decode(options, type=StoredOptions)
    return msgspec.json.encode(msgspec.structs.replace(own, serial=serial, reports=reports)).decode()
