"""The jobs of an APScheduler 3 job store in a database as schedules.

The command line hands over the rows of the table. Each job's state is a pickle, which is read and never unpickled:
nothing that it names is imported or called. So APScheduler need not be installed, and a hostile job can do nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import datetime, timedelta
from typing import Any

from kokugen.errors import InvalidEntryError
from kokugen.importers.apscheduler_triggers import Reader
from kokugen.importers.found import WINDOW_MAX, Found, LeftOut, NotCarriedError, Reading, attempted, reading_of
from kokugen.importers.noted import number_of, plain_of
from kokugen.importers.pickled import read_pickle
from kokugen.importers.works import work_id_of
from kokugen.recurrence.instants import Instants
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import Params, TaskParam

TABLE, COLUMNS = "apscheduler_jobs", ("id", "next_run_time", "job_state")
ORIGIN = "apscheduler"
MISFIRE = timedelta(minutes=1)


def read_jobs(rows: Iterable[tuple[Any, ...]], works: Mapping[str, str], now: datetime) -> Reading:
    """Return the schedules of the rows, each an id, the next time (None: it is paused), and a pickle.

    `works` says which work a function is now, by its reference; else it is the work of the function's name.
    """
    return reading_of(ORIGIN, (_attempted(row, works, now) for row in rows))


def _attempted(row: tuple[Any, ...], works: Mapping[str, str], now: datetime) -> Found | LeftOut:
    job_id, paused, state = str(row[0]), row[1] is None, row[2]
    source = f"job {job_id!r}"
    return attempted(source, job_id, lambda: _job(source, job_id, _bytes(state), paused, works, now))


def _job(source: str, job_id: str, state: bytes, paused: bool, works: Mapping[str, str], now: datetime) -> Found:
    job = read_pickle(state)
    if not isinstance(job, dict) or job.get("version") != 1 or not isinstance(job.get("func"), str):
        raise InvalidEntryError("it is no job that APScheduler 3 stores")
    reader = Reader()
    when = reader.read(job.get("trigger"))
    if isinstance(when, Instants) and when.next(now) is None:
        raise NotCarriedError(f"its time, {when.times[0].isoformat()}, has passed")
    return Found(
        source=source,
        origin=ORIGIN,
        function=job["func"],
        when=when,
        param=TaskParam(work_id=work_id_of(job["func"], works), scheduled_time=now, param=_params(job)),
        options=_options(job_id, job, reader.jitter),
        paused="it was paused in APScheduler" if paused else None,
        notes=tuple(reader.notes + _notes(job)),
    )


def _bytes(state: Any) -> bytes:
    if not isinstance(state, bytes):
        raise InvalidEntryError("its state is not stored as bytes")
    return state


def _params(job: dict[str, Any]) -> Params:
    args, kwargs = plain_of(job.get("args") or (), "an argument"), plain_of(job.get("kwargs") or {}, "an argument")
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidEntryError("its arguments are damaged")
    return Params(tuple(args), kwargs)


def _options(name: str, job: dict[str, Any], jitter: timedelta) -> ScheduleOptions:
    """Return the policy: what runs late, and what while a run is not over."""
    grace = job.get("misfire_grace_time")
    window = WINDOW_MAX if grace is None else timedelta(seconds=min(number_of(grace), WINDOW_MAX.total_seconds()))
    return ScheduleOptions(
        name=name,
        catchup="one" if job.get("coalesce") else "all",
        window=window,
        misfire=min(window, MISFIRE),
        overlap="skip" if number_of(job.get("max_instances", 1)) == 1 else "allow",
        jitter=jitter,
    )


def _notes(job: dict[str, Any]) -> list[str]:
    notes = []
    most = number_of(job.get("max_instances", 1))
    if most != 1:
        notes.append(f"max_instances={most}: there is no limit, runs may overlap")
    if job.get("executor") not in {None, "default"}:
        notes.append(f"its executor {str(job['executor'])!r} is left out: give its work a queue")
    return notes
