"""`kokugen nodes`: the processes that run work on the store, and what each of them runs now."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any

import click
import msgspec

from kokugen.cli import console, store, times
from kokugen.clock import instant
from kokugen.offers import SILENT_US
from kokugen.task import NodeInfo, TaskInfo, TaskState

HEAD = ("NODE", "STATE", "SEEN", "UP SINCE", "VERSION", "RUNS")
UNREADABLE = "unreadable"
SILENT_AFTER = timedelta(microseconds=SILENT_US)


@click.command("nodes")
@click.option("--all", "with_stopped", is_flag=True, help="Also those that stopped.")
@store.json_option
@store.url_option
def nodes_command(url: str | None, as_json: bool, with_stopped: bool) -> None:
    """List the processes that run work on the store, and what they run."""
    with store.opened(url) as scheduler:
        nodes = [node for node in scheduler.nodes() if with_stopped or node.stopped_at is None]
        runs = runs_of(scheduler.tasks(state=TaskState.WORKING))
    base = times.now()
    if as_json:
        console.say_json_list(view(node, runs[node.node_id], base) for node in nodes)
    elif nodes:
        console.say_table([row(node, runs[node.node_id], base) for node in nodes], HEAD)
    else:
        console.say("no node" if with_stopped else "no node runs work now: --all shows those that did")


def runs_of(working: Iterable[TaskInfo]) -> defaultdict[str, Counter[str]]:
    """Return how many runs of which work each node has, by its id."""
    runs: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for info in working:
        if info.owner is not None:
            runs[info.owner][info.work_id] += 1
    return runs


def state_of(node: NodeInfo, base: datetime) -> str:
    """Return `alive`, `silent` or `stopped`."""
    if node.stopped_at is not None:
        return "stopped"
    seen = instant(node.seen_at)
    return "alive" if seen is not None and base - seen < SILENT_AFTER else "silent"


def view(node: NodeInfo, runs: Counter[str], base: datetime) -> dict[str, Any]:
    """Return a node as plain JSON values."""
    instants = {"started_at": node.started_at, "seen_at": node.seen_at, "stopped_at": node.stopped_at}
    told = {name: when.isoformat() if (when := instant(us)) else None for name, us in instants.items()}
    offers = msgspec.json.decode(node.offers) if node.offers else None
    return {**msgspec.to_builtins(node), **told, "offers": offers, "state": state_of(node, base), "runs": dict(runs)}


def row(node: NodeInfo, runs: Counter[str], base: datetime) -> tuple[str, ...]:
    """Return a node's cells."""
    what = ", ".join(f"{count:,} {work}" for work, count in runs.most_common())
    last = instant(node.stopped_at or node.seen_at)
    seen = UNREADABLE if last is None else times.relative(last, base)
    started = times.stamp(instant(node.started_at))
    return (node.label, state_of(node, base), seen, started, node.version, what or "–")
