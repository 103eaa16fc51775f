"""The base of what a spec can hold, triggers and calendars: frozen fields, a repr that reads as the call, and names.

A calendar can be named in place of being spelt out; `bind` puts the calendars in for their names.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, TypeVar

from msgspec import Struct
from msgspec.structs import fields, replace

from kokugen.errors import TriggerError

if TYPE_CHECKING:
    from kokugen.recurrence.calendar import Calendar

NAME_MAX = 200

P = TypeVar("P", bound="Plain")


class Plain(Struct, frozen=True, dict=True, forbid_unknown_fields=True, omit_defaults=True, tag_field="type"):
    """Plain data: equal where its fields are, hashable, and without anything that could not be written as JSON."""

    def bind(self: P, calendars: Mapping[str, Calendar]) -> P:  # noqa: PYI019 - msgspec resolves annotations
        """Return this with the calendars that it names in place of their names.

        Raises UnknownCalendarError where one is not among them.
        """
        given = {field.name: getattr(self, field.name) for field in fields(self)}
        bound = {name: _bound(value, calendars) for name, value in given.items()}
        changes = {name: value for name, value in bound.items() if value is not given[name]}
        return replace(self, **changes) if changes else self

    def __repr__(self) -> str:
        """The call that makes it, without what is as by default."""
        told: list[str] = []
        for number, field in enumerate(fields(self)):
            value = getattr(self, field.name)
            if field.required:
                told.append(repr(value) if number == len(told) else f"{field.name}={value!r}")
            elif value != field.default:
                told.append(f"{field.name}={value!r}")
        return f"{type(self).__name__}({', '.join(told)})"


def _bound(value: Any, calendars: Mapping[str, Calendar]) -> Any:
    if isinstance(value, Plain):
        return value.bind(calendars)
    if isinstance(value, tuple) and any(isinstance(one, Plain) for one in value):
        bound = tuple(_bound(one, calendars) for one in value)
        return bound if any(new is not old for new, old in zip(bound, value, strict=True)) else value
    return value


def check_name(what: str, name: str) -> None:
    """Raise TriggerError unless this is a text that can be stored as a name."""
    if not isinstance(name, str) or not 0 < len(name) <= NAME_MAX or not name.isprintable():
        raise TriggerError(f"{what} {name!r} is not a text of 1 to {NAME_MAX} printable characters")
