"""Asks the questions, each in a process of its own, and writes what they found. `run.py` calls it."""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import msgspec

from benchmarks.answer import Answer
from benchmarks.measure import ROOT
from benchmarks.peers import INSTALLED
from benchmarks.report import page, section, summary

QUESTIONS = (
    "drain",
    "insert",
    "single",
    "lateness",
    "due_now",
    "due_elsewhere",
    "idle",
    "waiting",
    "backlog",
    "dispatch",
    "triggers",
    "schedules_stored",
    "schedules_lateness",
    "schedules_instant",
    "schedules_storm",
    "schedules_missed",
    "limits_drain",
    "postgres_drain",
    "postgres_insert",
    "postgres_lateness",
    "postgres_backlog",
    "postgres_driver",
)
FOLDER = ROOT / "benchmarks"
LINES, PAGE = FOLDER / "results.jsonl", FOLDER / "RESULTS.md"


def main(words: Sequence[str]) -> int:
    """Run what the command line asks for; return the exit code, which is 1 where a question could not be answered."""
    options = _options(words)
    if not INSTALLED:
        print("the peers are not installed here: `python3 dev.py bench` compares with them too", file=sys.stderr)
    scale = ["--quick"] if options.quick else ["--tiny"] if options.tiny else []
    answers = {}
    for name in options.names or QUESTIONS:
        answer = ask(name, scale)
        if answer is not None:
            answers[name] = answer
            print(section(answer), flush=True)
    print(summary(list(answers.values())))
    if not scale:
        keep(answers, LINES, PAGE)
        print(f"written to {PAGE.relative_to(ROOT).as_posix()}")
    return 0 if len(answers) == len(options.names or QUESTIONS) else 1


def _options(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py bench", description="Measure kokugen's speed beside its peers'.")
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(QUESTIONS)}; all if none is given")
    less = parser.add_mutually_exclusive_group()
    less.add_argument("--quick", action="store_true", help="measure less, show it, and write nothing")
    less.add_argument("--tiny", action="store_true", help="only see that it works, and write nothing")
    options = parser.parse_args(words)
    unknown = [name for name in options.names if name not in QUESTIONS]
    if unknown:
        parser.error(f"there is no benchmark {unknown[0]!r}: use {', '.join(QUESTIONS)}")
    return options


def ask(name: str, options: Sequence[str]) -> Answer | None:
    """Run one question and return its answer; None, and its own words on stderr, where it failed."""
    command = [sys.executable, "-m", f"benchmarks.{name}", *options]
    asked = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, check=False)
    if asked.returncode:
        print(f"{name} failed with exit code {asked.returncode}", file=sys.stderr)
        return None
    return msgspec.json.decode(asked.stdout, type=Answer)


def keep(answers: dict[str, Answer], lines: Path, target: Path) -> None:
    """Put answers in place of the earlier ones to the same questions, and write the page anew."""
    earlier = lines.read_bytes().splitlines() if lines.exists() else []
    known = {one.question: one for one in (msgspec.json.decode(line, type=Answer) for line in earlier)} | answers
    ordered = [known[name] for name in QUESTIONS if name in known]
    lines.write_bytes(b"".join(msgspec.json.encode(answer) + b"\n" for answer in ordered))
    target.write_text(page(ordered), encoding="utf-8")
