"""Answers as a page for people: which goals were met, then a table for each question."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from benchmarks.answer import Answer, Figure, Machine, Scale
from benchmarks.histogram import bars

HEAD = """\
# Results

Written by `python3 dev.py bench`, from `results.jsonl` beside it; not by hand. [README.md](README.md) says how to read
it. Each figure is the median of its runs, with the lowest and the highest. SQLite is always `synchronous=FULL`, and
PostgreSQL has `fsync` and `synchronous_commit` on.
"""
BARRED = "tasks/s"
RELATIONS = {">=": "≥", "<=": "≤"}


def page(answers: Sequence[Answer]) -> str:
    """Return the whole page."""
    return "\n".join([HEAD, *_goals(answers), *(section(answer) for answer in answers)])


def section(answer: Answer) -> str:
    """Return what one question found."""
    findings = answer.findings
    parts = [f"## {answer.question}", answer.asks, *findings.notes, _where(answer)]
    for unit, figures in groupby(findings.figures, key=lambda figure: figure.unit):
        parts += _figures(unit, list(figures))
    for title, bins in findings.histograms.items():
        lines = bars(bins, [f"{count:,}" for _, count in bins])
        parts.append(_block([title, *lines]))
    return "\n\n".join(parts) + "\n"


def summary(answers: Sequence[Answer]) -> str:
    """Return how many of the goals are met."""
    goals = [figure for answer in answers for figure in answer.findings.figures if figure.goal is not None]
    return f"{sum(bool(one.met) for one in goals)} of {len(goals)} goals met"


def _goals(answers: Sequence[Answer]) -> Iterator[str]:
    yield "## Goals\n"
    yield "| question | what | goal | measured | |\n|---|---|--:|--:|---|"
    for answer in answers:
        for one in answer.findings.figures:
            if one.goal is not None:
                met = "met" if one.met else "**missed**"
                yield f"| {answer.question} | {one.name} | {_goal(one)} | {number(one.median)} {one.unit} | {met} |"
    yield ""


def _where(answer: Answer) -> str:
    scale = "" if answer.scale is Scale.FULL else f" A {answer.scale.value} run: its figures are rough."
    return f"{answer.date}, {_machine(answer.machine)}.{scale}"


def _machine(machine: Machine) -> str:
    return (
        f"{machine.cores} cores of {machine.cpu}, {machine.system}, {machine.python}, SQLite {machine.sqlite}"
        f" on {machine.disk}, load {machine.load:g} at the start"
    )


def _figures(unit: str, figures: list[Figure]) -> list[str]:
    rows = [f"| {unit} | median | lowest | highest | runs | goal |", "|---|--:|--:|--:|--:|---|"]
    for one in figures:
        met = "" if one.goal is None else f"{_goal(one)}: {'met' if one.met else '**missed**'}"
        spread = f"{number(one.low)} | {number(one.high)}"
        rows.append(f"| {one.name} | **{number(one.median)}** | {spread} | {one.repetitions} | {met} |")
    table = "\n".join(rows)
    if unit != BARRED:
        return [table]
    values = [(one.name, one.median) for one in figures]
    return [table, _block(bars(values, [number(one.median) for one in figures]))]


def _goal(figure: Figure) -> str:
    assert figure.goal is not None
    return f"{RELATIONS[figure.goal.relation]} {number(figure.goal.value)}"


def _block(lines: Sequence[str]) -> str:
    return "\n".join(["```text", *lines, "```"])


def number(value: float) -> str:
    """Return a number with about three digits that count, and thousands separated."""
    size = abs(value)
    digits = 0 if size >= 100 else 1 if size >= 10 else 2 if size >= 1 else 3
    text = f"{value:,.{digits}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
