"""The stored text of schedules, read: trigger, policy and template, each text once."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Generic, TypeVar

import msgspec
from msgspec import Struct

from kokugen.clock import duration_us
from kokugen.errors import InvalidEntryError
from kokugen.recurrence.calendar import Calendar
from kokugen.recurrence.interval import After
from kokugen.recurrence.spec import load_spec
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.schedules.policy import Policy, Template

KEPT_MAX = 20_000

T = TypeVar("T")


class Definition(Struct, frozen=True):
    """What a schedule is, besides its row."""

    trigger: Trigger
    policy: Policy
    template: Template

    @property
    def delay_us(self) -> int | None:
        """Return how long after the end of each run the next is due; None where its times do not depend on runs."""
        return duration_us(self.trigger.delay) if isinstance(self.trigger, After) else None

    @property
    def reports(self) -> bool:
        """Return whether the schedule is to hear of the end of each of its tasks."""
        return self.trigger.after_completion or self.policy.failures_max is not None


class Definitions:
    """Reads rows. Triggers may name the `calendars`."""

    def __init__(self, calendars: Mapping[str, Calendar] | None = None) -> None:
        self._calendars = dict(calendars or {})
        self._triggers: _Known[Trigger] = _Known(lambda text: load_spec(text).bind(self._calendars))
        self._policies: _Known[Policy] = _Known(msgspec.json.Decoder(Policy).decode)
        self._templates: _Known[Template] = _Known(msgspec.json.Decoder(Template).decode)

    @property
    def calendars(self) -> Mapping[str, Calendar]:
        """Return the calendars that triggers may name."""
        return MappingProxyType(self._calendars)

    def add_calendar(self, name: str, calendar: Calendar) -> None:
        """Let triggers name a calendar, or another one from now on."""
        self._calendars[name] = calendar
        self._triggers.forget()

    def of(self, row: ScheduleRow) -> Definition:
        """Return what a row says. Raises KokugenError where it cannot be read here."""
        try:
            return Definition(self._triggers[row.spec], self._policies[row.policy], self._templates[row.template])
        except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
            raise InvalidEntryError(f"schedule {row.name!r} cannot be read: {error}") from error


class _Known(Generic[T]):
    """Values by their text; all are forgotten when they are too many."""

    def __init__(self, read: Callable[[str], T]) -> None:
        self._read = read
        self._values: dict[str, T] = {}

    def forget(self) -> None:
        """Read everything anew."""
        self._values.clear()

    def __getitem__(self, text: str) -> T:
        value = self._values.get(text)
        if value is None:
            value = self._read(text)
            if len(self._values) >= KEPT_MAX:
                self._values.clear()
            self._values[text] = value
        return value
