"""The text of an RRULE (RFC 5545, 3.3.10) as checked parts. What is not carried is refused by name.

`kokugen.recurrence.rrule` expands what is read here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime

from kokugen.errors import TriggerError

RULE_MAX = 500
INTERVAL_MAX = 1000
COUNT_MAX = 100_000
FREQS = ("YEARLY", "MONTHLY", "WEEKLY", "DAILY", "HOURLY", "MINUTELY", "SECONDLY")
WEEKDAYS = ("MO", "TU", "WE", "TH", "FR", "SA", "SU")
RANGES = {
    "BYSECOND": (0, 59),
    "BYMINUTE": (0, 59),
    "BYHOUR": (0, 23),
    "BYMONTHDAY": (1, 31),
    "BYYEARDAY": (1, 366),
    "BYWEEKNO": (1, 53),
    "BYMONTH": (1, 12),
    "BYSETPOS": (1, 366),
}
FROM_END = {"BYMONTHDAY", "BYYEARDAY", "BYWEEKNO", "BYSETPOS"}
PARTS = {"FREQ", "INTERVAL", "COUNT", "UNTIL", "WKST", "BYDAY", *RANGES}
# What RFC 5545 gives no meaning to, by frequency.
MEANINGLESS = {
    "BYWEEKNO": set(FREQS) - {"YEARLY"},
    "BYYEARDAY": {"DAILY", "WEEKLY", "MONTHLY"},
    "BYMONTHDAY": {"WEEKLY"},
}


@dataclass(frozen=True, slots=True)
class Rule:
    """The parts of a rule. `until` is local, or in UTC where `is_until_utc`; days of the week count from Monday, 0."""

    freq: str
    interval: int
    count: int | None
    until: datetime | None
    is_until_utc: bool
    week_start: int
    by_day: tuple[tuple[int, int], ...]
    by: dict[str, tuple[int, ...]]

    @property
    def is_sub_daily(self) -> bool:
        """Return whether it comes by hours, minutes or seconds."""
        return self.freq in FREQS[4:]

    @property
    def is_rate(self) -> bool:
        """Return whether it is nothing but an interval of real time."""
        return self.is_sub_daily and not self.by and not self.by_day


def read_rule(text: str) -> Rule:
    """Return the parts of a rule, such as "FREQ=MONTHLY;BYDAY=-1FR". Raises TriggerError."""
    if not isinstance(text, str) or len(text) > RULE_MAX:
        raise TriggerError(f"RRULE: {text!r:.60} is not a text of at most {RULE_MAX} characters")
    parts = _parts(text)
    freq = parts.get("FREQ", "")
    if freq not in FREQS:
        raise TriggerError(f"RRULE {text!r}: FREQ={freq} is not one of {', '.join(FREQS)}")
    for name, frequencies in MEANINGLESS.items():
        if name in parts and freq in frequencies:
            raise TriggerError(f"RRULE {text!r}: {name} means nothing with FREQ={freq} (RFC 5545)")
    if "COUNT" in parts and "UNTIL" in parts:
        raise TriggerError(f"RRULE {text!r}: give COUNT or UNTIL, and not both (RFC 5545)")
    if "BYSETPOS" in parts and freq in FREQS[4:]:
        raise TriggerError(f"RRULE {text!r}: BYSETPOS with FREQ={freq} is not carried")
    return Rule(
        freq=freq,
        interval=_number("INTERVAL", parts.get("INTERVAL", "1"), 1, INTERVAL_MAX),
        count=_number("COUNT", parts["COUNT"], 1, COUNT_MAX) if "COUNT" in parts else None,
        until=_time("UNTIL", parts["UNTIL"]) if "UNTIL" in parts else None,
        is_until_utc=parts.get("UNTIL", "").endswith("Z"),
        week_start=_weekday("WKST", parts.get("WKST", "MO")),
        by_day=_by_day(parts["BYDAY"], freq, numbered="BYWEEKNO" not in parts) if "BYDAY" in parts else (),
        by={name: _numbers(name, parts[name]) for name in RANGES if name in parts},
    )


def _parts(text: str) -> dict[str, str]:
    parts: dict[str, str] = {}
    for part in text.upper().removeprefix("RRULE:").split(";"):
        name, equals, value = part.partition("=")
        if name not in PARTS or not equals or not value:
            raise TriggerError(f"RRULE {text!r}: {part!r} is not carried; a part is one of {', '.join(sorted(PARTS))}")
        if name in parts:
            raise TriggerError(f"RRULE {text!r}: {name} is there twice")
        parts[name] = value
    return parts


def _numbers(name: str, text: str) -> tuple[int, ...]:
    low, high = RANGES[name]
    numbers = []
    for one in text.split(","):
        is_from_end = name in FROM_END and one.startswith("-")
        number = _number(name, one[1:] if is_from_end else one, low, high)
        numbers.append(-number if is_from_end else number)
    return tuple(sorted(set(numbers)))


def _number(name: str, text: str, low: int, high: int) -> int:
    digits = text.removeprefix("+")
    if not re.fullmatch(r"[0-9]{1,6}", digits) or not low <= int(digits) <= high:
        raise TriggerError(f"RRULE: {name}={text} is not {low} to {high}")
    return int(digits)


def _by_day(text: str, freq: str, *, numbered: bool) -> tuple[tuple[int, int], ...]:
    """Read "MO,-1FR": the day of the week, and its number in the month or year, or 0."""
    days = []
    for one in text.split(","):
        number = one[:-2]
        if number and (freq not in {"YEARLY", "MONTHLY"} or not numbered):
            raise TriggerError(f"RRULE: BYDAY={one} means nothing with FREQ={freq} (RFC 5545)")
        size = _number("BYDAY", number.lstrip("+-"), 1, 53) if number else 0
        days.append((_weekday("BYDAY", one[-2:]), -size if number.startswith("-") else size))
    return tuple(days)


def _weekday(name: str, text: str) -> int:
    if text not in WEEKDAYS:
        raise TriggerError(f"RRULE: {name}={text} is not one of {', '.join(WEEKDAYS)}")
    return WEEKDAYS.index(text)


def _time(name: str, text: str) -> datetime:
    if re.fullmatch(r"[0-9]{8}", text):
        raise TriggerError(f"RRULE: {name}={text} is a date: give a time too, such as {text}T235959")
    return read_time(name, text).replace(tzinfo=None)


def read_time(name: str, text: str) -> datetime:
    """Return "20261231T090000" as a naive datetime, and one with a Z in UTC; a date is its midnight."""
    found = re.fullmatch(r"([0-9]{8})(?:T([0-9]{6})(Z?))?", text)
    if found:
        try:
            when = datetime.strptime(found[1] + (found[2] or "000000"), "%Y%m%d%H%M%S")  # noqa: DTZ007 - Z is below
            return when.replace(tzinfo=UTC) if found[3] else when
        except ValueError:
            pass
    raise TriggerError(f"{name}: {text!r} is not a time such as 20261231T090000 or 20261231T080000Z")
