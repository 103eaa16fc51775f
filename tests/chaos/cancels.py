"""Tasks that are cancelled by another process than the one that runs them, and tasks that are about to start."""

from __future__ import annotations

from statistics import quantiles
from typing import Any

from kokugen import TaskParam
from kokugen.repository.rows import CancelResult
from tests.chaos.stage import Findings, Stage, proven
from tests.faults.crew import Crew, await_until, soon
from tests.faults.ground import PostgresGround
from tests.faults.journal import HEARD, START, boot_ns
from tests.faults.judge import Case, Kind, Verdict, judge
from tests.servers.stores import with_options

WORKERS = 4
AT_ONCE = 50
SOON_MAX_S = 0.5
"""What is about to start is due within so long: as long as cancelling all of it takes, on a slow machine too."""
HINTED_MAX_S, BEATEN_MAX_S = 2.0, 12.0
DEFAULTS: dict[str, Any] = {"ttl_s": 30.0, "beat_s": 10.0, "margin_s": 5.0, "rpc_s": 4.0, "watch_s": 5.0, "poll_s": 1.0}


def cancel_by_hint(stage: Stage, count: int) -> Findings:
    """Cancel where processes hear of it by a notification."""
    return cancel(stage, count, HINTED_MAX_S)


def cancel_by_beat(stage: Stage, count: int) -> Findings:
    """Cancel behind a pooler, where nobody can be notified and the beat must do."""
    return cancel(stage, count, BEATEN_MAX_S, pooled="true")


def cancel(stage: Stage, count: int, signal_max_s: float, **options: str) -> Findings:
    """Cancel as many running tasks, and as many that are about to start; by the default settings."""
    asked: dict[str, int] = {}
    with stage.server() as server:
        ground = PostgresGround(server.url, stage.folder, timeout_s=DEFAULTS["rpc_s"])
        ground.url = with_options(ground.url, **options) if options else ground.url
        with stage.crew(ground, **DEFAULTS) as crew:
            crew.start(WORKERS)
            crew.await_nodes(WORKERS)
            while len(asked) < count:
                asked |= cancel_some(stage, crew, min(AT_ONCE, count - len(asked)))
                stage.say(f"{len(asked)} of {count} cancelled while running")
            crew.drain()
            case = crew.case()
    return signalled(case, asked, signal_max_s)


def cancel_some(stage: Stage, crew: Crew, count: int) -> dict[str, int]:
    """Cancel running tasks; return when each was asked to stop, and wait until all have heard of it."""
    lines = len(crew.journal)
    ids = crew.ask([TaskParam(work_id="until_cancelled", scheduled_time=soon()) for _ in range(count)])
    await_until(lambda: len(crew.journal) >= lines + count, "the runs")
    dues = [soon(SOON_MAX_S * stage.random.random()) for _ in range(count)]
    racing = crew.ask([TaskParam(work_id="until_cancelled", scheduled_time=due) for due in dues])
    asked: dict[str, int] = {}
    for running, starting in zip(ids, racing, strict=True):
        crew.cancel(starting)
        asked[running] = boot_ns()
        assert crew.cancel(running) is CancelResult.REQUESTED
    await_until(lambda: ids_of(crew, HEARD) >= set(ids), "the last one to hear of its cancellation")
    return asked


def ids_of(crew: Crew, event: str) -> set[str]:
    return {entry.task_id for entry in crew.journal.entries() if entry.event == event}


def signalled(case: Case, asked: dict[str, int], signal_max_s: float) -> Findings:
    heard = {entry.task_id: entry.boot_ns for entry in case.entries if entry.event == HEARD}
    spans = [(heard[task_id] - at) / 1e9 for task_id, at in asked.items()]
    p99 = quantiles(spans, n=100)[-1] if len(spans) > 1 else spans[0]
    verdicts = judge(case)
    if p99 > signal_max_s:
        verdicts.append(Verdict(Kind.SLOW, f"p99 of the signal is {p99:.1f} s, and {signal_max_s} s is the bound"))
    never_ran = len(case.tasks) - len({entry.task_id for entry in case.entries if entry.event == START})
    notes = {"signal_p99_s": round(p99, 2)}
    found = Findings(count=len(asked), tasks=len(case.tasks), verdicts=verdicts, recoveries_s=spans, notes=notes)
    return proven(found, cancelled_before_they_ran=never_ran)
