"""The periodic tasks of django-celery-beat as schedules, from `manage.py dumpdata django_celery_beat`.

What they share with `beat_schedule` is in `kokugen.importers.beat`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from kokugen.errors import InvalidEntryError
from kokugen.importers import beat
from kokugen.importers.fields import Fields, cron_of
from kokugen.importers.found import Found, LeftOut, NotCarriedError, Reading, attempted, bounded, reading_of
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import Every
from kokugen.recurrence.trigger import Trigger

APP = "django_celery_beat."
TASK = f"{APP}periodictask"
CRON_FIELDS = {
    "minute": "minute",
    "hour": "hour",
    "day": "day_of_month",
    "month": "month_of_year",
    "weekday": "day_of_week",
}
LEFT_OUT = ("exchange", "routing_key")
Records = Mapping[tuple[str, Any], dict[str, Any]]
Reader = Callable[[dict[str, Any], str], Trigger | timedelta]


def is_dump(document: Any) -> bool:
    """Return whether this is what dumpdata writes: a list of records, some of them of this application."""
    return isinstance(document, list) and any(_model(one).startswith(APP) for one in document)


def read_dump(document: list[Any], works: Mapping[str, str], now: datetime, tz: str | None) -> Reading:
    """Return the schedules of a dump. `tz` is celery's time zone, for crontabs that say none."""
    records = {(_model(one), _key(one.get("pk"))): _fields(one) for one in document if _model(one).startswith(APP)}
    tasks = [(pk, fields) for (model, pk), fields in records.items() if model == TASK]
    return reading_of(beat.ORIGIN, (_attempted(pk, fields, records, works, now, tz or "UTC") for pk, fields in tasks))


def _attempted(
    pk: Any, task: dict[str, Any], records: Records, works: Mapping[str, str], now: datetime, tz: str
) -> Found | LeftOut:
    source = f"periodic task {task.get('name', pk)!r}"
    return attempted(source, str(task.get("name")), lambda: _task(source, task, records, works, now, tz))


def _task(
    source: str, task: dict[str, Any], records: Records, works: Mapping[str, str], now: datetime, tz: str
) -> Found:
    name, once = str(task.get("name")), bool(task.get("one_off") or task.get("clocked"))
    if once and not task.get("enabled", True) and task.get("total_run_count"):
        raise NotCarriedError("it was to run once, and has run")
    param = beat.task_param(
        task.get("task"), works, now, _json(task.get("args"), "args"), _json(task.get("kwargs"), "kwargs")
    )
    said = {option: task.get(option) for option in ("queue", "priority")} | {"expires": task.get("expire_seconds")}
    param, notes = beat.with_options(param, said)
    when = _when(task, records, tz)
    if isinstance(when, Instants) and when.next(now) is None:
        raise NotCarriedError(f"its time, {when.times[0].isoformat()}, has passed")
    notes += [f"its {field} is left out" for field in LEFT_OUT if task.get(field)]
    if _json(task.get("headers"), "headers"):
        notes.append("its headers are left out")
    return Found(
        source=source,
        origin=beat.ORIGIN,
        function=str(task.get("task")),
        when=_from(when, _instant(task, "start_time")),
        param=param,
        options=beat.policy(name, max_runs=1 if once else None, end=_instant(task, "expires")),
        paused=None if task.get("enabled", True) else "it was not enabled in django-celery-beat",
        notes=tuple(notes),
    )


def _when(task: dict[str, Any], records: Records, tz: str) -> Trigger | timedelta:
    named = [(kind, task[kind]) for kind in READERS if task.get(kind) is not None]
    if len(named) != 1:
        raise InvalidEntryError(f"it has {len(named)} schedules: one of {', '.join(READERS)} is needed")
    kind, pk = named[0]
    record = records.get((f"{APP}{kind}schedule", _key(pk)))
    if record is None:
        raise InvalidEntryError(f"the {kind}schedule {pk!r} that it names is not in the dump")
    return READERS[kind](record, tz)


def _crontab(record: dict[str, Any], tz: str) -> Trigger:
    texts = {ours: beat.field(str(record.get(theirs, "*"))) for ours, theirs in CRON_FIELDS.items()}
    return cron_of(Fields(**texts), str(record.get("timezone") or tz))


def _interval(record: dict[str, Any], _: str) -> timedelta:
    every, period = record.get("every"), record.get("period")
    if not isinstance(every, int) or period not in {"days", "hours", "minutes", "seconds", "microseconds"}:
        raise InvalidEntryError(f"its interval is none that is known here: every {every!r} {period!r}")
    try:
        return beat.positive(timedelta(**{period: every}))
    except OverflowError:
        raise NotCarriedError(f"its period, {every} {period}, is longer than any") from None


def _clocked(record: dict[str, Any], _: str) -> Trigger:
    when = _instant(record, "clocked_time")
    if when is None:
        raise InvalidEntryError("its clocked schedule has no time")
    return Instants((when,))


def _solar(_: dict[str, Any], __: str) -> Trigger:
    raise NotCarriedError("the sun's times are none that a trigger has")


READERS: dict[str, Reader] = {"crontab": _crontab, "interval": _interval, "clocked": _clocked, "solar": _solar}


def _from(when: Trigger | timedelta, start: datetime | None) -> Trigger | timedelta:
    """Return the times from an instant on; an interval counts from there."""
    if isinstance(when, timedelta):
        return when if start is None else Every(when, start=start)
    return bounded(when, start, None)


def _instant(record: dict[str, Any], field: str) -> datetime | None:
    """Return a time that Django wrote; one without an offset is of a project without time zones, and so in UTC."""
    value = record.get(field)
    if value is None:
        return None
    try:
        when = datetime.fromisoformat(str(value))
    except ValueError:
        raise InvalidEntryError(f"its {field} is no time: {value!r}") from None
    return when.replace(tzinfo=UTC) if when.tzinfo is None else when


def _json(value: Any, what: str) -> Any:
    """Return what a text field holds as JSON."""
    try:
        return json.loads(value) if isinstance(value, str) else value
    except (ValueError, RecursionError):
        raise InvalidEntryError(f"its {what} are no JSON") from None


def _key(pk: Any) -> int | str:
    if not isinstance(pk, int | str):
        raise InvalidEntryError(f"the key {pk!r} is no number or text")
    return pk


def _model(record: Any) -> str:
    return str(record.get("model", "")) if isinstance(record, dict) else ""


def _fields(record: dict[str, Any]) -> dict[str, Any]:
    fields = record.get("fields")
    if not isinstance(fields, dict):
        raise InvalidEntryError(f"the record {record.get('pk')!r} of {_model(record)} has no fields")
    return fields
