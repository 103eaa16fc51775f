"""The checkup of a PostgreSQL store: how durable the server is, whether it tidies up, and what holds it back."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import asyncpg
import msgspec

from kokugen.clock import SystemClock
from kokugen.errors import RepositoryError
from kokugen.repository.checkup import (
    Checkup,
    Finding,
    Patience,
    index_finding,
    ok,
    places_finding,
    problem,
    schema_finding,
    warning,
)
from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.session import Kind, Session, connect
from kokugen.repository.postgres.statement import load
from kokugen.task import NodeInfo

LOOKS = 3
"""How often the clocks are compared: the shortest round trip tells best."""
LONG = 12
"""How many times longer than a warning a snapshot may be open before it is a problem."""
DEAD_MIN, DEAD_PART = 50_000, 0.5
CONNECTIONS_LEFT = 10
XID_WARNING, XID_PROBLEM = 500_000_000, 1_500_000_000

Facts = dict[str, Any]


def checkup(url: str, patience: Patience) -> Checkup:
    """Look a store over, and change nothing. A store that cannot be reached is a problem that is told."""
    return asyncio.run(_checkup(parse(url), patience))


async def _checkup(address: Address, patience: Patience) -> Checkup:
    try:
        async with asyncio.timeout(max(30.0, address.timeout_s)):
            session = await connect(address, Kind(limit_s=30.0, pinned=False))
            try:
                return await _look(session, address, patience)
            finally:
                session.drop()
    except RepositoryError as error:
        told = str(error)
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError) as error:
        told = str(explain(error, address.url))
    return Checkup([problem("store", told, "")])


async def _look(session: Session, address: Address, patience: Patience) -> Checkup:
    looks = [await _facts(session, address) for _ in range(LOOKS)]
    unsure_us, ahead_us, facts = min(looks, key=lambda look: look[0])
    (nodes,) = await session.row("nodes", {})
    findings = [check(facts) for check in CHECKS]
    findings += [_snapshot(facts, patience), *_left_open(facts), *_replication(facts)]
    known = msgspec.json.decode(nodes, type=list[NodeInfo])
    return Checkup(findings, known, ahead_us=ahead_us, unsure_us=unsure_us)


async def _facts(session: Session, address: Address) -> tuple[int, int, Facts]:
    """Return half the time that it took, by how much the server's clock is ahead, and what the server says."""
    clock = SystemClock()
    sent_us = clock.wall_us()
    facts = dict(await session.fetch(load("checkup", address.schema), {"schema": address.quoted}))
    half_us = (clock.wall_us() - sent_us) // 2
    return half_us, int(facts["now"]) - sent_us - half_us, facts


# -- One check each


def _version(facts: Facts) -> Finding:
    return ok("postgresql", facts["version"])


def _schema(facts: Facts) -> Finding:
    return schema_finding(__package__, facts["schema_version"])


def _durability(facts: Facts) -> Finding:
    settings = json.loads(facts["settings"])
    off = [name for name in ("fsync", "full_page_writes") if settings[name] != "on"]
    if off:
        return problem(
            "durability",
            f"{' and '.join(off)} off: a crash of the machine may destroy the database",
            "; ".join(f"ALTER SYSTEM SET {name} = on" for name in off) + "; and reload",
        )
    if facts["synchronous_commit"] == "off":
        return ok("durability", "fsync on; synchronous_commit is off on the server, and on for what kokugen writes")
    return ok("durability", f"fsync on, synchronous_commit {facts['synchronous_commit']}")


def _checksums(facts: Facts) -> Finding:
    if json.loads(facts["settings"])["data_checksums"] != "on":
        return warning(
            "checksums", "off: a damaged disk goes unnoticed", "stop the server, and run pg_checksums --enable"
        )
    return ok("checksums", "on")


