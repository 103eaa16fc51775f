"""Where a row of the chaos runs: its folder, its chance, and servers and crews that end with it; and what it finds."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

from msgspec import Struct

from kokugen import TaskParam
from kokugen.clock import to_us
from kokugen.task import replace
from tests.faults.crew import Crew, soon
from tests.faults.ground import Ground
from tests.faults.journal import START
from tests.faults.judge import Case, Kind, Verdict, judge
from tests.servers.postgres import DURABLE, PostgresServer, newest, running

PROTOCOL = {"ttl_s": 6.0, "beat_s": 1.5, "margin_s": 1.0, "rpc_s": 1.0, "watch_s": 1.0, "poll_s": 0.5}
"""The fast settings: what is lost can be claimed again within ttl + 2 · watch + 1 s."""
TAKEOVER_MAX_S = 9.0
SHOWING = 50
"""From so many faults on, a row that hit nothing failed to show anything."""

Act = Callable[["Stage", int], "Findings"]


class Findings(Struct, frozen=True, kw_only=True):
    """What a row found."""

    count: int
    tasks: int
    verdicts: Sequence[Verdict]
    recoveries_s: Sequence[float] = ()
    notes: Mapping[str, float] = {}


class Row(Struct, frozen=True, kw_only=True):
    """One kind of fault, how often it is to happen, and what makes it happen."""

    name: str
    fault: str
    ci: int
    release: int
    sample: int
    act: Act


class Stage:
    """What one row is given."""

    def __init__(self, folder: Path, random: Random, say: Callable[[str], object]) -> None:
        self.folder = folder
        self.random = random
        self.say = say

    @contextmanager
    def server(self) -> Iterator[PostgresServer]:
        """Yield a server with the settings that users run."""
        with running(newest, DURABLE) as server:
            yield server

    @contextmanager
    def crew(self, ground: Ground, **numbers: Any) -> Iterator[Crew]:
        crew = Crew(self.folder, ground, **(PROTOCOL | numbers))
        try:
            yield crew
        finally:
            crew.close()

    def step(self, spread_s: float = 0.0, *, longest_us: int = 6000, once: float = 0.2) -> TaskParam:
        """Return a short task, due now or within the spread; a part of them may run once only."""
        random = self.random
        return TaskParam(
            work_id="step",
            scheduled_time=soon(random.choice((0.0, 1.0, 1.0)) * spread_s * random.random()),
            param=[random.randrange(longest_us)],
            mode="at_most_once" if random.random() < once else "at_least_once",
            max_lost=1000,
        )


class Load:
    """Keeps a crew busy from a thread of its own, whatever befalls the store meanwhile."""

    def __init__(self, crew: Crew, make: Callable[[], Sequence[TaskParam]], pause_s: float) -> None:
        self._crew = crew
        self._make = make
        self._pause_s = pause_s
        self._stop = threading.Event()
        self._failed: list[BaseException] = []
        self._thread = Thread(target=self._run, name="load", daemon=True)

    def _run(self) -> None:
        try:
            while not self._stop.wait(self._pause_s):
                self._crew.ask(self._make())
        except BaseException as error:
            self._failed.append(error)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()
        if self._failed:
            raise self._failed[0]


def takeovers(case: Case) -> list[float]:
    """Return how long after its process was killed or stopped each run could be claimed again, in seconds."""
    runs = {(entry.task_id, entry.fence): entry for entry in case.entries if entry.event == START}
    found = []
    for task_id, attempts in case.history.items():
        for attempt in attempts:
            run = runs.get((task_id, attempt.fence))
            if attempt.outcome != "lost" or run is None or attempt.finished_at is None:
                continue
            ended_us = to_us(attempt.finished_at)
            befell = [case.killed.get(run.pid, 0), *case.paused.get(run.pid, ())]
            since = [at for at in (run.wall_us + (ns - run.boot_ns) // 1000 for ns in befell) if at <= ended_us]
            found.append((ended_us - max([run.wall_us, *since])) / 1e6)
    return found


def findings(case: Case, count: int, **notes: float) -> Findings:
    """Return what is to be said of a case of killed or stopped processes."""
    spans = takeovers(case)
    verdicts = judge(case)
    if max(spans, default=0.0) > TAKEOVER_MAX_S:
        verdicts.append(Verdict(Kind.SLOW, f"a run was taken over after {max(spans):.1f} s"))
    return Findings(count=count, tasks=len(case.tasks), verdicts=verdicts, recoveries_s=spans, notes=notes)


def proven(found: Findings, **shown: int) -> Findings:
    """Return the findings, with a verdict on everything that a long run was to show and never met."""
    if found.count < SHOWING:
        return found
    empty = [Verdict(Kind.UNEXPLAINED, f"nothing was shown: no {what}") for what, times in shown.items() if not times]
    told: Findings = replace(found, verdicts=[*found.verdicts, *empty], notes={**found.notes, **shown})
    return told
