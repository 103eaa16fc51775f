"""Simulated clusters in trouble: no promise broken, and everything over once there is peace.

KOKUGEN_SEEDS is how many histories (200). A failure names its seed, and the command that plays it again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from kokugen.task import replace
from tests.simulation.command import Totals, replay, run
from tests.simulation.judge import PROMISES
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import CLOCKS, EVERY_SQLITE, RACES, TROUBLE_S, TROUBLES, Deed, plan_of
from tests.simulation.play import play, shrunk

pytestmark = [pytest.mark.timeout(900), pytest.mark.once]

SEEDS = int(os.environ.get("KOKUGEN_SEEDS", "200"))
BLOCK = 25
ROOT = Path(__file__).parents[2]
OFTEN = (
    "crash",
    "crash at an await",
    "pause",
    "suspend",
    "cut off",
    "outage",
    "stop",
    "recovered",
    "outbox full",
    "pruned",
)
HASHES = "from tests.simulation.play import play; print(*[play(seed).trace_hash for seed in (1, 2, 7)])"


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_trouble_breaks_a_promise(first: int) -> None:
    totals = Totals()
    for seed in range(first, first + BLOCK):
        totals.take(play(seed))
    broken = [f"{one.broken[0]}: {replay(one.plan.seed, None)}" for one in totals.broken]
    assert broken == []
    assert [kind for kind in OFTEN if not totals.happened[kind]] == [], "these histories showed too little"
    assert [one for one in PROMISES if one != "I8" and not totals.checked[one]] == []


def test_every_deed_there_is_can_be_drawn() -> None:
    drawn = Counter(deed.what for seed in range(500) for deed in plan_of(seed).deeds)
    assert [name for name in (*RACES, *TROUBLES, *CLOCKS) if drawn[name] < 10] == []


@pytest.mark.parametrize("seed", [0, 3, EVERY_SQLITE - 1])
def test_a_seed_is_one_history(seed: int) -> None:
    once, again = play(seed), play(seed)
    assert once.trace_hash == again.trace_hash
    assert once.told == again.told
    assert once.trace_hash != play(seed + EVERY_SQLITE).trace_hash


def test_a_seed_is_the_same_history_in_every_process() -> None:
    told = [
        subprocess.run(
            [sys.executable, "-c", HASHES],
            cwd=ROOT,
            env=os.environ | {"PYTHONHASHSEED": number},
            capture_output=True,
            text=True,
            check=True,
            timeout=600,
        ).stdout
        for number in ("1", "2")
    ]
    assert told[0] == told[1]


def test_a_history_that_fails_becomes_a_small_one_that_fails_alike() -> None:
    mutant = MUTANTS["held is claimed"]
    with mutant.applied():
        failed = next(one for one in map(play, mutant.plans()) if one.broken)
        small = shrunk(failed)
    assert small.broken[0].promise == failed.broken[0].promise
    assert len(small.plan.deeds) <= 5
    assert play(small.plan).broken == ()


def test_what_is_left_out_changes_nothing_of_what_another_deed_draws() -> None:
    plan = plan_of(0)
    tasks = tuple(deed for deed in plan.deeds if deed.what == "task")[:2]

    def added(*deeds: Deed) -> list[str]:
        told = play(replace(plan, deeds=deeds)).told
        return [what for at_s, who, what in told if who == "client" and at_s < TROUBLE_S]

    assert [*added(tasks[0]), *added(tasks[1])] == added(*tasks)
    assert len(added(*tasks)) == 2


def test_a_broken_history_is_told_with_its_trace_and_what_repeats_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--seed", "0", "--mutant", "held is claimed"]) == 1
    told = capsys.readouterr().out
    assert "I2 is broken" in told
    assert "seed 0: I2 at" in told
    assert run(["--seeds", "1", "--mutant", "held is claimed"]) == 1
    assert "python3 dev.py simulate --seed 0 --mutant 'held is claimed'" in capsys.readouterr().out


def test_a_history_in_which_all_is_well_is_told_with_its_trace(capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["--seed", "1"]) == 0
    assert "seed 1: no promise broken" in capsys.readouterr().out


def test_too_few_faults_are_told_of() -> None:
    totals = Totals()
    totals.histories = 1000
    assert "crash" in totals.missing
    assert "I1" in totals.missing
