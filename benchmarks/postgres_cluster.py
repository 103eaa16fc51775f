"""How quick is a store on PostgreSQL? Drains beside the bare loop, with one node and with two; lateness; an idle node.

`python -m benchmarks.postgres_cluster [TASKS [ROUNDS]]` starts a server of its own, durable as users run it, on this
machine, and prints one line of JSON: medians of the rounds. Nodes are processes of their own.
"""

from __future__ import annotations

import asyncio
import json
import multiprocessing
import os
import platform
import random
import statistics
import sys
import time
from collections.abc import Sequence
from datetime import timedelta
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess

from kokugen import Scheduler, TaskParam
from kokugen.clock import SystemClock, from_us
from kokugen.ids import IdSource, system_random
from kokugen.repository.postgres import PostgresRepository, runs, tasks
from kokugen.repository.postgres.address import parse
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.lane import Scope
from kokugen.repository.postgres.session import Kind, connect
from kokugen.repository.postgres.unsettled import Unsettled
from kokugen.repository.rows import ClaimRequest, Finish, NewTask
from kokugen.task import TaskQuery, TaskState
from tests.servers.postgres import DURABLE, PostgresServer, newest, running
from tests.servers.stores import query, store_url

TASKS, ROUNDS = 100_000, 3
BATCH = 1000
DUE_NOW, LATE_TASKS, LATE_S, IDLE_S = 300, 2000, 20, 20
IDS = IdSource(SystemClock(), system_random())
SPAWN = multiprocessing.get_context("spawn")
Figures = dict[str, float]


def now_us() -> int:
    return SystemClock().wall_us()


# -- A node, in a process of its own


def node(url: str, pipe: Connection) -> None:
    """Run work until told to stop, then tell what it saw."""
    scheduler = Scheduler(url)
    late: list[int] = []

    @scheduler.work
    def noop() -> None:
        return

    @scheduler.work
    def record(due_us: int) -> None:
        late.append(now_us() - due_us)

    pipe.recv()
    spent = time.process_time()
    scheduler.start()
    pipe.send("runs")
    pipe.recv()
    pipe.send((late, time.process_time() - spent))
    scheduler.stop(timedelta(seconds=5))
    scheduler.close()


class Node:
    """The other end of one."""

    def __init__(self, url: str) -> None:
        self._pipe, theirs = SPAWN.Pipe()
        self._process: BaseProcess = SPAWN.Process(target=node, args=(url, theirs), daemon=True)
        self._process.start()

    def start(self) -> None:
        self._pipe.send("start")
        self._pipe.recv()

    def stop(self) -> tuple[list[int], float]:
        self._pipe.send("stop")
        told: tuple[list[int], float] = self._pipe.recv()
        self._process.join()
        return told


# -- Drains


def fill(repository: PostgresRepository, count: int) -> float:
    """Add due tasks that do nothing; return how many a second."""
    due = now_us() - 60_000_000
    rows = [NewTask(id=IDS.task_id(), work_id="noop", due_at=due + n, scheduled_time=due + n) for n in range(count)]
    begun = time.perf_counter()
    replies = [repository.add(rows[start : start + BATCH]) for start in range(0, count, BATCH)]
    for reply in replies:
        reply.result()
    return count / (time.perf_counter() - begun)


async def bare(url: str, count: int) -> float:
    """Claim and finish in a plain loop on one connection: the same statements with nothing around them."""
    address = parse(url)
    session = await connect(address, Kind(limit_s=60, pinned=True))
    scope = Scope(
        session=session,
        schema=address.schema,
        namespace="default",
        clock=SystemClock(),
        drift=Drift(),
        unsettled=Unsettled(),
    )
    done, begun = 0, time.perf_counter()
    while done < count:
        answer = await tasks.claim(scope, ClaimRequest(node_id="bare", nonce=IDS.nonce(), slots=BATCH))
        rows = [
            Finish(id=run.id, claim=answer.claim, state=TaskState.DONE, outcome="done", started_at=answer.now)
            for run in answer.tasks
        ]
        await runs.finish(scope, rows)
        done += len(rows)
    rate = done / (time.perf_counter() - begun)
    await session.close()
    return rate


