"""How many tasks a second can be scheduled in bulk on PostgreSQL?"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks import bare, bare_postgres, databases, peers
from benchmarks.answer import Findings, Scale, at_least, overtaken, ratio, series, tell
from benchmarks.measure import DAY_US, Contender, Values, interleave, wall_us
from benchmarks.trials import insert, place_of

ASKS = "How many tasks a second does one schedule_many store durably on PostgreSQL?"
SIZES = {Scale.FULL: (100_000, 3), Scale.QUICK: (20_000, 3), Scale.TINY: (100, 1)}
HALF = at_least(50)

SHARES = {"PgQueuer": 0.5, "Oban": 0.2, "Procrastinate": 0.2}
"""How much of the work those get that have a bulk call."""

WHY = "kokugen checks every time and argument, and keeps three more indexes."
OURS, BARE = "kokugen", "bare loop, this schema"


def bare_store(server: str, count: int) -> Values:
    with place_of(server) as url:
        assert isinstance(url, str)
        return bare_postgres.fill(url, bare.new_tasks(count, "noop", wall_us() + DAY_US)).per_task(count)


def contenders(server: str, count: int, others: Sequence[peers.Peer]) -> list[Contender]:
    """Return kokugen, its limit, and those peers that are installed; slow ones get less to do."""
    ours = [Contender(OURS, insert, ("kokugen", server, count)), Contender(BARE, bare_store, (server, count))]
    return [*ours, *(_peer(one, server, max(20, int(count * SHARES.get(one.kind, 0.02)))) for one in others)]


def _peer(peer: peers.Peer, server: str, count: int) -> Contender:
    store = "Redis" if peer.kind == "Celery" else server
    how = "" if peer.kind in SHARES else ", one by one"
    return Contender(f"{peer.label} ({count:,} tasks{how})", insert, (peer.kind, store, count), 1, optional=True)


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("postgres_insert", contenders(server, count, peers.at(scale)), repetitions)
        version = databases.version(server)
    rates = series(trials, "rate", "tasks/s")
    return Findings(
        figures=[
            *rates,
            ratio(trials, (OURS, BARE), goal=HALF),
            *series(trials, "cpu_us", "µs of CPU a task, without the server's"),
        ],
        notes=[
            f"{count:,} tasks unless a name says otherwise; {version} on the same machine. kokugen checks every time"
            f" and argument and makes handles; the bare loop is given rows, and commits {bare.BATCH:,} at a time."
            f" {peers.absent()}",
            *overtaken(rates, OURS, {"tasks/s": True}, WHY),
        ],
    )


def main(words: Sequence[str] | None = None) -> None:
    tell("postgres_insert", ASKS, words, measure)


if __name__ == "__main__":
    main()
