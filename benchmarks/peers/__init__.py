"""The peers: schedulers that people use for the same. Each has a file, and is imported only where it is measured.

Each has as many workers as kokugen's default and the settings that its own documentation recommends for speed, but
keeps what it was told: every store is durable.
"""

from __future__ import annotations

import importlib.util
import shutil

from msgspec import Struct

from benchmarks.answer import Scale

WORKERS = 10
"""As many threads as kokugen's default."""


SERVERS = ("valkey-server", "redis-server")
"""Celery's broker, where one of them is installed."""


class Peer(Struct, frozen=True):
    """One that is measured beside kokugen on PostgreSQL (Celery: on Redis)."""

    kind: str
    label: str
    modules: tuple[str, ...]
    share: float
    """How much of kokugen's work it gets, where all of it would take minutes."""
    together: bool = True
    """Whether several processes can share its store."""


PEERS = (
    Peer("PgQueuer", "PgQueuer", ("pgqueuer", "asyncpg"), 0.5),
    Peer("Oban", "Oban", ("oban",), 0.2),
    Peer("APScheduler", "APScheduler 3", ("apscheduler", "sqlalchemy", "psycopg"), 0.03, together=False),
    Peer("Procrastinate", "Procrastinate", ("procrastinate",), 0.03),
    Peer("DBOS", "DBOS", ("dbos",), 0.01),
    Peer("Celery", "Celery, Redis", ("celery", "redis"), 0.02),
)


def installed(*modules: str) -> bool:
    """Return whether a peer can be measured here."""
    return all(importlib.util.find_spec(name) is not None for name in modules)


def broker() -> str | None:
    """Return the program of Celery's broker, if there is one."""
    return next((found for name in SERVERS if (found := shutil.which(name))), None)


def present() -> list[Peer]:
    """Return the peers that can be measured here."""
    return [one for one in PEERS if installed(*one.modules) and (one.kind != "Celery" or broker() is not None)]


def at(scale: Scale) -> list[Peer]:
    """Return those that are present; none at the tiny scale, where one question shows that each of them works."""
    return [] if scale is Scale.TINY else present()


def absent() -> str:
    """Return a sentence on the peers that cannot be measured here, if any."""
    here = present()
    names = [one.label for one in PEERS if one not in here]
    return f"Not installed here, hence not measured: {', '.join(names)}." if names else ""


INSTALLED = installed("apscheduler", "huey", "sqlalchemy")
