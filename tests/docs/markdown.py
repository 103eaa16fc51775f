"""The pages of the documentation, taken apart: their fenced blocks, their headings, their links.

Every test of the documentation reads pages through this, and `session` runs what it finds.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]

_FENCE = re.compile(r"^(?P<indent> *)```(?P<kind>\w+)(?P<more>[^\n`]*)$")
_TITLE = re.compile(r'title="([^"]+)"')
_MARK = re.compile(r"^ *<!-- (?P<mark>not run|needs): (?P<reason>.+) -->$")
_HEADING = re.compile(r"^#+ (.+)$")
_LINK = re.compile(r"(?<!!)\[[^\]]*\]\(([^)\s]+)\)")
_CODE = re.compile(r"`[^`\n]*`")


class Block(NamedTuple):
    """A fenced block: its kind (`python`, `console`, …), where its first line stands, and what is said of it.

    `not_run` is the reason why it is not run, `needs` a library without which it is not, `prints` what stands in a
    `text` block directly behind it.
    """

    kind: str
    code: str
    line: int
    title: str | None = None
    not_run: str | None = None
    needs: str | None = None
    prints: str | None = None


def blocks(page: Path) -> list[Block]:
    """Return the fenced blocks of a page, in order."""
    found: list[Block] = []
    end = -2
    for block, start, last in _fenced(page.read_text(encoding="utf-8").splitlines()):
        directly = start - end <= 2
        if block.kind == "text" and directly and found and found[-1].kind == "python":
            found[-1] = found[-1]._replace(prints=block.code)
        else:
            found.append(block)
        end = last
    return found


def _fenced(lines: list[str]) -> Iterator[tuple[Block, int, int]]:
    """Yield each block with the numbers of its fences' lines."""
    at = 0
    while at < len(lines):
        fence = _FENCE.match(lines[at])
        if fence is None:
            at += 1
            continue
        indent = len(fence["indent"])
        end = next(n for n in range(at + 1, len(lines)) if lines[n][indent:].startswith("```"))
        code = "".join(f"{line[indent:]}\n" for line in lines[at + 1 : end])
        title = _TITLE.search(fence["more"])
        said = _said(lines[at - 1] if at else "")
        block = Block(fence["kind"], code, at + 2, title[1] if title else None, said.get("not run"), said.get("needs"))
        yield block, at, end
        at = end + 1


def _said(line: str) -> dict[str, str]:
    mark = _MARK.match(line)
    return {mark["mark"]: mark["reason"]} if mark else {}


def prose(page: Path) -> Iterator[str]:
    """Yield the lines of a page that stand outside of fenced blocks."""
    lines = page.read_text(encoding="utf-8").splitlines()
    inside = {n for _, start, end in _fenced(lines) for n in range(start, end + 1)}
    yield from (line for n, line in enumerate(lines) if n not in inside)


def anchors(page: Path) -> set[str]:
    """Return the names by which the headings of a page can be linked to."""
    titles = (_HEADING.match(line) for line in prose(page))
    return {slug(title[1]) for title in titles if title}


def slug(title: str) -> str:
    """Return a heading's anchor, as the site and the forge make it."""
    words = re.sub(r"[^\w\s-]", "", re.sub(r"[`*]", "", title)).strip().lower()
    return re.sub(r"\s", "-", words)


def links(page: Path) -> Iterator[str]:
    """Yield the targets of a page's links."""
    for line in prose(page):
        yield from _LINK.findall(_CODE.sub("", line))


def section(page: Path, title: str) -> str:
    """Return the text under a heading, up to the next heading of any level."""
    text = page.read_text(encoding="utf-8")
    match = re.search(rf"^#+ {re.escape(title)}\n(.*?)(?=^#+ |\Z)", text, re.MULTILINE | re.DOTALL)
    assert match, f"{page.name} has no heading {title!r}"
    return match[1]
