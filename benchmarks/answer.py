"""What comes out of a question: figures with their spread, on which machine and when, as one line of JSON."""

from __future__ import annotations

import argparse
import os
import platform
import sys
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from statistics import median
from typing import Literal

import msgspec
from msgspec import Struct

from benchmarks.measure import ROOT, Trials


class Scale(Enum):
    """How much is measured."""

    FULL = "full"
    QUICK = "quick"
    TINY = "tiny"
    """Just enough to see that it works; its figures mean nothing."""


class Goal(Struct, frozen=True):
    """A figure's median is to be at least, or at most, this."""

    relation: Literal[">=", "<="]
    value: float

    def met(self, figure: float) -> bool:
        return figure >= self.value if self.relation == ">=" else figure <= self.value


class Figure(Struct, frozen=True, kw_only=True):
    """A measured quantity: the median of its repetitions, the lowest and the highest of them."""

    name: str
    unit: str
    median: float
    low: float
    high: float
    repetitions: int
    goal: Goal | None = None
    met: bool | None = None


class Machine(Struct, frozen=True, kw_only=True):
    """Where it was measured."""

    cores: int
    cpu: str
    system: str
    python: str
    sqlite: str
    disk: str
    load: float
    """The system's load when the measurement began: how much else was going on."""


class Findings(Struct, frozen=True, kw_only=True):
    """What one run of a question found."""

    figures: list[Figure]
    notes: list[str]
    histograms: dict[str, list[tuple[str, int]]] = {}
    """By title: the labels of the bins, and how many fell into each."""


class Answer(Struct, frozen=True, kw_only=True):
    """The findings, and where they come from."""

    question: str
    asks: str
    date: str
    scale: Scale
    machine: Machine
    findings: Findings


def scale_of(words: Sequence[str], asks: str) -> Scale:
    """Return the scale that the command line asks for."""
    parser = argparse.ArgumentParser(description=asks)
    one = parser.add_mutually_exclusive_group()
    one.add_argument("--quick", dest="scale", action="store_const", const=Scale.QUICK, help="measure less")
    one.add_argument("--tiny", dest="scale", action="store_const", const=Scale.TINY, help="only see that it works")
    return parser.parse_args(words).scale or Scale.FULL


def figure(name: str, unit: str, samples: Sequence[float], goal: Goal | None = None) -> Figure:
    """Return the figure of repeated measurements."""
    middle = median(samples)
    return Figure(
        name=name,
        unit=unit,
        median=middle,
        low=min(samples),
        high=max(samples),
        repetitions=len(samples),
        goal=goal,
        met=None if goal is None else goal.met(middle),
    )


def at_least(value: float) -> Goal:
    return Goal(">=", value)


def at_most(value: float) -> Goal:
    return Goal("<=", value)


def series(trials: Trials, key: str, unit: str, goals: dict[str, Goal] | None = None) -> list[Figure]:
    """Return the figure of one value for every contender that has it."""
    found = {name: [trial[key] for trial in ones if trial.get(key) is not None] for name, ones in trials.items()}
    return [figure(name, unit, ones, (goals or {}).get(name)) for name, ones in found.items() if ones]


def ratio(
    trials: Trials,
    pair: tuple[str, str],
    key: str = "rate",
    *,
    name: str = "",
    goal: Goal | None = None,
    unit: str = "%",
) -> Figure:
    """Return how one contender does beside another, from the pairs that ran one after the other."""
    factor = 100 if unit == "%" else 1
    mine, theirs = (trials[one] for one in pair)
    samples = [factor * a[key] / b[key] for a, b in zip(mine, theirs, strict=False)]
    return figure(name or f"{pair[0]} / {pair[1]}", unit, samples, goal)


def overtaken(figures: Sequence[Figure], ours: str, units: dict[str, bool], why: str) -> list[str]:
    """Return a note on each unit in which another is ahead of ours; `units` tells of each whether more is better."""
    notes = []
    for unit, more in units.items():
        values = {one.name: one.median for one in figures if one.unit == unit}
        mine = values.pop(ours)
        ahead = [name for name, value in values.items() if (value > mine) == more and not _is_ours(name)]
        if ahead:
            notes.append(f"Ahead of kokugen in {unit}: {', '.join(ahead)}. {why}")
    return notes


def _is_ours(name: str) -> bool:
    """Return whether a name is of kokugen, or of a limit without a scheduler."""
    return name.startswith(("kokugen", "bare loop", "one thread"))


def machine() -> Machine:
    """Return what this machine is."""
    import apsw

    return Machine(
        cores=os.cpu_count() or 1,
        cpu=_cpu(),
        system=f"{platform.system()} {platform.release()}",
        python=f"{platform.python_implementation()} {platform.python_version()}",
        sqlite=apsw.sqlite_lib_version(),
        disk=_file_system(),
        load=round(os.getloadavg()[0], 2) if hasattr(os, "getloadavg") else 0.0,
    )


def _cpu() -> str:
    facts = Path("/proc/cpuinfo")
    if not facts.exists():
        return platform.processor() or platform.machine()
    lines = facts.read_text(encoding="utf-8").splitlines()
    return next((line.partition(": ")[2] for line in lines if line.startswith("model name")), platform.machine())


def _file_system() -> str:
    """Return the kind of file system that the stores are on, where the system tells."""
    mounts = Path("/proc/self/mounts")
    if not mounts.exists():
        return "unknown"
    fields = [line.split() for line in mounts.read_text(encoding="utf-8").splitlines()]
    holding = [(len(one[1]), one[2]) for one in fields if ROOT.is_relative_to(one[1])]
    return max(holding)[1]


def tell(question: str, asks: str, words: Sequence[str] | None, measure: Callable[[Scale], Findings]) -> None:
    """Measure at the scale that the command line asks for, and print the answer as one line."""
    scale = scale_of(sys.argv[1:] if words is None else words, asks)
    date, where = datetime.now(UTC).isoformat(timespec="seconds"), machine()
    answer = Answer(question=question, asks=asks, date=date, scale=scale, machine=where, findings=measure(scale))
    sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
