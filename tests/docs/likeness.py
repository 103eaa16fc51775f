"""When output is what the documentation shows: the same, but for what differs from run to run.

Ids, process numbers, times of these years, spans, folders and versions may be others; runs of spaces may be longer or
shorter; `…` stands for anything within a line, and alone for any lines.
"""

from __future__ import annotations

import re
from typing import NamedTuple

_KINDS = {
    "id": r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}",
    "pid": r"(?<=process )\d+",
    "time": r"202\d-\d\d-\d\d[ T]\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:\d\d)",
    "span": r"\b\d[\d.,]*(?:e-\d+)? ?(?:ms|s|min|h|d)\b",
    "clock": r"\b\d:\d\d:\d\d\.\d+",
    "folder": r"(?<=sqlite:///)/\S*/",
    "version": r"\b\d+\.\d+\.\d+\b",
    "spaces": r" +",
    "gap": r"…",
}
_TOKEN = re.compile("|".join(f"(?P<{kind}>{pattern})" for kind, pattern in _KINDS.items()))
_ANY_LINES = r"(?:[^\n]*\n)*?"
_JOB = re.compile(r"^(?:\[\d+\][-+ ].*|\S+: line \d+: +\d+ (?:Killed|Terminated) .*)$")
"""What a shell says of its jobs: an interactive one in one way, one that reads a script in another."""


class Shown(NamedTuple):
    """What a page shows, to be compared with what really came."""

    text: str

    def names(self, came: str, *, any_order: bool = False) -> dict[str, str] | None:
        """Return what the ids and process numbers of the page really are; None where something else came.

        With `any_order` the lines may come in another order: several processes said them.
        """
        kept: list[str] = []
        lines = [self._line(line, kept) for line in _tidy(self.text).splitlines()]
        values = _in_any_order(lines, _tidy(came)) if any_order else _in_order(lines, _tidy(came))
        return None if values is None else dict(zip(kept, values, strict=True))

    def _line(self, line: str, kept: list[str]) -> str:
        if line == "…":
            return _ANY_LINES
        parts, at = [], 0
        for token in _TOKEN.finditer(line):
            parts += [re.escape(line[at : token.start()]), _part(token, kept)]
            at = token.end()
        return "".join(parts) + re.escape(line[at:]) + r"\n"


def _in_order(lines: list[str], came: str) -> list[str] | None:
    match = re.fullmatch("".join(lines), came)
    return None if match is None else list(match.groups())


def _in_any_order(lines: list[str], came: str) -> list[str] | None:
    """Match each line with the first that is left."""
    left, values = came.splitlines(keepends=True), list[str]()
    for line in lines:
        if line == _ANY_LINES:
            continue
        found = next(((at, match) for at, one in enumerate(left) if (match := re.fullmatch(line, one))), None)
        if found is None:
            return None
        del left[found[0]]
        values += found[1].groups()
    return values if not left or _ANY_LINES in lines else None


def _part(token: re.Match[str], kept: list[str]) -> str:
    kind = token.lastgroup or ""
    if kind in {"id", "pid"}:
        kept.append(token[0])
        return r"([0-9a-f-]+)"
    return {"spaces": " +", "gap": "[^\n]*?"}.get(kind, f"(?:{_KINDS[kind]})")


def _tidy(text: str) -> str:
    """Return the text without blank ends of lines, without blank lines at its ends, without a shell's remarks."""
    lines = [line.rstrip() for line in text.splitlines() if not _JOB.match(line)]
    while lines and not lines[0]:
        del lines[0]
    while lines and not lines[-1]:
        del lines[-1]
    return "".join(f"{line}\n" for line in lines)
