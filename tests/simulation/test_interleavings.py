"""Every order of steps of two nodes with two tasks: none breaks a promise, and a broken rule shows in some order."""

from __future__ import annotations

import os
from collections.abc import Sequence
from unittest.mock import patch

import pytest

from kokugen.reply import Reply
from kokugen.repository.memory.claims import MemoryClaims
from kokugen.repository.rows import Observed, Recovered
from tests.simulation.interleavings import BrokenOrderError, Explorer
from tests.simulation.mutants import MUTANTS

pytestmark = [pytest.mark.timeout(3600), pytest.mark.once]

STATES = int(os.environ.get("KOKUGEN_STATES", "50000"))
UNDER_WAY = ("a: claims", "a: claim arrives", "a: claim is answered", "a: calls again")
RECOVER = MemoryClaims.recover


@pytest.mark.parametrize("after", [(), UNDER_WAY], ids=["from the start", "with a run under way"])
def test_no_order_of_steps_breaks_a_promise(after: tuple[str, ...]) -> None:
    explorer = Explorer()
    assert explorer.explore(14, STATES, after=after) >= 8
    assert explorer.states >= STATES


@pytest.mark.parametrize(("name", "promise"), [("no lease", "I7"), ("old fence", "I3")])
def test_a_broken_rule_shows_in_some_order(name: str, promise: str) -> None:
    with MUTANTS[name].applied(), pytest.raises(BrokenOrderError, match=promise):
        Explorer().explore(10, STATES, after=UNDER_WAY)


def _whatever_was_seen(store: MemoryClaims, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
    records = [(one, store._run(one.id, one.claim)) for one in observed]
    return RECOVER(
        store, [Observed(one.id, one.claim, now.beat, one.ttl_s, one.owner) for one, now in records if now is not None]
    )


def test_to_take_a_run_that_was_extended_since_it_was_looked_at_breaks_a_promise() -> None:
    with patch.object(MemoryClaims, "recover", _whatever_was_seen), pytest.raises(BrokenOrderError, match="I7"):
        Explorer().explore(12, 10 * STATES, after=UNDER_WAY)
