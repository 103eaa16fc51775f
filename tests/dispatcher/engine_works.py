"""Work for engines, which the nodes of these tests and the engines' workers import."""

from __future__ import annotations

from pathlib import Path
from threading import Event

from kokugen import FunctionRegistry, current_run

works = FunctionRegistry()
TRIES = 6000


@works.work(on="engine")
def write_down(folder: str) -> int:
    """Write down that it runs, and go on until there is a file `enough`; return how often it was written down."""
    journal = Path(folder, "journal")
    with journal.open("a", encoding="ascii") as lines:
        lines.write(f"fence {current_run().fence}\n")
    for _ in range(TRIES):
        if Path(folder, "enough").exists():
            break
        Event().wait(0.01)
    return len(journal.read_text(encoding="ascii").splitlines())
