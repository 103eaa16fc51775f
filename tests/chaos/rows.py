"""The rows of the chaos: each kind of fault, and how often it happens in CI, before a release, and as a sample."""

from __future__ import annotations

from tests.chaos.processes import kill_on_postgres, kill_on_sqlite, pause, roll
from tests.chaos.stage import Row
from tests.chaos.store import fail_network, restart

ROWS = (
    Row(name="kill-sqlite", fault="kill -9, SQLite", ci=200, release=1000, sample=6, act=kill_on_sqlite),
    Row(name="kill-postgres", fault="kill -9, PostgreSQL", ci=200, release=1000, sample=6, act=kill_on_postgres),
    Row(name="restart", fault="PostgreSQL -m immediate", ci=10, release=100, sample=1, act=restart),
    Row(name="pause", fault="SIGSTOP longer than ttl", ci=50, release=1000, sample=2, act=pause),
    Row(name="network", fault="TCP faults", ci=300, release=5000, sample=12, act=fail_network),
    Row(name="roll", fault="rolling SIGTERM", ci=50, release=500, sample=3, act=roll),
)
