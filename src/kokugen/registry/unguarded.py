"""A program without a guard, on Windows: it and its children are ended in time, but not where the node is killed.

`kokugen.registry.process` calls it there.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from typing import IO

from kokugen.registry.account import Account

_TASKKILL = r"C:\Windows\System32\taskkill.exe"


class UnguardedProgram:
    """A program that runs, or has run. Raises OSError where it cannot be started."""

    def __init__(
        self, arguments: list[str], *, cwd: str, env: Mapping[str, str], account: Account | None = None
    ) -> None:
        assert account is None, "refused where it is declared"
        self._process = subprocess.Popen(  # noqa: S603 - the program is on the allow-list, its arguments were checked
            arguments,
            executable=arguments[0],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            bufsize=0,
            cwd=cwd,
            env=dict(env),
        )
        assert self._process.stdout is not None, "asked for"
        self.output: IO[bytes] = self._process.stdout
        self.left: tuple[int, ...] = ()

    def terminate(self) -> None:
        """End it and its children: there is one way only."""
        command = [_TASKKILL, "/F", "/T", "/PID", str(self._process.pid)]
        subprocess.run(command, check=False, capture_output=True, cwd=os.sep)  # noqa: S603

    def kill(self) -> None:
        """End it and its children."""
        self.terminate()

    def give_up(self) -> None:
        """End it alone."""
        self._process.kill()

    def wait(self) -> int:
        """Wait for its end, and return its exit code; an ended process names no children here."""
        return self._process.wait()
