"""Cron fields that must all be right: the rule of APScheduler and celery, where crontab(5) takes either day.

Both importers write their fields as kokugen's and ask for the trigger here.
"""

from __future__ import annotations

from msgspec import Struct

from kokugen.recurrence.combined import AllOf
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.trigger import Trigger


class Fields(Struct, frozen=True, kw_only=True):
    """The texts of the fields. `nth` are numbered days of the week, `fri#2`: one of them, or `day`, is right."""

    second: str = "0"
    minute: str = "*"
    hour: str = "*"
    day: str = "*"
    nth: str = "*"
    month: str = "*"
    weekday: str = "*"


def cron_of(fields: Fields, tz: str) -> Trigger:
    """Return the times at which all fields are right. Raises TriggerError."""
    if fields.weekday == "*":
        return _cron(fields, fields.day, fields.nth, tz)
    if fields.nth == "*" and fields.day == "*":
        return _cron(fields, "*", fields.weekday, tz)
    days, weekdays = _cron(fields, fields.day, fields.nth, tz), _cron(fields, "*", fields.weekday, tz)
    return AllOf((days, weekdays))


def _cron(fields: Fields, day: str, weekday: str, tz: str) -> Cron:
    second = "" if fields.second == "0" else f"{fields.second} "
    return Cron(f"{second}{fields.minute} {fields.hour} {day} {fields.month} {weekday}", tz=tz)
