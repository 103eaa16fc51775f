"""Texts that are nearly right, valid ones that are damaged or grown together, and what a parser may do with them.

KOKUGEN_FUZZ_TEXTS is how many are tried with each parser (2,000). A failure tells the shortest text that it found.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from random import Random
from typing import Any

import click

from kokugen.errors import KokugenError
from tests.fuzz.steps import within_steps

TEXTS = int(os.environ.get("KOKUGEN_FUZZ_TEXTS", "2000"))
STEPS_MAX = 4_000_000
"""Lines of Python, of whatever library: less than half a second."""
EDITS_MAX = 4
CUT_MAX = 8
ASKED = (KokugenError, click.UsageError)
NASTY = (
    "\0",
    "\ud800",
    "\udc80",
    "\u202e",
    "\x1b[2J",
    "é",
    "٣",
    "\uff19",
    "\u00a0",
    "\ufeff",
    "-",
    "+",
    "9" * 5000,
    "1e999",
)


def fuzz(parse: Callable[[str], Any], valid: Sequence[str], tokens: Sequence[str] = (), *, texts: int = TEXTS) -> None:
    """Have a parser read damaged texts: it returns, or raises kokugen's own error, within a bound of steps.

    Some of them have to be right and some wrong, or else nothing was tried.
    """
    right = 0
    for number in range(texts):
        text = damaged(Random(number), valid, tokens)
        if (error := escaped(parse, text)) is not None:
            raise AssertionError(f"{shortest(parse, text)!a} met with {error!r}") from error
        right += is_right(parse, text)
    assert 0 < right < texts, "both kinds are tried"


def is_right(parse: Callable[[str], Any], text: str) -> bool:
    try:
        parse(text)
    except ASKED:
        return False
    return True


def escaped(parse: Callable[[str], Any], text: str) -> BaseException | None:
    """Return what a parser raises that is no error of kokugen's, or one that says nothing."""
    try:
        within_steps(STEPS_MAX, lambda: parse(text))
    except ASKED as error:
        return None if str(error) else error
    except Exception as error:
        return error
    return None


def damaged(random: Random, valid: Sequence[str], tokens: Sequence[str]) -> str:
    """Return a valid text with up to four edits; now and then with the tail of another, or any text."""
    if random.random() < 0.05:
        return "".join(chr(random.randrange(0x300)) for _ in range(random.randrange(60)))
    text = random.choice(valid)
    if random.random() < 0.15:
        other = random.choice(valid)
        text = text[: random.randint(0, len(text))] + other[random.randint(0, len(other)) :]
    for _ in range(random.choice((0, 1, 1, 2, 3, EDITS_MAX))):
        text = _edited(random, text, tokens)
    return text


def _edited(random: Random, text: str, tokens: Sequence[str]) -> str:
    at, cut = random.randint(0, len(text)), random.choice((0, 0, 1, random.randint(0, CUT_MAX)))
    again = text[at : at + random.randint(0, 30)] * random.randint(1, 3)
    words = (random.choice(tokens or NASTY), random.choice(NASTY), random.choice("0123456789-.,:;=/"), again, "")
    return text[:at] + random.choice(words) + text[at + cut :]


def shortest(parse: Callable[[str], Any], text: str) -> str:
    """Return a shorter text that a parser fails on, as far as leaving out a part of it finds one."""
    size = len(text) // 2
    while size:
        for at in range(0, len(text), size):
            if escaped(parse, shorter := text[:at] + text[at + size :]) is not None:
                text = shorter
                break
        else:
            size //= 2
    return text
