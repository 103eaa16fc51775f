"""The rows of the chaos: each kind of fault, and how often it happens in CI, before a release, and as a sample."""

from __future__ import annotations

from tests.chaos.cancels import cancel_by_beat, cancel_by_hint
from tests.chaos.clocks import set_clocks_on_postgres, set_clocks_on_sqlite
from tests.chaos.feed import delay_commits
from tests.chaos.occurrences import account_for
from tests.chaos.power import cut_power_on_journal, cut_power_on_log, cut_power_on_work, fail_disk
from tests.chaos.processes import kill_on_postgres, kill_on_sqlite, pause, roll
from tests.chaos.soak import soak
from tests.chaos.stage import Row
from tests.chaos.store import fail_network, restart

ROWS = (
    Row(name="kill-sqlite", fault="kill -9, SQLite", ci=200, release=1000, sample=20, act=kill_on_sqlite),
    Row(name="kill-postgres", fault="kill -9, PostgreSQL", ci=200, release=1000, sample=20, act=kill_on_postgres),
    Row(name="restart", fault="PostgreSQL -m immediate", ci=10, release=100, sample=2, act=restart),
    Row(name="pause", fault="SIGSTOP longer than ttl", ci=50, release=1000, sample=3, act=pause),
    Row(name="network", fault="TCP faults", ci=300, release=5000, sample=18, act=fail_network),
    Row(name="roll", fault="rolling SIGTERM", ci=50, release=500, sample=6, act=roll),
    Row(name="cancel", fault="cancels elsewhere, by hint", ci=100, release=1000, sample=8, act=cancel_by_hint),
    Row(name="cancel-beat", fault="cancels elsewhere, by beat", ci=100, release=1000, sample=8, act=cancel_by_beat),
    Row(name="clock-sqlite", fault="clock set, SQLite", ci=50, release=500, sample=8, act=set_clocks_on_sqlite),
    Row(name="clock-postgres", fault="clock set, PostgreSQL", ci=50, release=500, sample=8, act=set_clocks_on_postgres),
    Row(name="power", fault="power cut, SQLite's log", ci=50, release=500, sample=24, act=cut_power_on_log),
    Row(name="power-journal", fault="power cut, its journal", ci=50, release=500, sample=24, act=cut_power_on_journal),
    Row(name="power-work", fault="power cut, engine at work", ci=50, release=500, sample=20, act=cut_power_on_work),
    Row(name="disk", fault="disk error, full, read-only", ci=20, release=100, sample=20, act=fail_disk),
    Row(name="schedules", fault="everything, to schedules", ci=2700, release=30_000, sample=180, act=account_for),
    Row(name="soak", fault="an old snapshot, for seconds", ci=30, release=3600, sample=5, act=soak),
    Row(name="feed", fault="late commits", ci=5000, release=100_000, sample=300, act=delay_commits),
)
