"""Each broken rule of the protocol is caught by the simulation: what it does not find it cannot promise."""

from __future__ import annotations

import pytest

from tests.simulation.mutants import MUTANTS
from tests.simulation.play import play


@pytest.mark.once
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("name", MUTANTS)
def test_a_broken_rule_is_caught(name: str) -> None:
    mutant, others = MUTANTS[name], set()
    with mutant.applied():
        for plan in mutant.plans():
            broken = play(plan).broken
            if broken and broken[0].promise in mutant.promises:
                return
            others |= {one.promise for one in broken}
    pytest.fail(f"nobody noticed in {mutant.seeds} histories that {mutant.rule}; broken was {others or 'nothing'}")
