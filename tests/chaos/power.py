"""Power cuts under a store in a SQLite file, and a disk that fails in the middle of work."""

from __future__ import annotations

from tests.chaos.stage import Findings, Stage, proven
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
