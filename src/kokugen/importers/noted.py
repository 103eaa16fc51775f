"""What the notes of a pickle mean: instants, dates, spans, time zones and plain arguments, by the names of their kinds.

The importer of APScheduler reads a job's state with `kokugen.importers.pickled` and asks here for its parts. Only what
is named here has a meaning; everything else is refused by its name.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from datetime import date, datetime, timedelta, timezone, tzinfo
from typing import Any, TypeVar

from kokugen.importers.found import NotCarriedError
from kokugen.importers.pickled import Made, Named
from kokugen.zones import load_zone

T = TypeVar("T")
VALUES_MAX = 10_000
DEPTH_MAX = 50
NUMBER_MAX = 2**63
ZONE_FILE = re.compile(r".*/zoneinfo/(?P<name>[A-Za-z0-9_+/-]+)")
ZONES = ("zoneinfo.ZoneInfo", "backports.zoneinfo.ZoneInfo", "backports.zoneinfo._zoneinfo.ZoneInfo")


def zone_of(value: Any) -> str:
    """Return the IANA name of a stored time zone. Raises NotCarriedError where it has none."""
    found = _zone(value)
    name = found if isinstance(found, str) else _fixed_name(found)
    try:
        load_zone(name)
    except (LookupError, ValueError, OSError):
        raise NotCarriedError(f"there is no time zone {name!r} here") from None
    return name


def instant_of(value: Any) -> datetime | None:
    """Return a stored datetime, aware. Raises NotCarriedError."""
    if value is None:
        return None
    if not isinstance(value, Made) or value.name != "datetime.datetime" or not value.args:
        raise _unknown(value, "a datetime")
    naive = _datetime(_raw(value.args[0]))
    if len(value.args) != 2:
        raise NotCarriedError(f"the time {naive.isoformat()} has no time zone")
    return naive.replace(tzinfo=_tzinfo(value.args[1]))


def date_of(value: Any) -> date | None:
    """Return a stored date. Raises NotCarriedError."""
    if value is None:
        return None
    raw = _raw(value.args[0]) if isinstance(value, Made) and value.name == "datetime.date" and value.args else b""
    if len(raw) != 4:
        raise _unknown(value, "a date")
    return _checked(lambda: date(raw[0] * 256 + raw[1], raw[2], raw[3]))


def span_of(value: Any) -> timedelta:
    """Return a stored timedelta. Raises NotCarriedError."""
    if isinstance(value, Made) and value.name == "datetime.timedelta":
        days, seconds, us = (*(number_of(one) for one in value.args), 0, 0, 0)[:3]
        return _checked(lambda: timedelta(days, seconds, us))
    raise _unknown(value, "a timedelta")


def number_of(value: Any) -> int:
    """Return a stored whole number, of 63 bits. Raises NotCarriedError."""
    if type(value) is not int or not -NUMBER_MAX <= value < NUMBER_MAX:
        raise NotCarriedError("it has a number that is not one, or too large")
    return value


def plain_of(value: Any, what: str) -> Any:
    """Return a stored argument as plain data: JSON's values, times and spans. Raises NotCarriedError."""
    return _Plain(what).read(value, DEPTH_MAX)


