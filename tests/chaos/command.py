"""The command line of the chaos: which rows, how often, from which seed; and its report."""

from __future__ import annotations

import argparse
import random
import shutil
import tempfile
import time
import traceback
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from statistics import median

import click
import msgspec
from msgspec import Struct

from tests.chaos.rows import ROWS
from tests.chaos.stage import Findings, Row, Stage
from tests.faults.judge import Kind, Verdict

SHOWN_MAX = 10
HEADS = ("fault", "count", "tasks", *(kind.value for kind in Kind), "recovery p50/max", "time")


class Report(Struct, frozen=True, kw_only=True):
    """What is told of one row."""

    row: str
    fault: str
    seed: str
    found: Findings
    seconds: float

    @property
    def kinds(self) -> Counter[Kind]:
        return Counter(verdict.kind for verdict in self.found.verdicts)

    def cells(self) -> list[str]:
        """Return its line of the table."""
        spans = self.found.recoveries_s
        recovery = f"{median(spans):.2f} / {max(spans):.2f} s" if spans else "–"
        numbers = (self.found.count, self.found.tasks, *(self.kinds[kind] for kind in Kind))
        return [self.fault, *(f"{number:,}" for number in numbers), recovery, f"{self.seconds:.0f} s"]

    def json(self) -> str:
        """Return it as one line of JSON."""
        spans = self.found.recoveries_s
        told = {
            "row": self.row,
            "seed": self.seed,
            "count": self.found.count,
            "tasks": self.found.tasks,
            **{kind.value: self.kinds[kind] for kind in Kind},
            "recovery_p50_s": round(median(spans), 3) if spans else None,
            "recovery_max_s": round(max(spans), 3) if spans else None,
            "seconds": round(self.seconds, 1),
            **self.found.notes,
        }
        return msgspec.json.encode(told).decode()


def run(arguments: Sequence[str]) -> int:
    """Run the rows that are asked for; return the exit code."""
    options = parsed(arguments)
    known = {row.name: row for row in ROWS}
    chosen = [known[name] for name in options.rows]
    say(f"seed {options.seed}")
    reports = [perform(row, figure(row, options), f"{options.seed}-{row.name}") for row in chosen]
    click.echo("\n" + table([HEADS, *(report.cells() for report in reports)]))
    if options.json:
        click.echo("\n".join(report.json() for report in reports))
    broken = sum(len(report.found.verdicts) for report in reports)
    for report in reports:
        say_broken(report)
    click.echo(f"\nchaos: {len(reports)} rows, {broken} broken promises")
    return 1 if broken else 0


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="dev.py chaos", description="Real faults, real processes, and a judge.")
    parser.add_argument("rows", nargs="*", metavar="ROW", help=f"which rows: {', '.join(names)} (all)")
    parser.add_argument("--ci", action="store_true", help="the figures of every change, not those before a release")
    parser.add_argument("--count", type=int, metavar="N", help="so many faults in each row")
    parser.add_argument("--seed", default=str(random.randrange(10**6)), help="what chance is drawn from")
    parser.add_argument("--json", action="store_true", help="print a line of JSON for each row, too")
    options = parser.parse_args(arguments)
    if unknown := set(options.rows) - set(names):
        parser.error(f"there is no row {min(unknown)}: choose among {', '.join(names)}")
    options.rows = options.rows or names
    return options


def figure(row: Row, options: argparse.Namespace) -> int:
    return options.count or (row.ci if options.ci else row.release)


def perform(row: Row, count: int, seed: str) -> Report:
    """Run one row, and say what it found; one that fails itself is a broken promise."""
    folder = Path(tempfile.mkdtemp(prefix="kk-ch-"))
    begun = time.monotonic()
    say(f"{row.fault}, {count} times")
    try:
        found = row.act(Stage(folder, random.Random(seed), lambda text: say(f"  {row.name}: {text}")), count)
    except Exception as error:
        traceback.print_exc()
        found = Findings(count=0, tasks=0, verdicts=[Verdict(Kind.UNEXPLAINED, f"the row failed: {error!r}")])
    report = Report(row=row.name, fault=row.fault, seed=seed, found=found, seconds=time.monotonic() - begun)
    say_broken(report)
    say(f"{row.fault}: {report.json()}")
    shutil.rmtree(folder) if not found.verdicts else say(f"  its journal is kept in {folder}")
    return report


def say_broken(report: Report) -> None:
    for verdict in report.found.verdicts[:SHOWN_MAX]:
        say(f"  {report.row}: {verdict.kind.value.upper()} {verdict.words}")


def table(lines: Sequence[Sequence[str]]) -> str:
    """Return lines as columns, the first one to the left."""
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    rows = ("  ".join((line[0].ljust(widths[0]), *map(str.rjust, line[1:], widths[1:]))) for line in lines)
    return "\n".join(rows)


def say(text: str) -> None:
    click.echo(f"chaos: {text}")
