"""A cron expression as masks: fields, macros, `@every`, a zone before it, and the rule for days.

`parse` is where every text of a cron expression comes in: by `Cron`, by a stored spec, by an importer.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from kokugen.errors import CronExpressionError, TriggerError
from kokugen.recurrence.bits import bits, repeated
from kokugen.recurrence.cron_field import FIVE, SIX, Field, Place, read_field
from kokugen.recurrence.pattern import Pattern, minutes_of_day
from kokugen.recurrence.wall import MaskedWalls, check_zone

EXPRESSION_MAX = 512
"""How long an expression may be, in characters."""
MACROS = {
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
    "@monthly": "0 0 1 * *",
    "@weekly": "0 0 * * 0",
    "@daily": "0 0 * * *",
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
}
UNITS_S = {"w": 604_800, "d": 86_400, "h": 3600, "m": 60, "s": 1}
EVERY_MAX_S = 40 * 366 * 86_400
FIELDS = "5 fields: minute hour day month weekday; or 6 with the second first; or @daily and the like"


@dataclass(frozen=True, slots=True)
class Parsed:
    """What an expression says: local times, its own zone, and whether it goes by real time."""

    walls: MaskedWalls
    tz: str | None
    is_real: bool


class Rate:
    """Walls at whole multiples of a period since 1970-01-01: `@every`, by the clock of UTC."""

    __slots__ = ("_period_s",)

    def __init__(self, period_s: int) -> None:
        self._period_s = period_s

    def at_or_after(self, wall: int) -> int:
        return -(-wall // self._period_s) * self._period_s

    def before(self, wall: int) -> int:
        return (wall - 1) // self._period_s * self._period_s

    def count(self, start: int, end: int) -> int:
        return (end - 1) // self._period_s - (start - 1) // self._period_s

    def mask(self, start: int, end: int) -> int:
        return repeated(-start % self._period_s, self._period_s, end - start)


def parse(expression: str, key: str | None = None) -> Parsed:
    """Return what an expression says; `key` is what `H` spreads by.

    Raises CronExpressionError, with the column, for what is not valid or can never come true.
    """
    if not isinstance(expression, str):
        raise TriggerError(f"cron expression {expression!r} is not a text")
    if len(expression) > EXPRESSION_MAX:
        shown = expression[:40] + "…"
        raise CronExpressionError(shown, EXPRESSION_MAX + 1, "it is too long", f"{EXPRESSION_MAX} characters may be")
    words = [Place(expression, found.start(), found[0], key) for found in re.finditer(r"[^ \t]+", expression)]
    tz = _zone(words[0]) if words and "=" in words[0].text else None
    words = words[1:] if tz is not None else words
    if not words:
        raise Place(expression, len(expression), "").error("it is empty", FIELDS)
    if words[0].text.startswith("@"):
        return _macro(words, tz)
    return _fields(words, tz)


def _zone(word: Place) -> str:
    name, _, zone = word.text.partition("=")
    if name not in {"TZ", "CRON_TZ"}:
        raise word.error(f"{name!r} is not understood", "only TZ=zone or CRON_TZ=zone may stand before the fields")
    try:
        check_zone(zone)
    except TriggerError as error:
        raise word.part(len(name) + 1).error(f"there is no time zone {zone!r}", "give an IANA name") from error
    return zone


def _macro(words: list[Place], tz: str | None) -> Parsed:
    name = words[0].text.lower()
    if name == "@every" and len(words) == 2:
        if tz is not None:
            raise words[0].error("'@every' goes by real time and has no zone", "leave TZ= out")
        return Parsed(Rate(_period_s(words[1])), "UTC", is_real=True)
    if name == "@reboot":
        raise words[0].error("'@reboot' is no time", "schedule the work when the application starts")
    if name not in MACROS:
        raise words[0].error(f"{words[0].text!r} is not known", f"{', '.join(MACROS)} or @every 1h30m")
    if len(words) > 1:
        raise words[1].error(f"nothing may follow {name!r}", FIELDS)
    fields = MACROS[name].split(" ")
    return _fields([Place(words[0].expression, words[0].at, text) for text in fields], tz)


def _period_s(place: Place) -> int:
    """Read `1h30m`."""
    allowed = "a period is like 90s, 5m, 1h30m, 1d or 2w, of at least 1s and at most 40 years"
    if not re.fullmatch(r"([0-9]{1,9}[wdhms])+", place.text):
        raise place.error(f"{place.text!r} is not a period", allowed)
    period_s = sum(int(number) * UNITS_S[unit] for number, unit in re.findall(r"([0-9]+)([wdhms])", place.text))
    if not 1 <= period_s <= EVERY_MAX_S:
        raise place.error(f"{place.text!r} is too short or too long", allowed)
    return period_s


def _fields(words: list[Place], tz: str | None) -> Parsed:
    if len(words) > len(SIX):
        raise words[len(SIX)].error("there are more than 6 fields", f"{FIELDS}; there is none for the year")
    if len(words) < len(FIVE):
        end = words[-1].part(len(words[-1].text))
        raise end.error(f"there {'is' if len(words) == 1 else 'are'} {len(words)} of 5 fields", FIELDS)
    kinds = FIVE if len(words) == len(FIVE) else SIX
    read = [read_field(word, kind) for word, kind in zip(words, kinds, strict=True)]
    second, (minute, hour, day, month, weekday) = (read[0] if kinds is SIX else Field(values=1)), read[-5:]
    pattern = Pattern(
        second.values,
        minutes_of_day(hour.values, minute.values),
        month.values,
        lambda first, length: days_of_month(day, weekday, first, length),
    )
    if not pattern.is_possible():
        raise words[-3].error("it never comes true", "no month that is allowed has such a day")
    return Parsed(pattern, tz, is_real=second.is_wild or minute.is_wild or hour.is_wild)


def days_of_month(day: Field, weekday: Field, first: int, length: int) -> int:
    """Return the days of a month as bits 1 to 31, by the weekday of its first and its length.

    The rule of crontab(5): where both fields are restricted, a day is right that is right for either. Where one
    begins with `*`, or is `?`, a day must be right for both.
    """
    of_month, of_week = _by_day(day, first, length), _by_weekday(weekday, first, length)
    return of_month & of_week if day.is_star or weekday.is_star else of_month | of_week


def _by_day(field: Field, first: int, length: int) -> int:
    from_end = bits(length - before for before in field.from_end if before < length)
    near = bits(_nearest(day or length, first, length) for day in field.near if day <= length)
    return field.values | from_end | near


def _nearest(day: int, first: int, length: int) -> int:
    """Return the day from Monday to Friday that is nearest to a day, in the same month (Quartz's `W`)."""
    weekday = (first + day - 1) % 7
    if weekday == 6:
        return day - 1 if day > 1 else day + 2
    if weekday == 0:
        return day + 1 if day < length else day - 2
    return day


def _by_weekday(field: Field, first: int, length: int) -> int:
    plain = bits(day for day in range(1, length + 1) if field.values >> (first + day - 1) % 7 & 1)
    return plain | bits(day for weekday, number in field.nth if (day := _nth(weekday, number, first, length)))


def _nth(weekday: int, number: int, first: int, length: int) -> int:
    """Return the day that is the nth, or with -1 the last, such weekday of the month; 0 where there is none."""
    day = 1 + (weekday - first) % 7
    if number < 0:
        return day + (length - day) // 7 * 7
    day += 7 * (number - 1)
    return day if day <= length else 0
