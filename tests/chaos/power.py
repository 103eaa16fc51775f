"""Power cuts under a store in a SQLite file, and a disk that fails in the middle of work."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from tests.chaos.stage import Findings, Stage, proven
from tests.faults.disk import FAULTS
from tests.faults.diskwork import DiskWork
from tests.faults.judge import Verdict
from tests.faults.powercuts import PowerCuts, Way


def cut_power_on_log(stage: Stage, count: int) -> Findings:
    """Cut the power of a store with a write-ahead log."""
    return cut_power(stage, count, Way(log=True))


def cut_power_on_journal(stage: Stage, count: int) -> Findings:
    """Cut the power of a store with a rollback journal, as an older SQLite keeps it."""
    return cut_power(stage, count, Way(log=False))


def cut_power(stage: Stage, count: int, way: Way) -> Findings:
    cuts = PowerCuts(stage.folder, stage.random, way)
    cuts.inflict(count)
    happened = cuts.happened
    found = Findings(count=count, tasks=cuts.tasks, verdicts=cuts.verdicts)
    shown = {"changes_lost": "change lost", "writes_torn": "write torn", "pages_written": "page written"}
    return proven(found, **{name: happened[told] for name, told in shown.items()})


WAYS = (Way(log=True), Way(log=False))


def cut_power_on_work(stage: Stage, count: int) -> Findings:
    """Cut the power of an engine at work, half of the times with a log, half with a journal."""
    works = [DiskWork(_folder(stage, way), stage.random, way) for way in WAYS]
    for work in works:
        work.cut_power(count // len(works))
    return _found(works, count)


def fail_disk(stage: Stage, count: int) -> Findings:
    """Have the disk of an engine at work fail, in every way, on a log and on a journal."""
    works = [DiskWork(_folder(stage, way), stage.random, way) for way in WAYS]
    for work in works:
        work.fail(count // len(works))
    found = _found(works, count)
    failed = {kind: sum(work.failed(kind) for work in works) for kind in FAULTS}
    return proven(found, **{f"failed_by_{kind.replace(' ', '_')}": times for kind, times in failed.items()})


def _folder(stage: Stage, way: Way) -> Path:
    (folder := stage.folder / ("log" if way.log else "journal")).mkdir()
    return folder


def _found(works: Sequence[DiskWork], count: int) -> Findings:
    verdicts: list[Verdict] = []
    tasks = 0
    for work in works:
        verdicts += work.verdicts()
        tasks += len(work.asked)
    spans = [span for work in works for span in work.resumed_s]
    told = sum(work.happened["error told"] for work in works)
    return Findings(
        count=count, tasks=tasks, verdicts=verdicts, recoveries_s=spans, notes={"errors_of_the_client": told}
    )
