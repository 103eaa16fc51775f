"""A shell that is told one command at a time, as a reader types them; `session` compares what it says."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from threading import Condition, Thread
from time import monotonic
from uuid import uuid4

from tests.docs.likeness import Shown

PATIENCE_S = 60.0
"""For what a job in the background says; for a command itself there is no need to wait once it has ended."""


class Shell:
    """One `bash` in one folder, with its jobs; closed, none of them is left."""

    def __init__(self, folder: Path) -> None:
        self._mark = f"\n--{uuid4().hex}--\n"
        self._said = ""
        self._heard = Condition()
        self._names: dict[str, str] = {}
        self._has_jobs = False
        command = ["bash", "--norc", "--noprofile"]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
        self._process = subprocess.Popen(command, cwd=folder, env=_environment(folder), text=True, **pipes)  # type: ignore[call-overload]
        Thread(target=self._listen, daemon=True).start()
        self._tell("set -m\n")

    def call(self, command: str, shown: str) -> str | None:
        """Run a command; return what it said where that is not what is shown, else None.

        What jobs in the background say counts too, is waited for, and may come before or between.
        """
        for name, real in self._names.items():
            command = command.replace(name, real)
        self._has_jobs = self._has_jobs or command.endswith("&") or command.startswith("kokugen worker")
        self._tell(f"{command}\n_code=$?; printf '%s' '{self._mark}'; (exit $_code)\n")
        end = monotonic() + PATIENCE_S
        with self._heard:
            while (names := self._names_in(shown)) is None and (self._has_jobs or self._mark not in self._said):
                if not self._heard.wait(end - monotonic()):
                    break
            said, self._said = self._said.replace(self._mark, ""), ""
        self._names |= names or {}
        return said if names is None else None

    def learn(self, names: dict[str, str]) -> None:
        """Take note of what ids of the page really are, for the commands that name them."""
        self._names |= names

    def close(self) -> None:
        """End its jobs, and it."""
        self._tell("kill -KILL $(jobs -p) 2>/dev/null; wait 2>/dev/null; exit\n")
        self._process.wait(PATIENCE_S)

    def _names_in(self, shown: str) -> dict[str, str] | None:
        before, mark, after = self._said.partition(self._mark)
        if not mark:
            return None
        return Shown(shown).names(before + after, any_order=self._has_jobs)

    def _tell(self, text: str) -> None:
        assert self._process.stdin is not None, "a pipe was asked for"
        self._process.stdin.write(text)
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None, "a pipe was asked for"
        for line in self._process.stdout:
            with self._heard:
                self._said += line
                self._heard.notify_all()


def _environment(folder: Path) -> dict[str, str]:
    """Return what a newcomer's shell has, and nothing of ours: the programs beside this Python come first."""
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    return {"PATH": programs, "HOME": str(folder), "LANG": "C.UTF-8", "COLUMNS": "80", "PYTHONUNBUFFERED": "1"}
