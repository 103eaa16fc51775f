"""Hundreds of simulated clusters in trouble: no task lost, none doubled, and all of them over once there is peace.

KOKUGEN_SEEDS is how many (200). A failure names its seed; `Cluster(seed, …).run()` plays it again, the same every time.
"""

from __future__ import annotations

import os
from collections import Counter

import pytest

from tests.simulation.cluster import Cluster

SEEDS = int(os.environ.get("KOKUGEN_SEEDS", "200"))
BLOCK = 40
TROUBLE = ("crash", "pause", "stop", "wire request", "wire answer", "wire silence")
FOLLOWS = (
    "recovered",
    "done, fenced",
    "released, applied",
    "overlap",
    "retired",
    "cancel cancelled",
    "cancel requested",
)


def cluster_of(seed: int) -> Cluster:
    """Two machines or three, with wall clocks that are set now and then in every fifth history."""
    return Cluster(seed, machines=2 + seed % 2, clock_steps=seed % 5 == 4)


def play(seed: int) -> Cluster:
    cluster = cluster_of(seed)
    try:
        cluster.run()
    except Exception as error:
        error.add_note(f"seed {seed}")
        raise
    finally:
        cluster.close()
    return cluster


@pytest.mark.parametrize("first", range(0, SEEDS, BLOCK))
def test_no_trouble_breaks_a_promise(first: int) -> None:
    happened: Counter[str] = Counter()
    for seed in range(first, first + BLOCK):
        happened += play(seed).happened
    assert [kind for kind in (*TROUBLE, *FOLLOWS) if not happened[kind]] == [], "these histories showed too little"


@pytest.mark.parametrize("seed", range(3))
def test_a_seed_is_one_history(seed: int) -> None:
    once, again = play(seed), play(seed)
    assert once.trace() == again.trace()
    assert once.trace() != play(seed + 1000).trace()
