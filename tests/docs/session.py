"""Runs one page in a new folder: `python -m tests.docs.session PAGE FOLDER`. Started by the tests, one process a page.

Python blocks share one namespace, and `title="name.py"` saves one instead; console blocks are typed into one shell.
What they print is compared with what the page shows: in the console block, or in a text block right behind the Python
one. `<!-- not run: reason -->` above a block keeps it back, `<!-- needs: library -->` does where that is not installed.
Ends with 1, and tells where and how they differ, where they do.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
import re
import sys
import traceback
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.docs.likeness import Shown
from tests.docs.markdown import Block, blocks
from tests.docs.shell import Shell

_COMMAND = re.compile(r"^\$ (.*)$")


class Session:
    """The folder, the namespace and the shell of one page."""

    def __init__(self, page: Path, folder: Path) -> None:
        self._page = page
        self._folder = folder
        self._names: dict[str, Any] = {"__name__": "page"}
        self._printed = io.StringIO()  # one for all blocks: a handler that the first block makes may print in the last
        self._shell: Shell | None = None

    def run(self) -> Iterator[str]:
        """Run the blocks, and yield what is not as the page says; the rest of a page that broke is not run."""
        for block in blocks(self._page):
            wrong = list(self._run(block))
            yield from (f"{self._page.name}:{block.line}: {one}" for one in wrong)
            if wrong:
                return

    def close(self) -> None:
        if self._shell is not None:
            self._shell.close()

    def _run(self, block: Block) -> Iterator[str]:
        if block.not_run or (block.needs and not importlib.util.find_spec(block.needs)):
            return
        if block.title is not None:
            (self._folder / block.title).write_text(block.code, encoding="utf-8")
        if block.kind == "python" and block.title is None:
            yield from self._python(block)
        elif block.kind == "console":
            yield from self._console(block)

    def _python(self, block: Block) -> Iterator[str]:
        before = self._printed.tell()
        try:
            with contextlib.redirect_stdout(self._printed):
                code = compile("\n" * (block.line - 1) + block.code, self._page, "exec", dont_inherit=True)
                exec(code, self._names)
        except BaseException:
            yield "".join(traceback.format_exception(*sys.exc_info())[-6:])
            return
        printed = self._printed.getvalue()[before:]
        names = Shown(block.prints or "").names(printed)
        if names is None:
            yield f"it prints\n{printed}"
        elif names:
            self._at_the_shell.learn(names)

    def _console(self, block: Block) -> Iterator[str]:
        for command, shown in commands(block):
            said = self._at_the_shell.call(command, shown)
            if said is not None:
                yield f"$ {command}\n{said}"

    @property
    def _at_the_shell(self) -> Shell:
        if self._shell is None:
            self._shell = Shell(self._folder)
        return self._shell


def commands(block: Block) -> list[tuple[str, str]]:
    """Return the commands of a console block, each with the output that is shown of it."""
    found: list[tuple[str, str]] = []
    for line in block.code.splitlines():
        typed = _COMMAND.match(line)
        if typed:
            found.append((typed[1], ""))
        elif found and found[-1][0].endswith("\\") and not found[-1][1]:
            found[-1] = (f"{found[-1][0][:-1]}{line.strip()}", "")
        elif found:
            found[-1] = (found[-1][0], f"{found[-1][1]}{line}\n")
    return found


def main(page: str, folder: str) -> None:
    session = Session(Path(page).resolve(), Path(folder))
    os.chdir(folder)
    sys.path.insert(0, folder)
    try:
        wrong = list(session.run())
    finally:
        session.close()
    sys.stdout.write("".join(f"{one}\n" for one in wrong))
    sys.stdout.flush()
    os._exit(bool(wrong))  # without waiting for the threads that a page may have left running


if __name__ == "__main__":
    main(*sys.argv[1:])
