"""Lines of coloured text of fixed width, and shades for numbers. Called by what is drawn; `console` prints the lines.

A drawing is at most 80 columns wide, and says without colour all that it says with it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import NamedTuple

from kokugen.cli import console

WIDTH = 80


class Ink(NamedTuple):
    """How a piece of text looks where there is colour."""

    fg: str | None = None
    bold: bool = False
    dim: bool = False


PLAIN, FAINT, STRONG, MARK = Ink(), Ink(dim=True), Ink(bold=True), Ink("magenta", bold=True)


class Piece(NamedTuple):
    """A piece of a line."""

    text: str
    ink: Ink = PLAIN


Line = Sequence[Piece]


class Signs(NamedTuple):
    """The characters of a drawing."""

    none: str
    skipped: str
    shades: str
    """Few, more, many, most."""


BLOCKS = Signs("·", "×", "░▒▓█")
ASCII = Signs(".", "x", "-+*#")
OTHERS = "✗○◐▸●…"
"""What else a drawing may have where it need not be in ASCII."""
INKS = (Ink("blue"), Ink("cyan"), Ink("yellow"), Ink("red"))


def signs() -> Signs:
    """Return the characters that stdout can carry."""
    return BLOCKS if console.carries("".join(BLOCKS) + OTHERS) else ASCII


class Scale:
    """Which numbers have which shade: each is for numbers about as many times larger than those of the one before."""

    def __init__(self, largest: int, used: Signs) -> None:
        self._signs = used
        self._tops: list[int] = []
        count = min(len(used.shades), largest)
        for number in range(1, count + 1):
            self._tops.append(max(len(self._tops) and self._tops[-1] + 1, round(largest ** (number / count))))

    def piece(self, number: int, width: int = 1) -> Piece:
        """Return the shade of a number."""
        if number <= 0:
            return Piece(self._signs.none.ljust(width), FAINT)
        level = next(level for level, top in enumerate(self._tops) if number <= top)
        return Piece(self._signs.shades[level] * width, INKS[level])

    def legend(self, what: str) -> Line:
        """Return a line that says what the shades mean."""
        line = [Piece(self._signs.none, FAINT), Piece(" none")]
        for level, top in enumerate(self._tops):
            line += [Piece("   "), Piece(self._signs.shades[level], INKS[level]), Piece(f" to {short(top)}")]
        return [*line, Piece(f" {what}" if self._tops else "")]


def short(number: int) -> str:
    """Return a number in at most five characters: `1,440`, `3.25M`."""
    if number < 10_000:
        return f"{number:,}"
    for unit, size in (("k", 1e3), ("M", 1e6), ("G", 1e9)):
        if number < 999.5 * size:
            return f"{number / size:.3g}{unit}"
    return f"{number / 1e12:.3g}T"


def fitted(text: str, width: int) -> str:
    """Return the text in exactly so many columns; its beginning and an ellipsis where it is longer."""
    shown = console.escaped(text)
    return shown.ljust(width) if len(shown) <= width else shown[: width - 1] + "…"


def say(lines: Iterable[Line]) -> None:
    """Print a drawing."""
    for line in lines:
        runs = groupby(trimmed(line), key=lambda piece: piece.ink)
        console.say_painted([("".join(piece.text for piece in run), _style_of(ink)) for ink, run in runs])


def trimmed(line: Line) -> Line:
    """Return a line without blanks at its end."""
    pieces = list(line)
    while pieces and not pieces[-1].text.strip():
        pieces.pop()
    return [*pieces[:-1], *(last._replace(text=last.text.rstrip()) for last in pieces[-1:])]


def _style_of(ink: Ink) -> dict[str, object]:
    return {} if ink == PLAIN else {"fg": ink.fg, "bold": ink.bold or None, "dim": ink.dim or None}
