"""What is to happen in one history: drawn from a seed beforehand, as data, so that a failing one can be made smaller.

A deed has a seed of its own for whatever it draws: what it does depends on no other deed that is left out.
"""

from __future__ import annotations

from random import Random

from msgspec import Struct

TROUBLE_S = 30.0
TASKS = {"task": 30, "crowd": 2, "poison": 1, "stranger": 1, "garbled": 1, "schedule": 3}
RACES = {
    "cancel": 5,
    "cancel at home": 2,
    "move": 3,
    "recall": 3,
    "hold": 2,
    "edit": 2,
    "revive": 2,
    "add again": 2,
    "edit schedule": 1,
    "pause schedule": 1,
    "trigger schedule": 1,
}
TROUBLES = {
    "crash": 4,
    "crash at an await": 5,
    "pause": 4,
    "suspend": 3,
    "suspend all": 1,
    "cut off": 5,
    "slow": 3,
    "unwritable": 3,
    "outage": 2,
    "stop": 3,
    "stop at once": 1,
    "replace": 1,
    "deafen": 2,
    "mislead": 2,
}
CLOCKS = {"clock step": 3, "store clock step": 1}
SQLITE_ONLY = {"transaction": 6}
EVERY_SQLITE = 8
"""Each of so many histories is on a file of SQLite, the others in memory."""


class Deed(Struct, frozen=True):
    """Something that happens at a time, and the seed of what it draws."""

    at_s: float
    what: str
    seed: int


class Plan(Struct, frozen=True, kw_only=True):
    """One history, before it happens."""

    seed: int
    machines: int
    sqlite: bool
    wild_clocks: bool
    """Wall clocks are set while it goes on: of what goes by them, nothing is asked but that nothing else breaks."""
    minority: bool
    """One machine stays broken when there is peace for the others."""
    deeds: tuple[Deed, ...]


def plan_of(seed: int) -> Plan:
    """Return the history of this seed."""
    random = Random(seed)
    sqlite = seed % EVERY_SQLITE == EVERY_SQLITE - 1
    wild = random.random() < 0.25
    troubles = TROUBLES | (CLOCKS if wild else {})
    deeds = _drawn(random, TASKS | (SQLITE_ONLY if sqlite else {}), random.randrange(18, 42), 0.75)
    deeds += _drawn(random, RACES, random.randrange(3, 12), 0.95)
    deeds += _drawn(random, troubles, random.randrange(3, 12), 0.9)
    return Plan(
        seed=seed,
        machines=random.choice([1, 2, 2, 2, 3, 3]),
        sqlite=sqlite,
        wild_clocks=wild,
        minority=random.random() < 0.2,
        deeds=tuple(sorted(deeds, key=lambda deed: deed.at_s)),
    )


def _drawn(random: Random, weights: dict[str, int], number: int, until: float) -> list[Deed]:
    kinds = random.choices(list(weights), weights=list(weights.values()), k=number)
    return [Deed(random.uniform(0, TROUBLE_S * until), kind, random.getrandbits(32)) for kind in kinds]
