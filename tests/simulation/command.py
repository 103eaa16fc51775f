"""The command line of the simulation: many histories and what they showed, or one, with its trace."""

from __future__ import annotations

import argparse
import sys
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import nullcontext

import click
import msgspec

from tests.simulation.judge import PROMISES
from tests.simulation.mutants import MUTANTS
from tests.simulation.plan import CLOCKS, TROUBLES
from tests.simulation.play import Played, play, shrunk

CI, RELEASE = 2_000, 20_000
TWICE = 100
ENOUGH = 1_000
"""From so many histories on every fault must have come about, and every promise been looked at."""
BROKEN_MAX = 5
COUNTERS = (
    *(name for name in (TROUBLES | CLOCKS) if name not in ("cut off", "slow", "replace", "deafen", "mislead")),
    *("cut off", "slow call", "replaced", "lost request", "lost answer", "lost silence", "minority", "poisoned"),
    *("hint lost", "hint twice", "hint late", "outbox full", "file locked", "transaction left open"),
    *("stranger", "garbled", "moved", "edited", "held", "let go", "recalled", "revived", "dropped at home", "expired"),
    *("cancel cancelled", "cancel requested", "cancelled by force", "recovered", "overlap", "pruned"),
)
"""What must have happened."""


class Totals:
    """What many histories came to."""

    def __init__(self) -> None:
        self.happened: Counter[str] = Counter()
        self.checked: Counter[str] = Counter()
        self.histories = self.tasks = self.runs = 0
        self.broken: list[Played] = []

    def take(self, played: Played) -> None:
        self.histories += 1
        self.tasks += played.tasks
        self.runs += played.runs
        self.happened += played.happened
        self.checked += played.checked
        if played.broken:
            self.broken.append(played)

    @property
    def missing(self) -> list[str]:
        """Return what did not happen, or was not looked at, though it should have."""
        if self.histories < ENOUGH:
            return []
        return [name for name in COUNTERS if not self.happened[name]] + [
            one for one in PROMISES if not self.checked[one]
        ]


def run(arguments: Sequence[str]) -> int:
    """Do what is asked for; return the exit code."""
    options = parsed(arguments)
    if options.seed is not None:
        return tell_one(options)
    return tell_many(options)


def parsed(arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="dev.py simulate", description=__doc__)
    parser.add_argument("--seeds", type=int, default=CI, help=f"how many histories ({CI:,})")
    parser.add_argument("--release", action="store_true", help=f"as many as a release must show ({RELEASE:,})")
    parser.add_argument("--first", type=int, default=0, help="the first seed (0)")
    parser.add_argument("--seed", type=int, help="play this history alone, and print its trace")
    parser.add_argument("--whole", action="store_true", help="with --seed: do not look for a smaller one that fails")
    parser.add_argument("--mutant", choices=sorted(MUTANTS), help="break this rule of the protocol first")
    return parser.parse_args(arguments)


def tell_one(options: argparse.Namespace) -> int:
    """Play one history and print its trace; one that breaks a promise is made smaller first."""
    with MUTANTS[options.mutant].applied() if options.mutant else nullcontext():
        played = play(options.seed)
        if played.broken and not options.whole:
            click.echo(f"looking for a smaller history than of {len(played.plan.deeds)} deeds", err=True)
            played = shrunk(played)
    for at_s, who, what in played.told:
        click.echo(f"{at_s:9.3f} {who:11} {what}")
    for deed in played.plan.deeds if played.broken else ():
        click.echo(f"deed at {deed.at_s:.3f} s: {deed.what}")
    click.echo(f"seed {options.seed}: {'; '.join(map(str, played.broken)) or 'no promise broken'}")
    click.echo(f"trace {played.trace_hash}")
    return 1 if played.broken else 0


def tell_many(options: argparse.Namespace) -> int:
    """Play histories, some of them twice, and print what they came to."""
    totals, began_s = Totals(), time.process_time()
    seeds = range(options.first, options.first + (RELEASE if options.release else options.seeds))
    differing: list[int] = []
    with MUTANTS[options.mutant].applied() if options.mutant else nullcontext():
        for seed in seeds:
            played = play(seed)
            totals.take(played)
            if totals.histories <= TWICE and play(seed).trace_hash != played.trace_hash:
                differing.append(seed)
            if played.broken:
                click.echo(f"seed {seed}: {played.broken[0]}\n  {replay(seed, options.mutant)}")
            if len(totals.broken) >= BROKEN_MAX:
                break
    report(totals, differing, time.process_time() - began_s)
    return 1 if totals.broken or totals.missing or differing else 0


def replay(seed: int, mutant: str | None) -> str:
    """Return the command that plays this history again."""
    return f"python3 dev.py simulate --seed {seed}" + (f" --mutant '{mutant}'" if mutant else "")


def report(totals: Totals, differing: list[int], seconds: float) -> None:
    told = {
        "histories": totals.histories,
        "tasks": totals.tasks,
        "runs": totals.runs,
        "checks": sum(totals.checked.values()),
        "seconds of processor": round(seconds, 1),
        "happened": dict(sorted(totals.happened.items())),
        "checked": {name: totals.checked[name] for name in PROMISES},
    }
    click.echo(msgspec.json.format(msgspec.json.encode(told), indent=1).decode())
    if totals.missing:
        click.echo(f"these histories showed too little: {', '.join(totals.missing)}")
    if differing:
        click.echo(f"played twice, these seeds were not the same: {differing}")
    click.echo(f"simulate: {totals.histories} histories, {len(totals.broken)} with a broken promise")


def main() -> None:
    sys.exit(run(sys.argv[1:]))
