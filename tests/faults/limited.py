"""Worker processes whose work has limits, and what the work's own journal says of how they were kept."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Any

from kokugen import FunctionRegistry, Limit, Scheduler, Settings, current_run
from tests.faults.journal import END, START, Entry, Journal
from tests.faults.worker import WORKERS, listen

OF_WORK, OF_KEY, OF_QUEUE = 5, 2, 6
RATE, BURST = 40, 2


def works_of(journal: Journal) -> FunctionRegistry:
    """The work of these tests; a task's id begins with its key."""
    works = FunctionRegistry()

    def step(pause_us: int) -> None:
        run = current_run()
        journal.write(START, run.task_id, run.fence, run.attempt)
        run.cancelled.wait(timedelta(microseconds=pause_us))
        journal.write(END, run.task_id, run.fence, run.attempt)

    works.work(id="narrow", limit=Limit(OF_WORK), key_limit=Limit(OF_KEY), max_lost=1000)(step)
    works.work(id="wide", max_lost=1000)(step)
    works.work(id="rated", limit=Limit(rate=RATE, burst=BURST), max_lost=1000)(step)
    return works


def serve_limited(url: str, journal: Path, numbers: dict[str, Any]) -> None:
    """Run what is due until SIGTERM."""
    written = Journal(journal)
    listen(written)
    Scheduler(
        url,
        works=works_of(written),
        workers=WORKERS,
        queues=["default", "slow"],
        queue_limits={"slow": Limit(OF_QUEUE)},
        settings=Settings(**numbers),
    ).run()


def most_at_once(entries: Iterable[Entry], killed: Mapping[int, int], groups: Mapping[str, set[str]]) -> dict[str, int]:
    """Return how many runs of each group were under way at the same time, at most.

    A run without an end was over no earlier than its process was killed.
    """
    open_runs: dict[tuple[str, int], Entry] = {}
    changes: dict[str, list[tuple[int, int]]] = defaultdict(list)

    def note(run: Entry, until_ns: int) -> None:
        for group in groups[run.task_id]:
            changes[group] += [(run.boot_ns, 1), (until_ns, -1)]

    for entry in sorted(entries, key=lambda one: one.boot_ns):
        if entry.event == START:
            open_runs[entry.task_id, entry.fence] = entry
        elif entry.event == END:
            note(open_runs.pop((entry.task_id, entry.fence)), entry.boot_ns)
    for run in open_runs.values():
        note(run, killed[run.pid])
    return {group: _peak(sorted(steps)) for group, steps in changes.items()}


def _peak(steps: list[tuple[int, int]]) -> int:
    count = peak = 0
    for _, change in steps:
        count += change
        peak = max(peak, count)
    return peak
