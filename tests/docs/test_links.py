"""Every link of the documentation leads somewhere: to a file, and to a heading of it."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, anchors, links, slug

EVERY_PAGE = [*PAGES, *(ROOT / name for name in ("ARCHITECTURE.md", "CONTRIBUTING.md", "CHANGELOG.md"))]
PYTHON_OBJECT = "kokugen."
"""mkdocstrings makes these anchors; the build of the site checks them."""


def is_broken(page: Path, link: str) -> bool:
    if "://" in link or link.startswith("mailto:"):
        return False
    place, _, anchor = link.partition("#")
    target = (page.parent / place).resolve() if place else page
    if not target.exists():
        return True
    return bool(anchor) and not anchor.startswith(PYTHON_OBJECT) and anchor not in anchors(target)


@pytest.mark.parametrize("page", EVERY_PAGE, ids=lambda page: page.relative_to(ROOT).as_posix())
def test_every_link_of_a_page_leads_somewhere(page: Path) -> None:
    assert [link for link in links(page) if is_broken(page, link)] == []


def test_a_link_that_leads_nowhere_is_seen(tmp_path: Path) -> None:
    page = tmp_path / "page.md"
    page.write_text("# Here\n[a](gone.md) [b](#there) [c](#here) `[d](e)`\n", encoding="utf-8")
    assert [link for link in links(page) if is_broken(page, link)] == ["gone.md", "#there"]


def test_headings_are_linked_to_as_the_site_names_them() -> None:
    assert slug("Not two tasks for the same thing: `unique`") == "not-two-tasks-for-the-same-thing-unique"


def test_every_file_that_the_architecture_names_is_there() -> None:
    text = (ROOT / "ARCHITECTURE.md").read_text(encoding="utf-8")
    names = {name for name in re.findall(r"`([a-z_]+(?:/[a-z_]+)*(?:\.py)?)`", text) if "/" in name or ".py" in name}
    assert len(names) > 15
    assert (
        sorted(name for name in names if not (ROOT / "src" / "kokugen" / name.removeprefix("src/kokugen")).exists())
        == []
    )


def test_the_site_is_built_strictly() -> None:
    project = tomllib.loads((ROOT / "zensical.toml").read_text(encoding="utf-8"))["project"]
    assert project["validation"] == {"invalid_links": True, "invalid_link_anchors": True}
