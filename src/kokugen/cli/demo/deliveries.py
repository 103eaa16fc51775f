"""The log of deliveries: written by the work itself, a line each, so that it counts what really happened.

The worker appends; the report reads. A line is one write to a file opened with O_APPEND, so that lines of several
threads and processes never mix.
"""

from __future__ import annotations

import os
from pathlib import Path

from msgspec import Struct

from kokugen.errors import InvalidEntryError


class Delivery(Struct, frozen=True):
    """One reminder that reached its person."""

    task_id: str
    due_us: int
    at_us: int
    pid: int
    fence: int

    @property
    def late_us(self) -> int:
        return self.at_us - self.due_us


class DeliveryLog:
    """Appends deliveries to a file."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | getattr(os, "O_BINARY", 0)
        self._file = os.open(path, flags, 0o600)

    def append(self, delivery: Delivery) -> None:
        """Write one line at the file's end."""
        fields = (delivery.task_id, delivery.due_us, delivery.at_us, delivery.pid, delivery.fence)
        os.write(self._file, (" ".join(map(str, fields)) + "\n").encode("ascii"))


def count_deliveries(path: Path) -> int:
    """Return how many lines were written so far."""
    return path.read_bytes().count(b"\n") if path.exists() else 0


def read_deliveries(path: Path) -> list[Delivery]:
    """Return the deliveries in the order they were written. Raises InvalidEntryError for a line that is none."""
    if not path.exists():
        return []
    return [_parsed(path, line) for line in path.read_text(encoding="ascii").splitlines()]


def _parsed(path: Path, line: str) -> Delivery:
    try:
        task_id, due_us, at_us, pid, fence = line.split(" ")
        return Delivery(task_id, int(due_us), int(at_us), int(pid), int(fence))
    except ValueError:
        raise InvalidEntryError(f"{path} has a line that is no delivery: {line!r}") from None
