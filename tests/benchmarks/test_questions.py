"""Every benchmark works: at a tiny size, whose figures mean nothing. How fast anything is, no test asks."""

import math
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from benchmarks.answer import Answer, Scale
from benchmarks.runner import QUESTIONS

ROOT = Path(__file__).resolve().parent.parent.parent


def asked(*command: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, *command], cwd=ROOT, capture_output=True, text=True, timeout=280, check=False
    )


@pytest.mark.once
@pytest.mark.timeout(300)
@pytest.mark.parametrize("question", QUESTIONS)
def test_a_question_is_answered_with_one_line(question: str) -> None:
    done = asked("-m", f"benchmarks.{question}", "--tiny")
    assert (done.returncode, done.stderr) == (0, "")
    (line,) = done.stdout.splitlines()
    answer = msgspec.json.decode(line, type=Answer)
    assert (answer.question, answer.scale) == (question, Scale.TINY)
    assert answer.findings.figures
    for figure in answer.findings.figures:
        assert figure.low <= figure.median <= figure.high
        assert math.isfinite(figure.median)
        assert figure.met is None if figure.goal is None else figure.met is not None


def test_every_question_has_a_file_and_every_file_that_asks_is_a_question() -> None:
    files = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "\nASKS = " in path.read_text("utf-8")}
    assert files == set(QUESTIONS)


def test_an_unknown_question_is_refused() -> None:
    done = asked("benchmarks/run.py", "drian")
    assert done.returncode == 2
    assert done.stdout == ""
    assert "there is no benchmark 'drian'" in done.stderr
