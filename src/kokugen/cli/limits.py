"""`kokugen limits`: the limits of the store, who has their places, and how many wait."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import click
import msgspec

from kokugen.cli import console, store, times
from kokugen.clock import instant
from kokugen.repository.limit_rows import KEYS, GateStatus

HEAD = ("LIMIT", "AT ONCE", "RATE", "WAITING", "OLDEST")


@click.command("limits")
@store.json_option
@store.url_option
def limits_command(url: str | None, as_json: bool) -> None:
    """List limits: of works, queues and keys, how many tasks have passed them and are not over, and how many wait."""
    with store.opened(url) as scheduler:
        gates = scheduler.limits()
    base = times.now()
    if as_json:
        console.say_json_list(map(view, gates))
    elif gates:
        console.say_table([row(gate, base) for gate in gates], HEAD)
    else:
        console.say("no limit: nothing is declared, and no task has a limit key")


def view(gate: GateStatus) -> dict[str, Any]:
    """Return a limit as plain JSON values."""
    oldest = None if gate.oldest_due is None else instant(gate.oldest_due)
    return {**msgspec.structs.asdict(gate), "oldest_due": oldest.isoformat() if oldest else None}


def row(gate: GateStatus, base: datetime) -> tuple[str, ...]:
    """Return a limit's cells."""
    oldest = None if gate.oldest_due is None else instant(gate.oldest_due)
    return (
        gate.name,
        places(gate),
        rate(gate),
        f"{gate.waiting:,}" if gate.waiting else "–",
        times.relative(oldest, base) if oldest else "–",
    )


def places(gate: GateStatus) -> str:
    """Return how many have a place, of how many."""
    if gate.name.startswith(KEYS):
        return "–" if gate.at_once is None else f"{gate.at_once:,} each"
    return f"{gate.taken:,}" if gate.at_once is None else f"{gate.taken:,} of {gate.at_once:,}"


def rate(gate: GateStatus) -> str:
    """Return how often one may start."""
    if gate.interval_us is None:
        return "–"
    burst = f", bursts of {gate.burst:,}" if gate.burst > 1 else ""
    return f"1 in {times.brief(timedelta(microseconds=gate.interval_us))}{burst}"