def drain(url: str, repository: PostgresRepository, nodes: int) -> float:
    """Let nodes run all that is due; return how many tasks a second."""
    count = waiting(repository)
    ready = [Node(url) for _ in range(nodes)]
    time.sleep(1)  # they import what they need
    begun = time.perf_counter()
    for one in ready:
        one.start()
    while waiting(repository):
        time.sleep(0.01)
    while repository.watch("nobody").result():
        time.sleep(0.002)
    rate = count / (time.perf_counter() - begun)
    for one in ready:
        one.stop()
    return rate


def waiting(repository: PostgresRepository) -> int:
    return int(repository.count(TaskQuery(states=frozenset({TaskState.INITIALIZED}))).result())


def drains(server: PostgresServer, count: int, turn: int) -> Figures:
    url = store_url(server.url, f"drain {turn}")
    repository = PostgresRepository(url)
    figures: Figures = {"insert_per_s": fill(repository, count)}
    figures["bare_per_s"] = asyncio.run(bare(url, count))
    for nodes in (1, 2):
        fill(repository, count)
        query(server.url, "CHECKPOINT")
        figures[f"{nodes}_nodes_per_s"] = drain(url, repository, nodes)
    figures["ratio_to_bare"] = figures["1_nodes_per_s"] / figures["bare_per_s"]
    repository.close()
    return figures


# -- Punctuality, and an idle node


def quantiles(name: str, late_us: Sequence[int]) -> Figures:
    ordered = sorted(late_us)
    at = {"p50": 0.5, "p99": 0.99}
    return {f"{name}_{key}_ms": ordered[int(len(ordered) * part)] / 1e3 for key, part in at.items()}


def due_now(server: PostgresServer, turn: int) -> Figures:
    """Schedule here for now, and run in another process."""
    url = store_url(server.url, f"now {turn}")
    scheduler, other = Scheduler(url), Node(url)
    scheduler.open()
    other.start()
    time.sleep(1)
    for number in range(DUE_NOW + 20):
        when = now_us() if number >= 20 else 0  # the first ones warm it up
        scheduler.schedule(TaskParam(work_id="record", scheduled_time=from_us(when), param=[when]))
        time.sleep(random.uniform(0.01, 0.03))
    time.sleep(0.5)
    late = [us for us in other.stop()[0] if us < 1_000_000_000]
    scheduler.close()
    return quantiles("due_now", late)


def lateness(server: PostgresServer, turn: int) -> Figures:
    """Run tasks at random instants."""
    url = store_url(server.url, f"late {turn}")
    scheduler, other = Scheduler(url), Node(url)
    first = now_us() + 3_000_000
    dues = [first + random.randrange(LATE_S * 1_000_000) for _ in range(LATE_TASKS)]
    scheduler.schedule_many(TaskParam(work_id="record", scheduled_time=from_us(us), param=[us]) for us in dues)
    other.start()
    time.sleep(LATE_S + 4)
    late, _ = other.stop()
    scheduler.close()
    assert len(late) == LATE_TASKS
    return quantiles("lateness", late)


def idle(server: PostgresServer, turn: int) -> Figures:
    """Have nothing to do."""
    counted = "SELECT sum(xact_commit + xact_rollback)::bigint FROM pg_stat_database"
    url = store_url(server.url, f"idle {turn}")
    one = Node(url)
    one.start()
    time.sleep(2)
    before = query(server.url, counted)[0][0]
    time.sleep(IDLE_S)
    told = query(server.url, counted)[0][0] - before
    _, spent_s = one.stop()
    return {"idle_statements_per_s": told / IDLE_S, "idle_core_percent": spent_s / (IDLE_S + 2) * 100}


def main(count: int, rounds: int) -> None:
    found: list[Figures] = []
    with running(newest, DURABLE) as server:
        found += [
            drains(server, count, turn) | due_now(server, turn) | lateness(server, turn) | idle(server, turn)
            for turn in range(rounds)
        ]
    medians = {name: round(statistics.median(one[name] for one in found), 3) for name in found[0]}
    told = {
        "benchmark": "postgres_cluster",
        "python": platform.python_version(),
        "cores": os.cpu_count(),
        "load": round(os.getloadavg()[1], 1),
        "tasks": count,
        "rounds": rounds,
        "medians": medians,
    }
    print(json.dumps(told))


if __name__ == "__main__":
    words = [int(word) for word in sys.argv[1:]]
    main(*words, *(TASKS, ROUNDS)[len(words) :])
