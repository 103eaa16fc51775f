"""All kinds of triggers, for what reads any of them: each has a tag of its own in a spec."""

from __future__ import annotations

from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import After, Every

AnyTrigger = Cron | Every | After
