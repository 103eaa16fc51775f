"""A sample of every row of the chaos; `python3 dev.py chaos` is the whole. And its command line."""

from __future__ import annotations

import sys
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import pytest

from tests.chaos import command
from tests.chaos.rows import ROWS
from tests.chaos.stage import Act, Findings, Row, Stage
from tests.faults.judge import Kind, Verdict
from tests.servers.fixtures import missing
from tests.servers.postgres import MissingServer

SEED = 20260101
BROKEN = Findings(count=3, tasks=5, verdicts=[Verdict(Kind.LOST, "a: gone")], recoveries_s=[1.0, 3.0, 2.0])


@pytest.mark.skipif(sys.platform == "win32", reason="SIGSTOP and SIGKILL are of POSIX")
@pytest.mark.once
@pytest.mark.timeout(300)
@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.name)
def test_no_promise_is_broken_by(row: Row, tmp_path: Path) -> None:
    try:
        found = row.act(Stage(tmp_path, Random(SEED), print), row.sample)
    except MissingServer as error:
        missing(error)
        return
    assert [verdict for verdict in found.verdicts if verdict.kind is not Kind.SLOW] == []
    assert found.count >= row.sample
    assert found.tasks > 0


# -- The command line


def rows(monkeypatch: pytest.MonkeyPatch, *found: Findings | Exception) -> None:
    """Have the command know rows that find this."""

    def finding(answer: Findings | Exception) -> Act:
        def act(_stage: Stage, _count: int) -> Findings:
            if isinstance(answer, Exception):
                raise answer
            return answer

        return act

    about: dict[str, Any] = {"fault": "a fault", "ci": 1, "release": 2, "sample": 1}
    made = (Row(name=f"row-{number}", act=finding(one), **about) for number, one in enumerate(found))
    monkeypatch.setattr(command, "ROWS", tuple(made))


def test_a_broken_promise_is_told_counted_and_fails_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(monkeypatch, BROKEN)
    assert command.run(["--json", "--seed", "7"]) == 1
    told = capsys.readouterr().out
    assert "LOST a: gone" in told
    assert "2.00 / 3.00 s" in told
    assert "1 rows, 1 broken promises" in told
    line = msgspec.json.decode(next(line for line in told.splitlines() if line.startswith("{")))
    assert (line["row"], line["seed"], line["lost"], line["recovery_max_s"]) == ("row-0", "7-row-0", 1, 3.0)


def test_a_row_that_fails_itself_is_a_broken_promise_and_stops_no_other(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rows(monkeypatch, OSError("no more processes"), msgspec.structs.replace(BROKEN, verdicts=()))
    assert command.run([]) == 1
    assert "2 rows, 1 broken promises" in capsys.readouterr().out


def test_a_clean_run_ends_with_nought(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    rows(monkeypatch, msgspec.structs.replace(BROKEN, verdicts=()))
    assert command.run(["row-0"]) == 0
    assert "1 rows, 0 broken promises" in capsys.readouterr().out


def test_a_row_that_there_is_not_is_refused_with_the_known_ones(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        command.run(["earthquake"])
    assert "kill-sqlite" in capsys.readouterr().err


@pytest.mark.parametrize(("words", "count"), [([], "release"), (["--ci"], "ci"), (["--count", "5"], "5")])
def test_the_figures_are_those_that_are_asked_for(words: list[str], count: str) -> None:
    options = command.parsed(words)
    row = ROWS[0]
    assert command.figure(row, options) == {"release": row.release, "ci": row.ci, "5": 5}[count]