def _autovacuum(facts: Facts) -> Finding:
    settings = json.loads(facts["settings"])
    off = [name for name in ("autovacuum", "track_counts") if settings[name] != "on"]
    if off or facts["vacuum_off"]:
        said = f"{' and '.join(off)} off" if off else "off for the table task"
        advice = "ALTER SYSTEM SET autovacuum = on" if off else "ALTER TABLE … RESET (autovacuum_enabled)"
        return problem("autovacuum", f"{said}: claims grow slower with every task", advice)
    vacuum = json.loads(facts["vacuum"] or "{}")
    live, dead = vacuum.get("live") or 0, vacuum.get("dead") or 0
    if dead > DEAD_MIN and dead > live * DEAD_PART:
        return warning(
            "autovacuum",
            f"{dead:,} dead rows beside {live:,} live ones in task",
            "see what holds it back (oldest snapshot), or raise autovacuum_vacuum_cost_limit",
        )
    return ok("autovacuum", f"on; {dead:,} dead rows beside {live:,} live ones in task")


def _wraparound(facts: Facts) -> Finding:
    age = int(facts["xid_age"])
    said = f"the oldest is {age:,} old"
    advice = "VACUUM (FREEZE) the database, and see what holds autovacuum back"
    if age > XID_PROBLEM:
        return problem("transaction ids", said, advice)
    return warning("transaction ids", said, advice) if age > XID_WARNING else ok("transaction ids", said)


def _places(facts: Facts) -> Finding:
    return places_finding(map(tuple, json.loads(facts["places"])), int(facts["now"]))


def _connections(facts: Facts) -> Finding:
    most = int(json.loads(facts["settings"])["max_connections"])
    said = f"{facts['connections']:,} of {most:,}"
    if most - facts["connections"] < CONNECTIONS_LEFT:
        return warning("connections", said, "raise max_connections, or put PgBouncer before it, with pooled=true")
    return ok("connections", said)


def _indexes(facts: Facts) -> Finding:
    found = json.loads(facts["indexes"])
    invalid = {name for name, valid in found if not valid}
    return index_finding(__package__, facts["schema_version"], {name for name, _ in found}, invalid)


def _rights(facts: Facts) -> Finding:
    denied = json.loads(facts["denied"])
    if denied:
        return warning(
            "rights",
            f"this role may not: {', '.join(denied[:4])}" + (", …" if len(denied) > 4 else ""),
            "GRANT what it needs: see the guide to clusters",
        )
    return ok("rights", "this role may read and write all tables")


CHECKS: tuple[Callable[[Facts], Finding], ...] = (
    _version,
    _schema,
    _places,
    _durability,
    _checksums,
    _autovacuum,
    _wraparound,
    _connections,
    _indexes,
    _rights,
)


def _snapshot(facts: Facts, patience: Patience) -> Finding:
    """Return how long the oldest open transaction has kept dead rows from being cleared away."""
    seen = "" if facts["sees_all"] else "; of other users' sessions this role sees none (GRANT pg_read_all_stats)"
    if facts["oldest"] is None:
        return ok("oldest snapshot", f"no other transaction is open{seen}")
    oldest = json.loads(facts["oldest"])
    age = timedelta(seconds=oldest["age"])
    who = f"process {oldest['pid']} of {oldest['user']} ({oldest['application'] or 'unnamed'}, {oldest['state']})"
    said = f"{age.total_seconds():,.0f} s, by {who}{seen}"
    advice = f"end it: SELECT pg_terminate_backend({oldest['pid']}); set idle_in_transaction_session_timeout"
    if age > patience.snapshot * LONG:
        return problem("oldest snapshot", said, advice)
    return warning("oldest snapshot", said, advice) if age > patience.snapshot else ok("oldest snapshot", said)


def _left_open(facts: Facts) -> Iterator[Finding]:
    """Yield what outlives its session and holds old rows: prepared transactions, slots that nobody reads."""
    for name in json.loads(facts["prepared"]):
        yield problem(
            "prepared", f"the transaction {name!r} was prepared, and never ended", f"ROLLBACK PREPARED '{name}'"
        )
    for name in json.loads(facts["slots"]):
        yield warning(
            "replication", f"nobody reads the slot {name!r}, which holds old rows", "drop it, or start its reader"
        )


def _replication(facts: Facts) -> Iterator[Finding]:
    if facts["standbys"] and not json.loads(facts["settings"])["synchronous_standby_names"]:
        yield warning(
            "replication",
            "its standbys are asynchronous: a failover may lose the last tasks that were acknowledged",
            "set synchronous_standby_names, where that must not be",
        )
