"""What recurs: triggers, and the seed's cron rows."""

from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import After, Every
from kokugen.recurrence.spec import dump_spec, from_spec, load_spec, to_spec
from kokugen.recurrence.trigger import Trigger

__all__ = [
    "After",
    "Cron",
    "Every",
    "Trigger",
    "dump_spec",
    "from_spec",
    "load_spec",
    "to_spec",
]
