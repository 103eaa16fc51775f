"""The triggers of APScheduler 3 as kokugen's, from the state that they are stored with.

`kokugen.importers.apscheduler` asks for the trigger of a job; what its fields hold was read as data, never unpickled.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, time, timedelta
from typing import Any

from kokugen.importers.fields import Fields, cron_of
from kokugen.importers.found import LATEST, NotCarriedError, bounded
from kokugen.importers.noted import date_of, instant_of, number_of, span_of, zone_of
from kokugen.importers.pickled import Made
from kokugen.recurrence.calendar import Windows
from kokugen.recurrence.calendar_interval import CalendarInterval
from kokugen.recurrence.combined import AllOf, AnyOf, During
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import Every
from kokugen.recurrence.trigger import Trigger
from kokugen.zones import load_zone

WEEKDAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
POSITIONS = ("#1", "#2", "#3", "#4", "#5", "L")
EXPRESSIONS = "apscheduler.triggers.cron.expressions"
PLAIN_FIELDS = ("second", "minute", "hour", "month")
TRIGGERS_MAX = 50
DEPTH_MAX = 5
DAY = timedelta(days=1)


class Reader:
    """Reads the trigger of one job; `jitter` and `notes` are what else it says."""

    def __init__(self) -> None:
        self.jitter = timedelta(0)
        self.notes: list[str] = []

    def read(self, value: Any) -> Trigger:
        """Return a stored trigger. Raises NotCarriedError, and TriggerError for what kokugen refuses."""
        if not isinstance(value, Made):
            raise NotCarriedError("its trigger is none")
        module, _, name = value.kind.rpartition(".")
        trigger = self._read(f"{module}:{name}", value.state, DEPTH_MAX)
        jitter = _state(value.state).get("jitter")
        if jitter:
            self.jitter = timedelta(seconds=number_of(jitter))
        return trigger

    def _read(self, kind: str, state: Any, depth: int) -> Trigger:
        read = KINDS.get(kind)
        if read is None or not depth:
            raise NotCarriedError(f"its trigger is {kind}, which is none of APScheduler's")
        return read(self, _state(state), depth)

    def cron(self, state: dict[str, Any], _: int) -> Trigger:
        zone = zone_of(state.get("timezone"))
        fields = dict(map(_field, _list(state.get("fields"))))
        if fields.get("week", ["*"]) != ["*"]:
            raise NotCarriedError("its cron trigger has a `week` of the year")
        texts = {name: _joined(fields.get(name, ["*"])) for name in PLAIN_FIELDS}
        day = _joined([item for item in fields.get("day", ["*"]) if item[:1] not in "mtwfs"])
        nth = _joined([item for item in fields.get("day", ["*"]) if item[:1] in "mtwfs"])
        texts |= {"day": day, "nth": nth, "weekday": _joined(fields.get("day_of_week", ["*"]))}
        trigger = cron_of(Fields(**texts), zone)
        return self._bounded(_in_years(trigger, fields.get("year", ["*"]), zone), state)

    def interval(self, state: dict[str, Any], _: int) -> Trigger:
        start = instant_of(state.get("start_date"))
        if start is None:
            raise NotCarriedError("its interval has no start")
        every = Every(span_of(state.get("interval")), start=start)
        return bounded(every, None, instant_of(state.get("end_date")))

    def date(self, state: dict[str, Any], _: int) -> Trigger:
        when = instant_of(state.get("run_date"))
        if when is None:
            raise NotCarriedError("its date trigger has no date")
        return Instants((when,))

    def calendar_interval(self, state: dict[str, Any], _: int) -> Trigger:
        zone, start = zone_of(state.get("timezone")), date_of(state.get("start_date"))
        years, months, weeks, days = (number_of(one) for one in _list(state.get("interval"), 4))
        hour, minute, second = (number_of(one) for one in _list(state.get("time"), 3))
        if start is None:
            raise NotCarriedError("its calendar interval has no start")
        trigger = CalendarInterval(
            start,
            years=years,
            months=months,
            weeks=weeks,
            days=days,
            at=_time(hour, minute, second),
            overflow="skip",
            tz=zone,
            gap="skip",
        )
        end = date_of(state.get("end_date"))
        last = None if end is None else datetime.combine(end + DAY, time(0), load_zone(zone)) - timedelta.resolution
        return bounded(trigger, None, last)

    def any_of(self, state: dict[str, Any], depth: int) -> Trigger:
        return AnyOf(self._parts(state, depth))

    def all_of(self, state: dict[str, Any], depth: int) -> Trigger:
        return AllOf(self._parts(state, depth))

    def _parts(self, state: dict[str, Any], depth: int) -> tuple[Trigger, ...]:
        parts: list[Trigger] = []
        for part in _list(state.get("triggers")):
            kind, inner = part if isinstance(part, tuple) and len(part) == 2 else ("none", None)
            parts.append(self._read(str(kind), inner, depth - 1))
            if _state(inner).get("jitter"):
                self.notes.append("the jitter of a trigger inside another is left out")
            if str(kind).endswith(":IntervalTrigger"):
                self.notes.append("its interval counts from its start: APScheduler's, among others, from each run")
        return tuple(parts)

    def _bounded(self, trigger: Trigger, state: dict[str, Any]) -> Trigger:
        return bounded(trigger, instant_of(state.get("start_date")), instant_of(state.get("end_date")))


KINDS: dict[str, Callable[[Reader, dict[str, Any], int], Trigger]] = {
    "apscheduler.triggers.cron:CronTrigger": Reader.cron,
    "apscheduler.triggers.interval:IntervalTrigger": Reader.interval,
    "apscheduler.triggers.date:DateTrigger": Reader.date,
    "apscheduler.triggers.calendarinterval:CalendarIntervalTrigger": Reader.calendar_interval,
    "apscheduler.triggers.combining:OrTrigger": Reader.any_of,
    "apscheduler.triggers.combining:AndTrigger": Reader.all_of,
}


def _field(value: Any) -> tuple[str, list[str]]:
    """Return a field's name and its items as kokugen writes them."""
    state = _state(value.state if isinstance(value, Made) else None)
    name = str(state.get("name"))
    items = [_item(name, one) for one in _list(state.get("expressions"))]
    return name, ["*"] if "*" in items else items


