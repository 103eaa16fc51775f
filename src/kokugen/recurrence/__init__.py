"""What recurs: triggers and the calendars that limit them, as plain data; and the seed's cron rows."""

from kokugen.recurrence.calendar import (
    BusinessDays,
    Calendar,
    Complement,
    Days,
    Joined,
    Named,
    Weekly,
    Windows,
)
from kokugen.recurrence.calendar_interval import CalendarInterval
from kokugen.recurrence.combined import AllOf, AnyOf, During, Outside, Without
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.icalendar import read_icalendar
from kokugen.recurrence.instants import Instants
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.nth_day import NthDay
from kokugen.recurrence.rrule import RRule
from kokugen.recurrence.spec import dump_calendar, dump_spec, from_spec, load_calendar, load_spec, to_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.zones import tz_version

__all__ = [
    "After",
    "AllOf",
    "AnyOf",
    "BusinessDays",
    "Calendar",
    "CalendarInterval",
    "Complement",
    "Cron",
    "Days",
    "During",
    "Every",
    "Instants",
    "Joined",
    "Named",
    "NthDay",
    "Outside",
    "RRule",
    "Trigger",
    "Weekly",
    "Windows",
    "Without",
    "dump_calendar",
    "dump_spec",
    "from_spec",
    "load_calendar",
    "load_spec",
    "read_icalendar",
    "to_spec",
    "tz_version",
]