class _Plain:
    """Reads one argument; counts, since a small pickle can name one list in another a million times over."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._count = 0

    def read(self, value: Any, depth: int) -> Any:
        self._count += 1
        if self._count > VALUES_MAX or not depth:
            raise NotCarriedError(f"{self._what} is nested too deep or too large")
        if value is None or isinstance(value, str | float | bool):
            return value
        if isinstance(value, int):
            return number_of(value)
        if isinstance(value, list | tuple | set | frozenset):
            return [self.read(one, depth - 1) for one in value]
        if isinstance(value, dict):
            return {self._key(key): self.read(one, depth - 1) for key, one in value.items()}
        return self._made(value)

    def _key(self, key: Any) -> str:
        if not isinstance(key, str):
            raise NotCarriedError(f"{self._what} has a key that is no text")
        return key

    def _made(self, value: Any) -> Any:
        readers: dict[str, Callable[[Any], Any]] = {
            "datetime.datetime": instant_of,
            "datetime.date": date_of,
            "datetime.timedelta": span_of,
        }
        if isinstance(value, Made) and value.name in readers:
            return readers[value.name](value)
        raise NotCarriedError(f"{self._what} is no plain data but {_called(value)}")


def _zone(value: Any) -> str | timedelta:
    """Return the name of a time zone, or its offset."""
    if not isinstance(value, Made):
        raise _unknown(value, "a time zone")
    name, args = value.kind, value.args
    if name in {f"{zone}{method}" for zone in ZONES for method in ("", "._unpickle")} and args:
        return str(args[0])
    if name in {"pytz._UTC", "dateutil.tz.tz.tzutc"}:
        return "UTC"
    if name == "pytz._p" and args:
        return str(args[0])
    if name == "pytz.FixedOffset" and args:
        return timedelta(minutes=number_of(args[0]))
    if name == "datetime.timezone" and args:
        return span_of(args[0])
    if name == "dateutil.tz.tz.tzoffset" and isinstance(value.state, dict):
        return span_of(value.state.get("_offset"))
    if name == "dateutil.tz.tz.tzfile" and args and (found := ZONE_FILE.fullmatch(str(args[-1]))):
        return found["name"]
    raise NotCarriedError(f"its time zone is {name}, which has no name that is known here")


def _fixed_name(offset: timedelta) -> str:
    """Return the IANA name of an offset of whole hours."""
    hours, rest = divmod(offset, timedelta(hours=1))
    if rest or not -12 <= hours <= 14:
        raise NotCarriedError(f"its time zone is the offset {offset}, which has no IANA name")
    return f"Etc/GMT{-hours:+d}" if hours else "UTC"


def _tzinfo(value: Any) -> tzinfo:
    """Return the zone of an instant; what pytz stores of one says the offset itself."""
    if isinstance(value, Made) and value.name == "pytz._p" and len(value.args) == 4:
        seconds = number_of(value.args[1])
        return _checked(lambda: timezone(timedelta(seconds=seconds)))
    found = _zone(value)
    if isinstance(found, timedelta):
        return _checked(lambda: timezone(found))
    return load_zone(zone_of(value))


def _datetime(raw: bytes) -> datetime:
    """Return the naive datetime of the ten bytes that datetime pickles, the fold in the month's highest bit."""
    if len(raw) != 10:
        raise NotCarriedError("it has a datetime that is damaged")
    year, us = raw[0] * 256 + raw[1], raw[7] * 65_536 + raw[8] * 256 + raw[9]
    month, fold = raw[2] & 0x7F, raw[2] >> 7
    return _checked(
        lambda: datetime(year, month, raw[3], raw[4], raw[5], raw[6], us, fold=fold)  # noqa: DTZ001 - its zone is next
    )


def _raw(value: Any) -> bytes:
    """Return stored bytes, which older protocols write as text that is to be encoded."""
    if isinstance(value, Made) and value.name == "_codecs.encode" and value.args[1:] == ("latin1",):
        value = value.args[0]
    if isinstance(value, str):
        return _checked(functools.partial(value.encode, "latin-1"))
    return value if isinstance(value, bytes) else b""


def _checked(make: Callable[[], T]) -> T:
    try:
        return make()
    except (ValueError, OverflowError) as error:
        raise NotCarriedError(f"it has a time that cannot be: {error}") from error


def _unknown(value: Any, wanted: str) -> NotCarriedError:
    return NotCarriedError(f"{_called(value)} is not {wanted} that is known here")


def _called(value: Any) -> str:
    return value.kind if isinstance(value, Made) else str(value) if isinstance(value, Named) else type(value).__name__
