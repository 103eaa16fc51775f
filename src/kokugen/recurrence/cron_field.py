"""One field of a cron expression: its text as a set of values, or an error with the column and what is allowed.

`kokugen.recurrence.cron_text` splits an expression into fields and reads each here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from hashlib import blake2b

from kokugen.errors import CronExpressionError
from kokugen.recurrence.bits import bits

MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
WEEKDAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")


@dataclass(frozen=True, slots=True)
class Kind:
    """What may stand in a field."""

    name: str
    low: int
    high: int
    names: tuple[str, ...] = ()
    first_name: int = 0
    extra: str = ""

    @property
    def one(self) -> str:
        """Return the name with its article."""
        return f"{'an' if self.name[0] == 'h' else 'a'} {self.name}"

    @property
    def allowed(self) -> str:
        """Say what may stand here."""
        names = f", {self.names[0]} to {self.names[-1]}" if self.names else ""
        more = f", {self.extra}" if self.extra else ""
        return f"{self.one} is {self.low} to {self.high}{names}, *, a range a-b, a step /n, a list a,b, H{more}"


SECOND = Kind("second", 0, 59)
MINUTE = Kind("minute", 0, 59)
HOUR = Kind("hour", 0, 23)
DAY = Kind("day of the month", 1, 31, extra="?, L, L-n, LW, nW")
MONTH = Kind("month", 1, 12, MONTHS, 1)
WEEKDAY = Kind("day of the week", 0, 7, WEEKDAYS, extra="?, n#k, nL")
FIVE = (MINUTE, HOUR, DAY, MONTH, WEEKDAY)
SIX = (SECOND, *FIVE)


@dataclass(frozen=True, slots=True)
class Field:
    """The values that a field allows, as bits; and what depends on the month.

    `is_star` is vixie cron's flag: the text begins with `*` (or is `?`). `is_wild`: an item is `*`, `*/n` or `H/n`.
    `from_end` are days before the last (0 is `L`), `near` the days of `nW` (0 is `LW`), `nth` pairs of weekday and
    number in the month (-1 is the last).
    """

    values: int = 0
    is_star: bool = False
    is_wild: bool = False
    from_end: tuple[int, ...] = ()
    near: tuple[int, ...] = ()
    nth: tuple[tuple[int, int], ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """A piece of an expression: the whole, where the piece begins (from 0), the piece, and the key of `H`."""

    expression: str
    at: int
    text: str
    key: str | None = None

    def part(self, start: int, end: int | None = None) -> Place:
        """Return a piece of this piece."""
        return Place(self.expression, self.at + start, self.text[start:end], self.key)

    def error(self, problem: str, allowed: str) -> CronExpressionError:
        """Return the error that points here."""
        return CronExpressionError(self.expression, self.at + 1, problem, allowed)


def read_field(place: Place, kind: Kind) -> Field:
    """Return the values of a field. Raises CronExpressionError."""
    field = Field(is_star=place.text.startswith("*") or place.text == "?")
    start = 0
    for text in place.text.split(","):
        field = _with_item(field, place.part(start, start + len(text)), kind)
        start += len(text) + 1
    return field


def _with_item(field: Field, item: Place, kind: Kind) -> Field:
    if not item.text:
        raise item.error("an item of a list is missing", kind.allowed)
    if item.text == "?":
        if not kind.extra:
            raise item.error("'?' can stand for a day only", kind.allowed)
        return replace(field, values=field.values | _full(kind))
    if kind is DAY and (special := _day(field, item)) is not None:
        return special
    if kind is WEEKDAY and (special := _weekday(field, item)) is not None:
        return special
    values, is_wild = _values(item, kind)
    return replace(field, values=field.values | values, is_wild=field.is_wild or is_wild)


def _day(field: Field, item: Place) -> Field | None:
    """Read `L`, `L-n`, `LW` and `nW`."""
    text = item.text.upper()
    if text == "LW":
        return replace(field, near=(*field.near, 0))
    if found := re.fullmatch(r"L(?:-([0-9]{1,2}))?", text):
        days = int(found[1] or 0)
        if days > 30:
            raise item.part(2).error(f"no month has a day that is {days} before its last", "L-n is L-1 to L-30")
        return replace(field, from_end=(*field.from_end, days))
    if found := re.fullmatch(r"([0-9]{1,2})W", text):
        near = _number(item.part(0, -1), DAY)
        return replace(field, near=(*field.near, near))
    return None


def _weekday(field: Field, item: Place) -> Field | None:
    """Read `n#k` and `nL`."""
    if "#" in item.text:
        at = item.text.index("#")
        weekday = _number(item.part(0, at), WEEKDAY) % 7
        number = item.part(at + 1)
        if number.text not in {"1", "2", "3", "4", "5"}:
            raise number.error(f"{number.text!r} is not the number of a week in a month", "n#k has k from 1 to 5")
        return replace(field, nth=(*field.nth, (weekday, int(number.text))))
    if item.text.upper() == "L":
        raise item.error("'L' needs a day of the week", "5L, or friL, is the last Friday of the month; sat is Saturday")
    if item.text[-1] in "Ll" and len(item.text) > 1:
        weekday = _number(item.part(0, -1), WEEKDAY) % 7
        return replace(field, nth=(*field.nth, (weekday, -1)))
    return None


def _values(item: Place, kind: Kind) -> tuple[int, bool]:
    """Return the values of a plain item, and whether it is a wildcard."""
    text, slash, _ = item.text.partition("/")
    step = _step(item.part(len(text) + 1), kind) if slash else 1
    base = item.part(0, len(text))
    if text[:1] in {"H", "h"}:
        return _hashed(base, step if slash else None, kind), bool(slash) and len(text) == 1
    if text == "*":
        return _spread(kind.low, _top(kind), step, kind), True
    low, dash, _ = text.partition("-")
    first = _number(base.part(0, len(low)), kind)
    if not dash:
        return _spread(first, _top(kind) if slash and first <= _top(kind) else first, step, kind), False
    return _spread(first, _number(base.part(len(low) + 1), kind), step, kind), False


def _spread(first: int, last: int, step: int, kind: Kind) -> int:
    """Return the values from first to last, by steps; a range that ends before it begins goes round."""
    size = _top(kind) - kind.low + 1
    if last < first:
        first, last = (first % size if kind is WEEKDAY else first), last + size
        last -= size if last - size >= first else 0
    return bits((value - kind.low) % size + kind.low for value in range(first, last + 1, step))


def _hashed(base: Place, step: int | None, kind: Kind) -> int:
    """Return the values of `H`, `H/n`, `H(a-b)` or `H(a-b)/n`: spread by a hash of the key and the field's name."""
    low, high = _hash_range(base, kind)
    if base.key is None:
        raise base.error("'H' needs a key to spread by", "give Cron(…, key='the name of the schedule')")
    digest = blake2b(f"{kind.name}\0{base.key}".encode(), digest_size=8).digest()
    number = int.from_bytes(digest, "big")
    if step is None:
        return 1 << low + number % (high - low + 1)
    return bits(range(low + number % min(step, high - low + 1), high + 1, step))


