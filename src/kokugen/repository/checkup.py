"""What a store's checkup says: one finding a check, with what to do about it. `kokugen doctor` prints them.

`kokugen.repository.locate` leads to the checkups of each kind of store, which change nothing in it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from datetime import timedelta
from enum import StrEnum
from importlib.resources import files

from msgspec import Struct

from kokugen.clock import SECOND_US
from kokugen.task import AT, NodeInfo

_INDEX = re.compile(r"CREATE (?:UNIQUE )?INDEX (\w+)")

WAIT_US_MAX = 60 * SECOND_US
"""How long a due task may wait for its place."""


class Level(StrEnum):
    """How bad it is."""

    OK = "ok"
    WARNING = "warning"
    """It works; it may be slow, or go wrong one day."""
    PROBLEM = "problem"
    """Tasks may be lost, doubled, read by others or held up."""


class Finding(Struct, frozen=True):
    """What one check found, and what to do, if there is anything."""

    check: str
    level: Level
    said: str
    advice: str = ""


class Checkup(Struct, frozen=True):
    """All findings of a store; and, as far as it could be read, its nodes and its time."""

    findings: Sequence[Finding]
    nodes: Sequence[NodeInfo] = ()
    ahead_us: int = 0
    """By how much the store's clock is ahead of this machine's."""
    unsure_us: int = 0


class Patience(Struct, frozen=True, kw_only=True):
    """From when on something takes too long."""

    snapshot: timedelta = timedelta(minutes=5)
    quick: bool = False
    """Whether to look at the structure of a file alone, and not at each index."""


def ok(check: str, said: str) -> Finding:
    """Return a finding that all is well."""
    return Finding(check, Level.OK, said)


def warning(check: str, said: str, advice: str) -> Finding:
    """Return a finding that something may go wrong."""
    return Finding(check, Level.WARNING, said, advice)


def problem(check: str, said: str, advice: str) -> Finding:
    """Return a finding that something is wrong."""
    return Finding(check, Level.PROBLEM, said, advice)


def schema_finding(package: str, version: int) -> Finding:
    """Return how the version of a schema compares with the newest that is known here."""
    newest = int(scripts(package)[-1][:3])
    if version < newest:
        return warning("schema", f"{version}, and {newest} is known here", "bring it up to date: kokugen migrate")
    if version > newest:
        return warning("schema", f"{version}, and {newest} is known here", "use a newer kokugen")
    return ok("schema", str(version))


def index_finding(package: str, version: int, present: set[str], invalid: set[str]) -> Finding:
    """Return whether all indexes are there that the statements need."""
    told = (files(package).joinpath("sql", name) for name in scripts(package) if int(name[:3]) <= version)
    needed = {name for script in told for name in _INDEX.findall(script.read_text(encoding="utf-8"))}
    if missing := sorted(needed - present):
        return problem("indexes", f"missing: {', '.join(missing)}", "make them again, as the schema's SQL says")
    if bad := sorted(needed & invalid):
        return problem("indexes", f"not valid: {', '.join(bad)}", "REINDEX them")
    return ok("indexes", f"all {len(needed)} are there")


def places_finding(waiting: Iterable[tuple[str, int, int]], now_us: int) -> Finding:
    """Return whether tasks wait for a place that nobody seems to offer: of each queue how many are due, since when."""
    told = [
        f"{count:,} due at {queue.partition(AT)[2]!r}, the first for {(now_us - since_us) // SECOND_US:,} s"
        for queue, count, since_us in sorted(waiting)
        if now_us - since_us > WAIT_US_MAX
    ]
    if not told:
        return ok("places", "no task waits for one")
    return warning("places", "; ".join(told), "run a worker whose scheduler offers the place, or more of them")


def scripts(package: str) -> list[str]:
    """Return the names of the migrations of a store, in order."""
    return sorted(one.name for one in files(package).joinpath("sql").iterdir() if one.name.endswith(".sql"))