def _item(field: str, value: Any) -> str:
    if not isinstance(value, Made):
        raise NotCarriedError(f"the field {field!r} is damaged")
    kind, state = value.kind.removeprefix(f"{EXPRESSIONS}."), _state(value.state)
    if kind == "LastDayOfMonthExpression":
        return "L"
    if kind == "WeekdayPositionExpression":
        weekday, position = number_of(state.get("weekday")), number_of(state.get("option_num"))
        return f"{_of(WEEKDAYS, weekday)}{_of(POSITIONS, position)}"
    step = state.get("step")
    if kind == "AllExpression":
        return _stepped(field, None, None, step)
    if kind not in {"RangeExpression", "WeekdayRangeExpression", "MonthRangeExpression"}:
        raise NotCarriedError(f"the field {field!r} has a {value.kind}, which is none of APScheduler's")
    return _stepped(field, number_of(state.get("first")), state.get("last"), step)


def _stepped(field: str, first: int | None, last: int | None, step: int | None) -> str:
    """Return `first-last/step`, in the days of the week with names, since APScheduler's begin with Monday."""
    if first is None and step is None:
        return "*"
    if field == "day_of_week":
        values = range(first or 0, (6 if last is None else number_of(last)) + 1, number_of(step or 1))
        return ",".join(_of(WEEKDAYS, value) for value in values)
    if first is None:
        return f"1-31/{step}" if field == "day" else f"*/{step}"
    if last is None:
        return f"{first}/{step}"
    span = str(first) if first == last else f"{first}-{last}"
    return span if step is None else f"{first}-{last}/{step}"


def _in_years(trigger: Trigger, years: list[str], zone: str) -> Trigger:
    """Return the times in some years. Raises NotCarriedError for every second one, and the like."""
    if years == ["*"]:
        return trigger
    windows = []
    for item in years:
        first, _, last = item.partition("-")
        if "/" in item or not first.isdigit():
            raise NotCarriedError(f"its cron trigger has years by steps, {item!r}")
        windows.append((_new_year(int(first), zone), _new_year(int(last or first) + 1, zone)))
    return During(trigger, Windows(tuple(windows)))


def _new_year(year: int, zone: str) -> datetime:
    return datetime(year, 1, 1, tzinfo=load_zone(zone)) if 1970 <= year < LATEST.year else LATEST


def _time(hour: int, minute: int, second: int) -> time:
    try:
        return time(hour, minute, second)
    except ValueError as error:
        raise NotCarriedError(f"its time of the day cannot be: {error}") from error


def _joined(items: list[str]) -> str:
    return ",".join(items) if items else "*"


def _of(names: tuple[str, ...], number: int) -> str:
    if not 0 <= number < len(names):
        raise NotCarriedError(f"it has a number {number} for one of {len(names)} days")
    return names[number]


def _state(value: Any) -> dict[str, Any]:
    """Return the state of a stored object; one whose class has slots may be a pair, with it behind None."""
    if isinstance(value, tuple) and len(value) == 2:
        value = value[1]
    if not isinstance(value, dict):
        raise NotCarriedError("it was stored by a version of APScheduler that is not known here")
    return value


def _list(value: Any, length: int | None = None) -> list[Any]:
    if not isinstance(value, list | tuple) or len(value) > TRIGGERS_MAX or length not in {None, len(value)}:
        raise NotCarriedError("it was stored by a version of APScheduler that is not known here")
    return list(value)
