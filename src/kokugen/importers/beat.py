"""What celery beat runs as schedules: the entries of `beat_schedule`, as JSON, and what both its sources share.

    python -c "import json, sys; from shop.celery import app
    json.dump({'timezone': str(app.timezone), 'beat_schedule': app.conf.beat_schedule}, sys.stdout, default=repr)"

writes them down: numbers are seconds, and what JSON has no words for, crontabs and spans, is there as Python shows it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import Any

from kokugen.errors import InvalidEntryError
from kokugen.importers.fields import Fields, cron_of
from kokugen.importers.found import WINDOW_MAX, Found, LeftOut, NotCarriedError, Reading, attempted, reading_of
from kokugen.importers.works import work_id_of
from kokugen.recurrence.trigger import Trigger
from kokugen.schedule_options import ScheduleOptions
from kokugen.task import QUEUE_DEFAULT, Params, Priority, TaskParam, replace

CRONTAB = re.compile(r"<crontab: (?P<fields>.+) \((?P<order>m/h/dM/MY/d|m/h/d/dM/MY)\)>")
ORDERS = {
    "m/h/dM/MY/d": ("minute", "hour", "day", "month", "weekday"),
    "m/h/d/dM/MY": ("minute", "hour", "weekday", "day", "month"),
}
FIELD = re.compile(r"[{\[(][^})\]]*[})\]]|\S+")
VALUES = re.compile(r"[{\[(]\s*(\d+\s*(?:,\s*\d+\s*)*),?\s*[})\]]")
SPAN = re.compile(r"datetime\.timedelta\((?P<parts>.*)\)")
SPAN_PART = re.compile(r"(days|seconds|microseconds)=(-?\d+)(?:, )?")
UNITS_S = {"second": 1, "minute": 60, "hour": 3600, "day": 86_400}
FREQUENCY = re.compile(r"<freq: (?P<number>\d+\.\d\d) (?P<unit>second|minute|hour|day)s?>")
HOUSEKEEPING = {"celery.backend_cleanup"}
KNOWN_OPTIONS = {"queue", "priority", "expires"}
PRIORITY_MAX = 255
ORIGIN = "celery"


def read_beat_schedule(document: dict[str, Any], works: Mapping[str, str], now: datetime, tz: str | None) -> Reading:
    """Return the schedules of the entries. `tz` is celery's time zone, where the document does not say it.

    Raises InvalidEntryError where it is no such document.
    """
    entries: Any = document
    if "beat_schedule" in document:
        entries, tz = document["beat_schedule"], tz or document.get("timezone")
    if not isinstance(entries, dict) or not all(isinstance(one, dict) and "task" in one for one in entries.values()):
        raise InvalidEntryError("it is no beat_schedule: an object of entries, each with a task and a schedule")
    zone = tz or "UTC"
    return reading_of(ORIGIN, (_attempted(name, entry, works, now, zone) for name, entry in entries.items()))


def _attempted(name: str, entry: dict[str, Any], works: Mapping[str, str], now: datetime, tz: str) -> Found | LeftOut:
    return attempted(f"entry {name!r}", name, lambda: _entry(name, entry, works, now, tz))


def _entry(name: str, entry: dict[str, Any], works: Mapping[str, str], now: datetime, tz: str) -> Found:
    options, notes = entry.get("options") or {}, []
    if not isinstance(options, dict):
        raise InvalidEntryError("its options are none")
    param = task_param(entry["task"], works, now, entry.get("args"), entry.get("kwargs"))
    param, said = with_options(param, options)
    notes += said
    if unknown := sorted(options.keys() - KNOWN_OPTIONS):
        notes.append(f"left out of its options: {', '.join(unknown)}")
    return Found(
        source=f"entry {name!r}",
        origin=ORIGIN,
        function=entry["task"],
        when=_schedule(entry.get("schedule"), tz),
        param=param,
        options=policy(name),
        notes=tuple(notes),
    )


def task_param(task: Any, works: Mapping[str, str], now: datetime, args: Any, kwargs: Any) -> TaskParam:
    """Return the task of an entry. Raises NotCarriedError."""
    if not isinstance(task, str):
        raise InvalidEntryError("its task is no text")
    if task in HOUSEKEEPING:
        raise NotCarriedError("it is celery's own housekeeping")
    args, kwargs = [] if args is None else args, {} if kwargs is None else kwargs
    if not isinstance(args, list) or not isinstance(kwargs, dict):
        raise InvalidEntryError("its args are no list, or its kwargs no object")
    work_id = work_id_of(task, works)
    return TaskParam(work_id=work_id, scheduled_time=now, param=Params(tuple(args), kwargs))


def with_options(param: TaskParam, options: dict[str, Any]) -> tuple[TaskParam, list[str]]:
    """Return the task with what its options say of queue, priority and expiry, and what is to be noted."""
    changes: dict[str, Any] = {}
    notes: list[str] = []
    if (queue := options.get("queue")) is not None:
        changes["queue"] = QUEUE_DEFAULT if queue == "celery" else queue
    if (priority := options.get("priority")) is not None:
        changes["priority"] = level = priority_of(priority)
        notes.append(f"priority {priority}, of which RabbitMQ's highest is 9 and Redis' 0, is {level.name.lower()}")
    if (expires := options.get("expires")) is not None:
        if isinstance(expires, bool) or not isinstance(expires, int | float):
            raise NotCarriedError("its tasks expire at one instant, whichever they are")
        changes["start_within"] = timedelta(seconds=expires)
    return replace(param, **changes), notes


def priority_of(value: Any) -> Priority:
    """Return the level of one of RabbitMQ's priorities, of which ten are in use."""
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= PRIORITY_MAX:
        raise InvalidEntryError(f"its priority is not 0 to {PRIORITY_MAX}")
    return Priority(min(value, 9) // 3)


def policy(name: str, **options: Any) -> ScheduleOptions:
    """Return how beat goes on: what is overdue is sent once when it comes back, and runs may overlap."""
    return ScheduleOptions(name=name, catchup="one", window=WINDOW_MAX, overlap="allow", **options)


def _schedule(value: Any, tz: str) -> Trigger | timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return span(value)
    text = value if isinstance(value, str) else ""
    if found := CRONTAB.fullmatch(text):
        texts = [field(one) for one in FIELD.findall(found["fields"])]
        if len(texts) == len(ORDERS[found["order"]]):
            return cron_of(Fields(**dict(zip(ORDERS[found["order"]], texts, strict=True))), tz)
    if (found := SPAN.fullmatch(text)) and not SPAN_PART.sub("", found["parts"]):
        return positive(timedelta(**{name: int(number) for name, number in SPAN_PART.findall(found["parts"])}))
    if found := FREQUENCY.fullmatch(text):
        return _frequency(found["number"], found["unit"])
    if text.startswith("<solar:"):
        raise NotCarriedError("the sun's times are none that a trigger has")
    raise NotCarriedError(f"its schedule is none that is known here: {text[:80]!r}")


def field(text: str) -> str:
    """Return a field of a crontab as kokugen writes it: `{0, 30}` is `0,30`, and `Monday` is `Mon`."""
    found = VALUES.fullmatch(text)
    listed = found[1] if found else text
    return re.sub(r"([A-Za-z]{3})[A-Za-z]+", r"\1", re.sub(r"\s", "", listed))


def _frequency(number: str, unit: str) -> timedelta:
    """Return a frequency, which celery rounds to a hundredth of the largest unit that it has one of."""
    if unit != "second" and not number.endswith(".00"):
        raise NotCarriedError(f"its schedule is rounded, {number} {unit}s: give it as a timedelta")
    return span(float(number) * UNITS_S[unit])


def span(seconds: float) -> timedelta:
    """Return a period. Raises NotCarriedError."""
    try:
        period = timedelta(seconds=seconds)
    except (OverflowError, ValueError):
        raise NotCarriedError(f"its period of {seconds} s cannot be") from None
    return positive(period)


def positive(period: timedelta) -> timedelta:
    """Return a period, or raise NotCarriedError where it is none."""
    if period <= timedelta(0):
        raise NotCarriedError(f"its period, {period}, is none: beat sends it again and again")
    return period
