"""RRule: the recurrence rules of iCalendar (RFC 5545), with dates that are left out and dates that are added.

`rrule_text` reads a rule, `expansion` has its local times, and `wall` turns those into instants.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cached_property

from msgspec.structs import force_setattr

from kokugen.errors import TriggerError
from kokugen.recurrence.expansion import Dated, Expansion, wall_of
from kokugen.recurrence.rrule_text import Rule, read_rule, read_time
from kokugen.recurrence.wall import MAX_S, Fold, Gap, Walls, WallTrigger
from kokugen.zones import load_zone

DATES_MAX = 1000


class RRule(WallTrigger, frozen=True, tag="rrule"):
    """The times of an RRULE from `start` on, without `exdates`, and those of `rdates`.

    `RRule("FREQ=MONTHLY;BYDAY=-1FR", datetime(2026, 1, 1, 9), tz="Europe/Berlin")`. The dates are local times in `tz`
    (aware ones are converted). `start` is a time only where the rule has it. Rules by the hour, minute or second go by
    real time. Raises TriggerError for what is not carried.
    """

    rule: str
    start: datetime
    exdates: tuple[datetime, ...] = ()
    rdates: tuple[datetime, ...] = ()

    def __post_init__(self) -> None:
        super().__post_init__()
        if len(self.exdates) + len(self.rdates) > DATES_MAX:
            raise TriggerError(f"RRule: there are more than {DATES_MAX} dates")
        force_setattr(self, "start", self._local(self.start))
        for name in ("exdates", "rdates"):
            force_setattr(self, name, tuple(sorted({self._local(when) for when in getattr(self, name)})))
        if self.walls.at_or_after(-MAX_S) is None:
            raise TriggerError(f"RRule: {self.rule!r} never comes true from {self.start.isoformat()} on")

    @classmethod
    def from_ical(cls, text: str, *, tz: str = "UTC", gap: Gap = "after", fold: Fold = "first") -> RRule:
        """Return the trigger of the lines DTSTART, RRULE, EXDATE and RDATE. `tz` is for times without a TZID or Z."""
        return _from_lines(text, tz, gap, fold)

    @property
    def is_real(self) -> bool:
        return self._rule.is_sub_daily

    @property
    def zone_name(self) -> str:
        return "UTC" if self._rule.is_rate else self.tz

    @property
    def begins(self) -> int:
        return wall_of(min(self.start, *self.rdates)) if self.rdates else wall_of(self.start)

    @property
    def ends(self) -> int:
        last = self._expansion.last
        return MAX_S if last is None else max(last, *map(wall_of, self.rdates)) if self.rdates else last

    @cached_property
    def walls(self) -> Walls:
        """Its local times; where it is an interval of real time, those of a clock in UTC."""
        exdates, rdates = ([wall_of(self._told(when)) for when in dates] for dates in (self.exdates, self.rdates))
        return Dated(self._expansion, frozenset(exdates), sorted(rdates)) if exdates or rdates else self._expansion

    @cached_property
    def _expansion(self) -> Expansion:
        rule, until = self._rule, self._rule.until
        if until is not None and rule.is_until_utc != rule.is_rate:
            until = self._in_utc(until) if rule.is_rate else self._local(until.replace(tzinfo=UTC))
        return Expansion(rule, self._told(self.start), until)

    def _told(self, when: datetime) -> datetime:
        """Return a local time as the clock of the walls tells it."""
        return self._in_utc(when) if self._rule.is_rate else when

    @cached_property
    def _rule(self) -> Rule:
        return read_rule(self.rule)

    def _local(self, when: datetime) -> datetime:
        """Return a time as the clock in the zone shows it."""
        if not isinstance(when, datetime) or when.microsecond or not 1970 <= when.year < 9000:
            raise TriggerError(f"RRule: {when!r} is not a datetime in whole seconds, of the years 1970 to 8999")
        return when if when.tzinfo is None else when.astimezone(load_zone(self.tz)).replace(tzinfo=None, fold=0)

    def _in_utc(self, when: datetime) -> datetime:
        return when.replace(tzinfo=load_zone(self.tz)).astimezone(UTC).replace(tzinfo=None)


def _from_lines(text: str, tz: str, gap: Gap, fold: Fold) -> RRule:
    """Read the lines (RFC 5545, 3.8.5), of which all but EXDATE and RDATE can be there once."""
    found: dict[str, list[datetime]] = {"DTSTART": [], "EXDATE": [], "RDATE": []}
    rules, zones = [], set()
    for line in re.sub(r"\r?\n[ \t]", "", text).split("\n"):
        if not line.strip():
            continue
        name, zone, value = _line(line.strip())
        if name == "RRULE":
            rules.append(value)
            continue
        if name not in found:
            raise TriggerError(f"iCalendar: {name} is not carried; the lines are DTSTART, RRULE, EXDATE and RDATE")
        zones |= {zone} if zone else set()
        found[name] += [read_time(name, one) for one in value.split(",")]
    if len(rules) != 1 or len(found["DTSTART"]) != 1 or len(zones) > 1:
        raise TriggerError("iCalendar: give one DTSTART and one RRULE, and one TZID at most")
    (start,) = found["DTSTART"]
    zone = "UTC" if start.tzinfo is not None else next(iter(zones), tz)
    return RRule(rules[0], start, tuple(found["EXDATE"]), tuple(found["RDATE"]), tz=zone, gap=gap, fold=fold)


def _line(line: str) -> tuple[str, str | None, str]:
    """Split `NAME;TZID=zone:value`."""
    head, colon, value = line.partition(":")
    name, *parameters = head.split(";")
    if not colon:
        raise TriggerError(f"iCalendar: {line!r:.80} is not a line such as DTSTART;TZID=Europe/Berlin:20260101T090000")
    zone = None
    for parameter in parameters:
        if parameter.upper().startswith("TZID="):
            zone = parameter[5:].strip('"')
        elif parameter.upper() not in {"VALUE=DATE-TIME", "VALUE=DATE"}:
            raise TriggerError(f"iCalendar: {parameter!r} of {name} is not carried")
    return name.upper(), zone, value
