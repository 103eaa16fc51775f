"""`kokugen demo`. Calls the stage, then the report."""

from __future__ import annotations

import contextlib
import tempfile
from collections.abc import Iterator
from pathlib import Path

import click

from kokugen.cli import console, store
from kokugen.cli.progress import progress

FAILED = 1


@click.command("demo")
@click.option("--keep", type=click.Path(path_type=Path), metavar="FILE", help="Keep the store in this new file.")
@store.json_option
def demo_command(keep: Path | None, as_json: bool) -> int:
    """Schedule real reminders, kill the worker twice, and count.

    Reminders with times in many zones are moved into the next seconds and scheduled into a SQLite file. A worker
    process delivers them; it is killed with SIGKILL twice and started again. The exit code is 1 if a reminder was
    lost, early, or delivered twice without a recorded takeover.
    """
    from kokugen import Scheduler
    from kokugen.cli.demo import report
    from kokugen.cli.demo.deliveries import read_deliveries
    from kokugen.cli.demo.reminders import read_reminders, shipped_file
    from kokugen.cli.demo.stage import Stage
    from kokugen.clock import SystemClock

    reminders = read_reminders(shipped_file())
    with place(keep) as path:
        log = path.with_name(path.name + ".deliveries")
        scheduler = Scheduler(f"sqlite:///{path}")
        with contextlib.closing(scheduler):
            with progress("delivered", len(reminders)) as bar:
                stage = Stage(scheduler, log, SystemClock(), bar._replace(say=lambda _: None) if as_json else bar)
                task_ids = stage.schedule(reminders)
                stage.play()
            found = report.report_of(task_ids, scheduler.tasks(), read_deliveries(log), stage.outages)
        if as_json:
            console.say_json(report.as_json(found, str(path), str(log), kept=keep is not None))
        else:
            console.say("\n" + "\n".join(report.in_words(found)))
            console.say(f"\n{where(path, keep)}")
    return 0 if found.good else FAILED


@contextlib.contextmanager
def place(keep: Path | None) -> Iterator[Path]:
    """Give the path of a store that is not there yet: kept if it was named, else removed in the end."""
    if keep is None:
        with tempfile.TemporaryDirectory(prefix="kokugen-demo-", ignore_cleanup_errors=True) as folder:
            yield Path(folder) / "reminders.db"
        return
    if keep.exists():
        raise click.UsageError(f"{keep} is there already: name a new file to keep the store in")
    if not keep.absolute().parent.is_dir():
        raise click.UsageError(f"there is no directory {keep.absolute().parent}: make it, or name another file")
    yield keep.absolute()


def where(path: Path, keep: Path | None) -> str:
    """Say where the store is, and how to look into it."""
    if keep is None:
        return f"The store was {path}, removed now: kokugen demo --keep reminders.db keeps it."
    return f"The store is {path}: kokugen list --url sqlite:///{path} looks into it."
