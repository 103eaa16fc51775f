"""PostgreSQL for the measurements: a server of its own for a question, and a database of its own for a trial.

The server is durable as users run it (`fsync` and `synchronous_commit` on, all else as it comes), on this machine, and
reached through a socket.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit
from uuid import uuid4

import asyncpg

SCHEME = "postgresql://"


@contextmanager
def server() -> Iterator[str]:
    """Start a server, and yield the URL of its database `postgres`. Raises MissingServer."""
    from tests.servers.postgres import DURABLE, newest, running  # not for Windows

    with running(newest, DURABLE) as one:
        yield one.url


@contextmanager
def database(server_url: str) -> Iterator[str]:
    """Make an empty database on the server, and yield its URL."""
    name = f"trial_{uuid4().hex}"
    ask(server_url, f"CREATE DATABASE {name}")
    try:
        yield server_url.replace("/postgres?", f"/{name}?")
    finally:
        ask(server_url, f"DROP DATABASE {name} WITH (FORCE)")


def ask(url: str, *statements: str) -> list[Any]:
    """Send statements over a connection of their own; return the rows of the last."""

    async def send() -> list[Any]:
        link = await asyncpg.connect(url)
        try:
            return [list(await link.fetch(sql)) for sql in statements][-1]
        finally:
            await link.close()

    return asyncio.run(send())


def settle(url: str) -> None:
    """Have the server write out what it was given, so that it need not do so while something is measured."""
    ask(url, "VACUUM ANALYZE", "CHECKPOINT")


def statements(url: str) -> int:
    """Return how many transactions its database has seen, asked over another one."""
    name = urlsplit(url).path.removeprefix("/")
    asked = f"SELECT xact_commit + xact_rollback FROM pg_stat_database WHERE datname = '{name}'"
    return int(ask(url.replace(f"/{name}?", "/postgres?"), asked)[0][0])


def version(url: str) -> str:
    """Return which PostgreSQL it is."""
    return f"PostgreSQL {ask(url, 'SHOW server_version')[0][0]}"


def server_cpu_s(url: str) -> float | None:
    """Return the processor time of a server and all its sessions so far; None where the system does not tell."""
    if not sys.platform.startswith("linux"):
        return None
    folder = Path(parse_qs(urlsplit(url).query)["host"][0])
    main = (folder / "data" / "postmaster.pid").read_text("ascii").split("\n", 1)[0]
    while True:
        before, *_ = _stat(main, main)
        ticks = sum(_stat(process.name, main)[1] for process in Path("/proc").glob("[0-9]*"))
        after, *_ = _stat(main, main)
        if before == after:  # no session ended meanwhile, whose time went over to the server
            return ticks / os.sysconf("SC_CLK_TCK")


def _stat(pid: str, main: str) -> tuple[int, int]:
    """Return the processor time of ended children, and that and its own, for the server or a session of it; else 0."""
    try:
        fields = Path("/proc", pid, "stat").read_text("ascii", "replace").rpartition(") ")[2].split()
    except OSError:  # it has ended
        return 0, 0
    own, ended = sum(map(int, fields[11:13])), sum(map(int, fields[13:15]))
    return (ended, own + ended) if main in (pid, fields[1]) else (0, 0)
