"""The arguments of an allowed command: literal texts with placeholders, and what may fill each placeholder.

`kokugen.registry.commands` makes one for each command, and fills it when scheduling, to check, and when running.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from string import Formatter

from msgspec import Struct

from kokugen.errors import CommandRefusedError, OptionError

VALUE_MAX = 4096
_WORD = r"-?[A-Za-z0-9][A-Za-z0-9_.,:+@-]*"


class Arg(Struct, frozen=True, kw_only=True):
    """What may fill a placeholder: text or a number that matches `pattern` as a whole (`re.fullmatch`, ASCII).

    The default pattern is one word of letters, digits and `_ . , : + @ -`, without a slash or space. A value that
    begins with `-` could pass for an option: it needs `dash`. NUL and more than 4,096 characters are always refused.
    """

    pattern: str = _WORD
    kind: type[str | int | float] | None = None
    """Only this type; None: any of the three."""
    dash: bool = False

    def __post_init__(self) -> None:
        try:
            re.compile(self.pattern, re.ASCII)
        except re.error as error:
            raise OptionError(f"Arg(pattern={self.pattern!r}) is no regular expression: {error}") from None

    def text(self, name: str, value: object) -> str:
        """Return a value as it stands in the argument list. Raises CommandRefusedError."""
        if type(value) not in ((str, int, float) if self.kind is None else (self.kind,)):
            raise CommandRefusedError(f"argument {name!r} is a {type(value).__name__}, which is not allowed here")
        text = str(value)
        if len(text) > VALUE_MAX or "\0" in text:
            raise CommandRefusedError(f"argument {name!r} holds a NUL or more than {VALUE_MAX:,} characters")
        if text.startswith("-") and not self.dash:
            raise CommandRefusedError(f"argument {name!r} begins with '-', like an option: Arg(dash=True) allows it")
        if not re.fullmatch(self.pattern, text, re.ASCII):
            raise CommandRefusedError(f"argument {name!r} = {text[:80]!r} does not match {self.pattern!r}")
        return text


class Template:
    """A list of arguments with placeholders, each of which fills one argument, or a part of one."""

    def __init__(self, template: tuple[str, ...], args: Mapping[str, Arg]) -> None:
        self._parts = [_parsed(argument) for argument in template]
        self.names = tuple(dict.fromkeys(name for parts in self._parts for _, name in parts if name is not None))
        if unknown := args.keys() - set(self.names):
            raise OptionError(f"there is no placeholder {{{min(unknown)}}} in the template {template!r}")
        self._args = {name: args.get(name, Arg()) for name in self.names}

    def filled(self, values: Mapping[str, object]) -> list[str]:
        """Return the arguments, as many as the template has. Raises CommandRefusedError."""
        texts = {name: self._args[name].text(name, values[name]) for name in self.names}
        return ["".join(literal + (texts[name] if name else "") for literal, name in parts) for parts in self._parts]


def _parsed(argument: str) -> list[tuple[str, str | None]]:
    """Return the literal texts of an argument, each with the placeholder behind it."""
    try:
        parts = list(Formatter().parse(argument))
    except ValueError as error:
        raise OptionError(f"template argument {argument!r}: {error}; write {{{{ for a brace") from None
    for _, name, form, conversion in parts:
        if name is not None and (form or conversion or not name.isidentifier()):
            raise OptionError(f"template argument {argument!r}: a placeholder is a name in braces, and nothing more")
    if "\0" in argument:
        raise OptionError(f"template argument {argument!r} holds a NUL")
    return [(literal, name) for literal, name, _, _ in parts]
