"""The fields of a line of a crontab, as a cron expression of kokugen: read as cron reads them, and no more.

kokugen's expressions have more than cron's; what cron would refuse is refused here, with its column.
"""

from __future__ import annotations

import re

from msgspec import Struct

from kokugen.importers.found import NotCarriedError
from kokugen.recurrence.cron_field import FIVE, WEEKDAY, Kind, Place, read_field
from kokugen.recurrence.cron_text import MACROS

ORDER = "minute hour day month weekday"
WORD = re.compile(r"[ \t]*([^ \t]+)")
ITEM = re.compile(r"(?P<low>\*|[0-9]+|[A-Za-z]{3})(?:-(?P<high>[0-9]+|[A-Za-z]{3}))?(?P<step>/[0-9]+)?")
RANDOM = re.compile(r"(?P<low>[0-9]*)~(?P<high>[0-9]*)(?P<step>/[0-9]+)?")


class Line(Struct, frozen=True):
    """What a line says of time: an expression, where the rest of the line begins, and cronie's `-` in front."""

    expression: str
    end: int
    is_quiet: bool = False


def read_line(line: str) -> Line:
    """Return the time of a line. Raises CronExpressionError, with the column; NotCarriedError for `@reboot`."""
    start = len(line) - len(line.lstrip(" \t"))
    is_quiet = line[start : start + 1] == "-"
    words = _words(line, start + is_quiet)
    if not words:
        raise Place(line, len(line), "").error("there are 0 of 5 fields", ORDER)
    if words[0].text.startswith("@"):
        return Line(_macro(words[0]), words[0].at + len(words[0].text), is_quiet)
    if len(words) < len(FIVE):
        last = words[-1]
        raise last.part(len(last.text)).error(f"there are {len(words)} of 5 fields", ORDER)
    texts = [_field(word, kind) for word, kind in zip(words, FIVE, strict=True)]
    return Line(" ".join(texts), words[-1].at + len(words[-1].text), is_quiet)


def _words(line: str, start: int) -> list[Place]:
    """Return the first five words; of the line no more is told than them, for a command may hold a secret."""
    spans: list[tuple[int, int]] = []
    at = start
    while len(spans) < len(FIVE) and (found := WORD.match(line, at)):
        spans.append(found.span(1))
        at = found.end()
    shown = line[: spans[0][1] if spans and line.startswith("@", spans[0][0]) else at]
    return [Place(shown, first, line[first:last], "any") for first, last in spans]


def _macro(word: Place) -> str:
    name = word.text
    if name == "@reboot":
        raise NotCarriedError("@reboot is no time: run it when your application starts")
    if name not in MACROS:
        raise word.error(f"{word.text!r} is not known", f"{', '.join(MACROS)} or @reboot")
    return name


def _field(place: Place, kind: Kind) -> str:
    """Return a field as kokugen writes it."""
    items: list[str] = []
    at = 0
    for text in place.text.split(","):
        items.append(_item(place.part(at, at + len(text)), kind))
        at += len(text) + 1
    return ",".join(items)


def _item(item: Place, kind: Kind) -> str:
    if found := RANDOM.fullmatch(item.text):
        top = 6 if kind is WEEKDAY else kind.high
        text = f"H({found['low'] or kind.low}-{found['high'] or top}){_step(found['step'], kind)}"
    elif found := ITEM.fullmatch(item.text):
        if found["step"] and not found["high"] and found["low"] != "*":
            raise item.error(f"{item.text!r} has a step and no range", "write a-b/n: cron refuses it, or leaves it out")
        text = item.text.removesuffix(found["step"] or "") + _step(found["step"], kind)
    else:
        names = f", {kind.names[0]} to {kind.names[-1]}" if kind.names else ""
        allowed = f"{kind.one} is {kind.low} to {kind.high}{names}, *, a range a-b, a step /n, a list a,b, a~b"
        raise item.error(f"{item.text!r} is not {kind.one} of cron", allowed)
    read_field(Place(item.expression, item.at, text, item.key), kind)
    if found["high"] and found["low"] and _value(found["high"], kind) < _value(found["low"], kind):
        raise item.error(f"{item.text!r} ends before it begins", "cron goes round no range: write both parts of it")
    return text


def _step(text: str | None, kind: Kind) -> str:
    """Return the step; one that is longer than the range, which cron allows, is as long as it."""
    if text is None:
        return ""
    size = (7 if kind is WEEKDAY else kind.high + 1) - kind.low
    return f"/{min(int(text[1:]), size)}"


def _value(text: str, kind: Kind) -> int:
    return int(text) if text.isdigit() else kind.names.index(text.lower()) + kind.first_name
