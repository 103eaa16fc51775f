"""A worker at work for long beside a transaction that is never closed, so that no vacuum takes away what is over."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from statistics import median, quantiles
from threading import Thread

import asyncpg
from msgspec import Struct

from kokugen.clock import SECOND_US
from tests.chaos.stage import Findings, Load, Stage
from tests.faults.ground import PostgresGround
from tests.faults.journal import START
from tests.faults.judge import Case, Kind, Verdict, judge

TASKS, PAUSE_S = 20, 0.2
LOOK_S = 1.0
GROWTH_MAX, SLOWER_MAX = 1.05, 3.0
LONG = 600
"""From so many seconds on the figures mean something."""


class Usage(Struct, frozen=True):
    """What a process uses."""

    resident_kb: int
    descriptors: int
    threads: int


def soak(stage: Stage, count: int) -> Findings:
    """Keep one worker busy for so many seconds, and watch what it uses and how late it starts what is due at once."""
    with stage.server() as server, stage.crew(PostgresGround(server.url, stage.folder)) as crew:
        (pid,) = crew.start(1)
        crew.await_nodes(1)
        with old_snapshot(server.url), Load(crew, lambda: [stage.step(longest_us=1) for _ in range(TASKS)], PAUSE_S):
            used = [look(stage, pid, second, count) for second in range(count)]
        crew.drain()
        return shown(crew.case(), count, used)


@contextmanager
def old_snapshot(url: str) -> Iterator[None]:
    """Keep a transaction open that has read, so that the server keeps every version of a row from then on."""
    opened, over = threading.Event(), threading.Event()

    async def hold() -> None:
        link = await asyncpg.connect(url)
        async with link.transaction(isolation="repeatable_read"):
            await link.fetchval("SELECT count(*) FROM pg_class")
            opened.set()
            await asyncio.to_thread(over.wait)
        await link.close()

    holder = Thread(target=asyncio.run, args=(hold(),), name="old snapshot", daemon=True)
    holder.start()
    assert opened.wait(30), "no old snapshot"
    try:
        yield
    finally:
        over.set()
        holder.join()


def look(stage: Stage, pid: int, second: int, count: int) -> Usage:
    threading.Event().wait(LOOK_S)
    if second % 60 == 59:
        stage.say(f"{second + 1} of {count} seconds")
    words = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text("ascii").splitlines())
    descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Usage(int(words["VmRSS"].split()[0]), descriptors, int(words["Threads"]))


def shown(case: Case, count: int, used: Sequence[Usage]) -> Findings:
    """Compare the last fifth of the time with the second one, when everything was warm."""
    part = max(count // 5, 1)
    before, after = used[part : 2 * part] or used, used[-part:]
    starts = sorted(
        (entry.wall_us, entry.wall_us - case.asked[entry.task_id]) for entry in case.entries if entry.event == START
    )
    spans = [late for at, late in starts if at - starts[0][0] < count * SECOND_US]
    fifth = max(len(spans) // 5, 2)
    p99_before, p99_after = (quantiles(one, n=100)[98] for one in (spans[fifth : 2 * fifth], spans[-fifth:]))
    grown = median(one.resident_kb for one in after) / median(one.resident_kb for one in before)
    told = judge(case)
    if count >= LONG:
        told += _growth(before, after, grown)
        if p99_after > SLOWER_MAX * p99_before:
            told.append(
                Verdict(Kind.SLOW, f"starts took {p99_before / 1e3:.1f} ms (p99), and {p99_after / 1e3:.1f} in the end")
            )
    notes = {
        "grown": round(grown, 3),
        "late_p99_ms": round(p99_before / 1e3, 1),
        "late_p99_end_ms": round(p99_after / 1e3, 1),
    }
    return Findings(count=count, tasks=len(case.tasks), verdicts=told, notes=notes)


def _growth(before: Sequence[Usage], after: Sequence[Usage], grown: float) -> Iterator[Verdict]:
    if grown > GROWTH_MAX:
        yield Verdict(Kind.UNEXPLAINED, f"the worker's memory grew by {grown - 1:.0%}")
    for name in ("descriptors", "threads"):
        most = [max(getattr(one, name) for one in part) for part in (before, after)]
        if most[1] > most[0]:
            yield Verdict(Kind.UNEXPLAINED, f"the worker had {most[0]} {name}, and {most[1]} in the end")
