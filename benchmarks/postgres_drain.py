"""How many due tasks a second are run on PostgreSQL?

They do nothing, so that what is measured is the way there and back: claim, call, and record the end durably. The
server's processor time is told too: it and its clients share the machine.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence

from benchmarks import bare, bare_postgres, databases, peers, work
from benchmarks.answer import Figure, Findings, Scale, at_least, overtaken, ratio, series, tell
from benchmarks.measure import MINUTE_US, Contender, Stopwatch, Trials, Values, interleave, wall_us
from benchmarks.nodes import Node, nodes
from benchmarks.subject import Kokugen
from benchmarks.trials import drain, place_of, run_all

ASKS = "How many due no-op tasks a second are run on PostgreSQL, the end of each durably recorded?"
SIZES = {Scale.FULL: (100_000, 3), Scale.QUICK: (20_000, 2), Scale.TINY: (100, 1)}

ONE, TWO, ASYNC = "kokugen, threads", "kokugen, two processes", "kokugen, async"
BARE = "bare loop, this schema"
LOOK_S = 0.01


def bare_store(server: str, count: int) -> Values:
    with place_of(server) as url:
        assert isinstance(url, str)
        work.tally.expect(count)
        bare_postgres.fill(url, bare.new_tasks(count, work.noop.__name__, wall_us() - MINUTE_US))
        databases.settle(url)
        before_s = databases.server_cpu_s(server)
        watch = bare_postgres.drain(url, work.noop)
        work.tally.check()
        return watch.per_task(count) | _server(server, before_s, count)


def one_process(server: str, count: int, call: Callable[[], object]) -> Values:
    with place_of(server) as url:
        scheduler = Kokugen(url)
        scheduler.fill(call.__name__, count, wall_us() - MINUTE_US)
        before_s = databases.server_cpu_s(server)
        return run_all(scheduler, count) | _server(server, before_s, count)


def processes(server: str, count: int, number: int) -> Values:
    """Share the tasks among processes that start together."""
    with place_of(server) as url, nodes("kokugen", url, number, LOOK_S) as found:
        scheduler = Kokugen(url)
        scheduler.fill(work.mark.__name__, count, wall_us() - MINUTE_US)
        scheduler.scheduler.open()
        before_s = databases.server_cpu_s(server)
        with Stopwatch() as watch:
            _run(found, count)
            scheduler.settle()
        scheduler.close()
        spent_s = sum(one.stop() for one in found)
        assert sum(one.marks for one in found) == count, "each was run once"
        return watch.per_task(count) | {"cpu_us": spent_s / count * 1e6} | _server(server, before_s, count)


def _run(found: Sequence[Node], count: int) -> None:
    for one in found:
        one.start()
    for one in found:
        one.wait()
    until_s = time.monotonic() + work.WAIT_S
    while sum(one.marks for one in found) < count:
        assert time.monotonic() < until_s, "the tasks are run"
        time.sleep(LOOK_S)


def _server(server: str, before_s: float | None, count: int) -> Values:
    after_s = databases.server_cpu_s(server)
    return {} if after_s is None or before_s is None else {"server_us": (after_s - before_s) / count * 1e6}


def contenders(server: str, count: int) -> list[Contender]:
    """Return kokugen, its limit, and those peers that are installed; slow ones get less to do."""
    ours = [
        Contender(ONE, one_process, (server, count, work.noop)),
        Contender(BARE, bare_store, (server, count)),
        Contender(TWO, processes, (server, count, 2)),
        Contender(ASYNC, one_process, (server, count, work.noop_async), 1),
    ]
    return [*ours, *(_peer(one, server, max(20, int(count * one.share))) for one in peers.present())]


def _peer(peer: peers.Peer, server: str, count: int) -> Contender:
    store = "Redis" if peer.kind == "Celery" else server
    return Contender(f"{peer.label} ({count:,} tasks)", drain, (peer.kind, store, count), 1, optional=True)


def measure(scale: Scale) -> Findings:
    count, repetitions = SIZES[scale]
    with databases.server() as server:
        trials = interleave("postgres_drain", contenders(server, count), repetitions)
        version = databases.version(server)
    rates = series(trials, "rate", "tasks/s", {ONE: at_least(20_000)})
    return Findings(
        figures=[
            *rates,
            ratio(trials, (ONE, BARE)),
            ratio(trials, (TWO, ONE), goal=at_least(100)),
            *_lead(trials, rates),
            *series(trials, "cpu_us", "µs of CPU a task, without the server's"),
            *series(trials, "server_us", "µs of the server's CPU a task"),
        ],
        notes=[
            f"{count:,} tasks unless a name says otherwise; {version} on the same machine; the bare loop takes"
            f" {bare.BATCH:,} at a time. {peers.absent()}",
            *overtaken(rates, ONE, {"tasks/s": True}, "kokugen records the end of each."),
        ],
    )


def _lead(trials: Trials, rates: Sequence[Figure]) -> list[Figure]:
    """Return how many times as fast as the fastest peer kokugen is."""
    others = [one for one in rates if "(" in one.name]
    if not others:
        return []
    fastest = max(others, key=lambda one: one.median).name
    lead = at_least(1.5)
    return [ratio(trials, (ONE, fastest), name=f"{ONE} / the fastest peer, {fastest}", goal=lead, unit="times")]


def main(words: Sequence[str] | None = None) -> None:
    tell("postgres_drain", ASKS, words, measure)


if __name__ == "__main__":
    main()
