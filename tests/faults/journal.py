"""What work itself says of its runs: a line as each starts and one as it ends, in a file that is only appended to.

Worker processes write it, the judge reads it. A line is one `write` of 128 bytes, which no kill can tear: it never
crosses from one page of the file to the next.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from msgspec import Struct

LINE_BYTES = 128
START, END, CUT, HEARD, REFUSED, ERROR = "start", "end", "cut", "heard", "refused", "error"
"""A run began; ended by itself; was stopped; heard that it is to stop. The engine logged an outcome as refused; an
event loop logged an error that nobody had expected."""
_CLOCK = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def boot_ns() -> int:
    """Nanoseconds on a clock that all processes of this machine share and nobody can set."""
    return time.clock_gettime_ns(_CLOCK)


class Entry(Struct, frozen=True):
    """One line: what happened to which run, where and when."""

    event: str
    task_id: str
    fence: int
    attempt: int
    pid: int
    wall_us: int
    boot_ns: int


class Journal:
    """Written to by any number of threads and processes."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)

    def write(self, event: str, task_id: str, fence: int = 0, attempt: int = 0) -> None:
        words = (event, task_id, fence, attempt, os.getpid(), time.time_ns() // 1000, boot_ns())
        line = " ".join(map(str, words)).ljust(LINE_BYTES - 1) + "\n"
        assert len(line) == LINE_BYTES == os.write(self._file, line.encode("ascii"))

    def __len__(self) -> int:
        return self.path.stat().st_size // LINE_BYTES

    def entries(self) -> list[Entry]:
        """Everything so far. Raises ValueError where a line is torn."""
        return [_entry(line) for line in self.path.read_text(encoding="ascii").splitlines()]


def _entry(line: str) -> Entry:
    event, task_id, *numbers = line.split()
    fence, attempt, pid, wall_us, boot = map(int, numbers)
    return Entry(event, task_id, fence, attempt, pid, wall_us, boot)