def _hash_range(base: Place, kind: Kind) -> tuple[int, int]:
    if len(base.text) == 1:
        return kind.low, 28 if kind is DAY else _top(kind)  # every month has a 28th
    found = re.fullmatch(r"[Hh]\((\w+)-(\w+)\)", base.text)
    if not found:
        raise base.error(f"{base.text!r} is not understood", "H may be H, H/n, H(a-b) or H(a-b)/n")
    low, high = (_number(base.part(*found.span(group)), kind) for group in (1, 2))
    if high < low:
        raise base.error(f"{base.text!r} ends before it begins", "H(a-b) needs a not above b")
    return low, min(high, _top(kind))


def _step(place: Place, kind: Kind) -> int:
    size = _top(kind) - kind.low + 1
    if not _is_digits(place.text) or not 1 <= int(place.text) <= size:
        raise place.error(f"{place.text!r} is not a step", f"the step of {kind.one} is 1 to {size}")
    return int(place.text)


def _number(place: Place, kind: Kind) -> int:
    name = place.text.lower()
    if name in kind.names:
        return kind.names.index(name) + kind.first_name
    if not _is_digits(place.text) or not kind.low <= int(place.text) <= kind.high:
        raise place.error(f"{place.text!r} is not {kind.one}", kind.allowed)
    return int(place.text)


def _is_digits(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3


def _top(kind: Kind) -> int:
    return 6 if kind is WEEKDAY else kind.high


def _full(kind: Kind) -> int:
    return bits(range(kind.low, _top(kind) + 1))
