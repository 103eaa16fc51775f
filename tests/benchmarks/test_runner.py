"""What is kept of the answers, and how they are told."""

from pathlib import Path

import msgspec
import pytest

from benchmarks.answer import Answer, Figure, Findings, Goal, Machine, Scale, at_least, at_most, figure, ratio
from benchmarks.histogram import bins
from benchmarks.measure import Contender, TrialError, Values, interleave
from benchmarks.report import number, page, section, summary
from benchmarks.runner import keep

MACHINE = Machine(cores=2, cpu="A CPU", system="Linux", python="CPython 3.11", sqlite="3.51", disk="ext4", load=0.5)


def answer(question: str, *figures: Figure, date: str = "2026-01-01") -> Answer:
    findings = Findings(figures=list(figures), notes=["A note."], histograms={"late": [("≤ 1 ms", 3), ("≤ 2 ms", 1)]})
    return Answer(question=question, asks="?", date=date, scale=Scale.FULL, machine=MACHINE, findings=findings)


def fine() -> Values:
    return {"rate": 1.0}


def failing() -> Values:
    raise ValueError("it does not work here")


def test_a_peer_that_fails_is_left_out_and_told_of(capfd: pytest.CaptureFixture[str]) -> None:
    trials = interleave("drain", [Contender("ours", fine), Contender("a peer", failing, optional=True)], 1)
    assert trials == {"ours": [{"rate": 1.0}]}
    assert "a peer failed, and is left out" in capfd.readouterr().err


def test_kokugen_must_not_fail() -> None:
    with pytest.raises(TrialError, match="it does not work here"):
        interleave("drain", [Contender("ours", failing)], 1)


def test_a_figure_is_the_median_with_the_lowest_and_the_highest() -> None:
    found = figure("drain", "tasks/s", [3.0, 1.0, 8.0])
    assert (found.median, found.low, found.high, found.repetitions) == (3.0, 1.0, 8.0, 3)


@pytest.mark.parametrize(
    ("goal", "met"), [(at_least(3), True), (at_least(3.1), False), (at_most(3), True), (at_most(2.9), False)]
)
def test_a_goal_is_met_by_the_median(goal: Goal, met: bool) -> None:
    assert figure("drain", "tasks/s", [3.0, 1.0, 8.0], goal).met is met


def test_a_ratio_is_of_trials_that_ran_side_by_side() -> None:
    trials = {"a": [{"rate": 10.0}, {"rate": 1.0}], "b": [{"rate": 20.0}, {"rate": 4.0}]}
    found = ratio(trials, ("a", "b"))
    assert (found.low, found.median, found.high) == (25.0, 37.5, 50.0)


def test_a_new_answer_takes_the_place_of_the_old_one_and_leaves_the_others(tmp_path: Path) -> None:
    lines, target = tmp_path / "results.jsonl", tmp_path / "RESULTS.md"
    old = {name: answer(name, figure(name, "ms", [1.0]), date="old") for name in ("insert", "drain")}
    keep(old, lines, target)
    keep({"insert": answer("insert", figure("insert", "ms", [2.0]), date="new")}, lines, target)
    kept = [msgspec.json.decode(line, type=Answer) for line in lines.read_bytes().splitlines()]
    assert [(one.question, one.date) for one in kept] == [("drain", "old"), ("insert", "new")]
    assert target.read_text("utf-8") == page(kept)


def test_the_page_tells_each_figure_its_goal_and_where_it_was_measured() -> None:
    told = section(answer("drain", figure("threads", "tasks/s", [12_345.0, 11_000.0, 13_000.0], at_least(30_000))))
    assert "| threads | **12,345** | 11,000 | 13,000 | 3 | ≥ 30,000: **missed** |" in told
    assert "2026-01-01, 2 cores of A CPU, Linux, CPython 3.11, SQLite 3.51 on ext4" in told
    assert "≤ 1 ms ████" in told
    assert "A note." in told


def test_the_summary_counts_the_goals_that_are_met() -> None:
    figures = [figure("a", "ms", [1.0], at_most(2)), figure("b", "ms", [3.0], at_most(2)), figure("c", "ms", [9.0])]
    assert summary([answer("lateness", *figures)]) == "1 of 2 goals met"


def test_every_value_falls_into_the_bin_whose_edge_it_does_not_exceed() -> None:
    assert [pair for pair in bins([0.5, 0.51, 1.0, 0.01]) if pair[1]] == [
        ("≤ 0.125 ms", 1),
        ("≤ 0.5 ms", 1),
        ("≤ 1 ms", 2),
    ]
    assert bins([9999.0])[-1] == ("> 2048 ms", 1)


@pytest.mark.parametrize(
    ("value", "text"), [(41_822.4, "41,822"), (58.26, "58.3"), (3.0, "3"), (0.3401, "0.34"), (0, "0"), (-0.5, "-0.5")]
)
def test_a_number_has_the_digits_that_count(value: float, text: str) -> None:
    assert number(value) == text
