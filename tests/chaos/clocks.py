"""Wall clocks that are set, forward and back, while tasks wait and run."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

from kokugen.task import replace
from tests.chaos.stage import Findings, Load, Stage, findings
from tests.faults.crew import Crew
from tests.faults.ground import PostgresGround, SqliteGround
from tests.faults.journal import START
from tests.faults.judge import Case, Kind, Verdict
from tests.faults.worker import serve, set_clock

WORKERS = 4
HOUR_S = 3600
DAY_S = 24 * HOUR_S
YEAR_S = 365 * DAY_S
OFFSETS_S = (-10 * YEAR_S, -DAY_S, -HOUR_S, 0, HOUR_S, DAY_S, 10 * YEAR_S)
GAP_MAX_S = 0.6
AHEAD_US = 20_000
"""A task is claimed so long before it is due; a clock that is set just then lets it start at once."""
LATE_MAX_S = 10.0
"""A start that waited for a clock to come round again would be an hour late."""
FOREVER = {name: timedelta(days=36_500) for name in ("keep_done", "keep_cancelled", "keep_failed")}
"""What has ended is not to be past its retention when ten years seem to have passed."""


def set_clocks_on_postgres(stage: Stage, count: int) -> Findings:
    """Set the clocks of workers one by one, as if each had a machine of its own; the server's is right."""
    with stage.server() as server, stage.crew(PostgresGround(server.url, stage.folder), **FOREVER) as crew:
        files = [stage.folder / f"clock-{number}" for number in range(WORKERS)]
        case = turned(stage, crew, files, count)
    found = findings(replace(case, ahead_us=AHEAD_US), count)
    late_s = latest_s(case)
    slow = [Verdict(Kind.SLOW, f"a task started {late_s:.1f} s late")] if late_s > LATE_MAX_S else []
    told: Findings = replace(found, verdicts=[*found.verdicts, *slow], notes={"latest_start_s": round(late_s, 2)})
    return told


def set_clocks_on_sqlite(stage: Stage, count: int) -> Findings:
    """Set the clock of the one machine of all workers. What is due goes by it, so that nothing here can be early."""
    with stage.crew(SqliteGround(stage.folder), **FOREVER) as crew:
        case = turned(stage, crew, [stage.folder / "clock"], count)
    return findings(replace(case, ahead_us=20 * YEAR_S * 1_000_000), count)


def turned(stage: Stage, crew: Crew, files: list[Path], count: int) -> Case:
    """Set clocks under load, so many times in all, and put them right in the end."""
    for number in range(WORKERS):
        file = files[number % len(files)]
        set_clock(file, 0)
        crew.start(1, serve, file)
    crew.await_nodes(WORKERS)
    with Load(crew, lambda: [stage.step(2.0, longest_us=50_000) for _ in range(10)], 0.1):
        for done in range(count):
            set_clock(stage.random.choice(files), stage.random.choice(OFFSETS_S))
            threading.Event().wait(stage.random.random() * GAP_MAX_S)
            stage.say(f"{done + 1} of {count} times, {len(crew.asked)} tasks")
    for file in files:
        set_clock(file, 0)
    crew.drain()
    return crew.case()


def latest_s(case: Case) -> float:
    """Return how late the first run of a task began at most."""
    first: dict[str, int] = {}
    for entry in case.entries:
        if entry.event == START:
            first.setdefault(entry.task_id, entry.wall_us)
    return max((at - case.asked[task_id]) / 1e6 for task_id, at in first.items())
