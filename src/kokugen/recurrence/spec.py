"""Triggers as plain data: a dictionary of JSON's types, and its text, as a store keeps it. Never code.

`{"type": "cron", "expression": "0 9 * * mon-fri", "tz": "Asia/Tokyo"}`; what is as by default is left out. A trigger
that is read from its spec equals the one that was written.
"""

from __future__ import annotations

from typing import Any, cast

import msgspec

from kokugen.errors import KokugenError, LimitExceededError, TriggerError
from kokugen.recurrence.any import AnyTrigger
from kokugen.recurrence.trigger import Trigger

SPEC_BYTES_MAX = 1024
"""How long the text of a spec may be, in UTF-8."""


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
    text = msgspec.json.encode(trigger)
    if len(text) > SPEC_BYTES_MAX:
        raise LimitExceededError(
            f"a trigger of {len(text)} bytes is longer than the {SPEC_BYTES_MAX} that a schedule may have:"
            " name a calendar instead of listing its days"
        )
    return text.decode()


def load_spec(text: str | bytes) -> Trigger:
    """Return the trigger of a JSON text.

    Raises TriggerError with the path of what is wrong: nothing unknown, missing or of another type is let through.
    Raises LimitExceededError, before it looks, where the text is longer than 1 KiB.
    """
    raw = text.encode() if isinstance(text, str) else text
    if len(raw) > SPEC_BYTES_MAX:
        raise LimitExceededError(f"trigger spec: {len(raw)} bytes are more than the {SPEC_BYTES_MAX} that one may have")
    try:
        return cast("Trigger", msgspec.json.decode(raw, type=AnyTrigger))
    except msgspec.DecodeError as error:
        if isinstance(error.__cause__, KokugenError):
            raise error.__cause__ from error
        raise TriggerError(f"trigger spec: {error}") from error
    except (RecursionError, UnicodeDecodeError) as error:
        raise TriggerError(f"trigger spec: {error}") from error
