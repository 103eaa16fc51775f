"""`kokugen doctor`: what might go wrong with a store, and what to do about it. Calls kokugen.repository.locate."""

from __future__ import annotations

import platform
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from datetime import timedelta

import click
import msgspec

from kokugen.cli import console, store, times
from kokugen.cli.commands import version
from kokugen.clock import to_us
from kokugen.errors import RepositoryError
from kokugen.repository.checkup import Checkup, Finding, Level, Patience, ok, problem, warning
from kokugen.repository.locate import check_up, mask
from kokugen.task import NodeInfo
from kokugen.zones import SYSTEM, tz_version

UNWELL = 1
RECENT = timedelta(days=1)
"""Nodes that were seen since count for what is mixed."""
SKEW_WARNING, SKEW_PROBLEM = timedelta(seconds=1), timedelta(minutes=1)


@click.command("doctor")
@click.option("--quick", is_flag=True, help="Of a file, check the structure alone: faster where it is large.")
@click.option(
    "--snapshot", default="5m", show_default=True, metavar="SPAN", help="A transaction may be open for so long."
)
@store.json_option
@store.url_option
def doctor_command(url: str | None, as_json: bool, quick: bool, snapshot: str) -> int:
    """Look a store over, and say what to do: exit code 1 if there is a problem.

    Versions, clocks, durability, integrity, permissions, vacuum, old snapshots, and nodes that do not fit together.
    It changes nothing, and workers may go on.
    """
    patience = Patience(snapshot=times.parse_span(snapshot, "--snapshot"), quick=quick)
    refuse_nothing(store.usable(url))
    checkup = check_up(store.usable(url), patience)
    findings = [here(), zones(), *checkup.findings, clocks(checkup), *mixtures(checkup.nodes)]
    if as_json:
        console.say_json({"url": mask(store.usable(url)), "findings": msgspec.to_builtins(findings)})
    else:
        say_findings(findings)
    return UNWELL if any(finding.level is Level.PROBLEM for finding in findings) else 0


def refuse_nothing(url: str) -> None:
    """Refuse a store that is not there. Raises UsageError. (One that cannot be reached is a problem that is told.)"""
    with suppress(RepositoryError):
        store.refuse_missing(url)


# -- This process


def here() -> Finding:
    """Return what runs here."""
    return ok("kokugen", f"{version()}, Python {platform.python_version()}, {platform.system()}")


def zones() -> Finding:
    """Return which time zone rules are used here."""
    if tz_version() == SYSTEM:
        return warning(
            "time zones", "the system's files, which differ between machines", "pip install tzdata, the same everywhere"
        )
    return ok("time zones", f"tzdata {tz_version()}")


# -- The store and its nodes


def clocks(checkup: Checkup) -> Finding:
    """Return how far the clocks are apart: this machine's, the store's, and those of the nodes that wrote into it."""
    ahead = timedelta(microseconds=checkup.ahead_us)
    last = max((node.seen_at for node in checkup.nodes), default=0)
    early = timedelta(microseconds=max(0, last - checkup.ahead_us - to_us(times.now())))
    apart = max(abs(ahead), early)
    if early > SKEW_WARNING:
        said = f"a node was seen {times.brief(early)} from now: a clock was set back, or runs ahead"
    else:
        said = f"the store's is {times.brief(abs(ahead))} {'ahead' if checkup.ahead_us > 0 else 'behind'}, "
        said += f"give or take {times.brief(timedelta(microseconds=checkup.unsure_us))}"
    advice = "let chrony, ntpd or systemd-timesyncd set the clocks of all machines"
    if apart > SKEW_PROBLEM:
        return problem("clocks", said, advice)
    if apart > SKEW_WARNING:
        return warning("clocks", said, advice)
    return ok("clocks", said if checkup.unsure_us else "one machine's")


def mixtures(nodes: Sequence[NodeInfo]) -> Iterator[Finding]:
    """Yield whether the nodes that work, or did today, fit together."""
    since_us = max((node.seen_at for node in nodes), default=0) - int(RECENT / timedelta(microseconds=1))
    recent = [node for node in nodes if node.stopped_at is None and node.seen_at >= since_us]
    versions = grouped((node.version, node.label) for node in recent)
    if len(versions) > 1:
        yield warning("versions", told(versions), "finish the upgrade: run one version everywhere")
    else:
        yield ok(
            "versions",
            f"{console.counted(len(recent), 'node')}, all {next(iter(versions))}" if recent else "no node works on it",
        )
    rules = grouped((node.tzdata, node.label) for node in recent if node.tzdata)
    rules.setdefault(tz_version(), []).append("here")
    if len(rules) > 1:
        yield warning(
            "tzdata", told(rules), "install one version of tzdata everywhere: local times may come twice, or not at all"
        )


def grouped(pairs: Iterable[tuple[str, str]]) -> dict[str, list[str]]:
    """Return the labels by what they have."""
    groups: dict[str, list[str]] = defaultdict(list)
    for key, label in pairs:
        groups[key].append(label)
    return groups


def told(groups: dict[str, list[str]]) -> str:
    """Return groups in words: `0.1.0 on a, b; 0.2.0 on c`."""
    return "; ".join(
        f"{key} on {', '.join(labels[:3])}{', …' if len(labels) > 3 else ''}" for key, labels in sorted(groups.items())
    )


# -- Printing


def say_findings(findings: Sequence[Finding]) -> None:
    """Print a line a finding, and below it what to do."""
    for finding in findings:
        console.say(f"{finding.level.value:<8} {finding.check:<16} {finding.said}")
        if finding.advice:
            console.say(f"{'':<8} {'':<16} → {finding.advice}")
    count = {level: sum(finding.level is level for finding in findings) for level in Level}
    console.say(
        f"{console.counted(count[Level.PROBLEM], 'problem')}, {console.counted(count[Level.WARNING], 'warning')}"
    )
