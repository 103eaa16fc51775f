"""Every page of the documentation does what it says: its code runs, its commands say what is shown."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.docs.markdown import PAGES, ROOT, Block, blocks

RUNNABLE = {"python", "console"}
KINDS = RUNNABLE | {"text", "ini", "json", "sql", "toml"}
NAMELESS = {None, "conftest.py"}
"""What no later block names: code that is not saved, and what pytest finds by itself."""
NOT_RUN_MAX = 16
"""How many blocks may say why they are not run."""


def name_of(page: Path) -> str:
    return page.relative_to(ROOT).as_posix()


WITH_CODE = [page for page in PAGES if any(block.kind in RUNNABLE for block in blocks(page))]
EVERY_BLOCK = [(page, block) for page in PAGES for block in blocks(page)]


@pytest.mark.skipif(sys.platform == "win32", reason="the pages are written for a POSIX shell")
@pytest.mark.parametrize("page", WITH_CODE, ids=name_of)
def test_a_page_does_what_it_says(page: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-W", "error", "-m", "tests.docs.session", str(page), str(tmp_path)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("KOKUGEN_URL", None)
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=110, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr


def test_every_block_is_of_a_known_kind() -> None:
    assert [(name_of(page), block.line, block.kind) for page, block in EVERY_BLOCK if block.kind not in KINDS] == []


def test_few_blocks_are_not_run() -> None:
    kept_back = [(name_of(page), block.line, block.not_run) for page, block in EVERY_BLOCK if block.not_run]
    assert len(kept_back) <= NOT_RUN_MAX, kept_back


@pytest.mark.parametrize(("page", "block"), [(p, b) for p, b in EVERY_BLOCK if b.kind == "python"])
def test_python_that_is_not_run_compiles_at_least(page: Path, block: Block) -> None:
    compile(block.code, str(page), "exec")


def test_every_saved_file_is_used_by_a_later_block() -> None:
    idle = []
    for page in PAGES:
        found = blocks(page)
        for at, block in enumerate(found):
            if block.kind == "python" and block.title not in NAMELESS and not block.not_run:
                later = "\n".join(one.code for one in found[at + 1 :])
                idle += [] if Path(str(block.title)).stem in later else [(name_of(page), block.title)]
    assert idle == []
