"""Triggers as plain data: a dictionary of JSON's types, and its text, as a store keeps it. Never code.

`{"type": "cron", "expression": "0 9 * * mon-fri", "tz": "Asia/Tokyo"}`; what is as by default is left out. A trigger
that is read from its spec equals the one that was written.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from kokugen.errors import KokugenError, LimitExceededError, TriggerError
from kokugen.recurrence.calendar import AnyCalendar, Calendar
from kokugen.recurrence.combined import AnyTrigger
from kokugen.recurrence.trigger import Trigger

SPEC_BYTES_MAX = 1024
"""How long the text of a trigger may be, in UTF-8."""
CALENDAR_BYTES_MAX = 65_536
"""How long the text of a calendar that is stored by its name may be."""


def to_spec(trigger: Trigger) -> dict[str, Any]:
    """Return a trigger as a dictionary that JSON can hold.

    Raises LimitExceededError where its text would be longer than 1 KiB: name a calendar instead of listing its days.
    """
    return cast("dict[str, Any]", msgspec.json.decode(dump_spec(trigger)))


def from_spec(spec: dict[str, Any]) -> Trigger:
    """Return the trigger of a dictionary that `to_spec` made. Raises TriggerError as `load_spec` does."""
    try:
        text = msgspec.json.encode(spec)
    except (TypeError, ValueError, RecursionError) as error:
        raise TriggerError(f"trigger spec: it is not plain data: {error}") from error
    return load_spec(text)


def dump_spec(trigger: Trigger) -> str:
    """Return a trigger as JSON text, always the same for equal triggers."""
    return _dump("trigger", trigger, SPEC_BYTES_MAX)


def load_spec(text: str | bytes) -> Trigger:
    """Return the trigger of a JSON text.

    Raises TriggerError with the path of what is wrong: nothing unknown, missing or of another type is let through.
    Raises LimitExceededError, before it looks, where the text is longer than 1 KiB.
    """
    return cast("Trigger", _load("trigger", text, AnyTrigger, SPEC_BYTES_MAX))


def dump_calendar(calendar: Calendar) -> str:
    """Return a calendar as JSON text, always the same for equal calendars. It may have 64 KiB."""
    return _dump("calendar", calendar, CALENDAR_BYTES_MAX)


def load_calendar(text: str | bytes) -> Calendar:
    """Return the calendar of a JSON text, as strictly as `load_spec` does."""
    return cast("Calendar", _load("calendar", text, AnyCalendar, CALENDAR_BYTES_MAX))


def _dump(what: str, value: Trigger | Calendar, size_max: int) -> str:
    text = msgspec.json.encode(value)
    if len(text) > size_max:
        raise LimitExceededError(
            f"a {what} of {len(text)} bytes is longer than the {size_max} that one may have:"
            " name a calendar instead of listing its days"
        )
    return text.decode()


def _load(what: str, text: str | bytes, kind: Any, size_max: int) -> object:
    try:
        raw = text.encode() if isinstance(text, str) else text
    except UnicodeEncodeError as error:
        raise TriggerError(f"{what} spec: it is no text that can be stored: {error}") from error
    if len(raw) > size_max:
        raise LimitExceededError(f"{what} spec: {len(raw)} bytes are more than the {size_max} that one may have")
    try:
        return msgspec.json.decode(raw, type=kind)
    except msgspec.DecodeError as error:
        if isinstance(error.__cause__, KokugenError):
            raise error.__cause__ from error
        raise TriggerError(f"{what} spec: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise TriggerError(f"{what} spec: {error}") from error
