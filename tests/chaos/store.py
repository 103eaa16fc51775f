"""A PostgreSQL server that crashes under load, and a network to it that fails in every way."""

from __future__ import annotations

import signal
import threading

from tests.chaos.stage import Findings, Load, Stage
from tests.faults.crew import Crew, await_until
from tests.faults.ground import TIMEOUT_S, PostgresGround
from tests.faults.journal import START, boot_ns
from tests.faults.judge import Kind, Verdict, judge
from tests.faults.network import IN_COMMIT, Fault, Network, failing_network
from tests.servers.postgres import PostgresServer

WORKERS = 4
DOWN_MAX_S = 20.0
"""How long a server is down at most; mostly it is not down for a second."""
RESUMED_MAX_S = 5.0
LOOK_S = 0.05
LATE_MAX_S = 1.5
"""How much later than its deadline a call may be answered, on a machine that has much else to do."""
DELAY_MAX_S = 5.0
REFUSED_MAX_S = 1.0
GAP_MAX_S = 0.8
EVERYWHERE = 0.15
"""How many faults befall all connections at once."""


# -- A server that crashes


def restart(stage: Stage, count: int) -> Findings:
    """Crash the server under load, and start it again some time later."""
    ups: list[int] = []
    with stage.server() as server, stage.crew(PostgresGround(server.url, stage.folder)) as crew:
        crew.start(WORKERS)
        crew.await_nodes(WORKERS)
        with Load(crew, lambda: [stage.step(1.0) for _ in range(30)], 0.1):
            for done in range(count):
                crew.await_lines(len(crew.journal) + stage.random.randrange(100, 600))
                ups.append(crash(stage, server))
                await_until(lambda: bool(resumed(crew, ups[-1:])), "the next run", LOOK_S)
                stage.say(f"{done + 1} of {count} restarts, {len(crew.asked)} tasks")
        crew.drain()
        case, spans = crew.case(), resumed(crew, ups)
    slow = [
        Verdict(Kind.SLOW, f"work resumed {span:.1f} s after the server was up")
        for span in spans
        if span > RESUMED_MAX_S
    ]
    return Findings(
        count=count,
        tasks=len(case.tasks),
        verdicts=[*judge(case), *slow],
        recoveries_s=spans,
        notes={"errors_of_the_client": crew.unanswered, "longest_call_s": round(crew.longest_s, 2)},
    )


def crash(stage: Stage, server: PostgresServer) -> int:
    """Crash it as `pg_ctl stop -m immediate` does; return when it answered again."""
    server.stop(signal.SIGQUIT)
    threading.Event().wait(stage.random.choice((0.0, 0.0, 1.0, 1.0, DOWN_MAX_S)) * stage.random.random())
    server.start()
    return boot_ns()


def resumed(crew: Crew, ups: list[int]) -> list[float]:
    """Return how long after each of these times the next run began, as far as one has."""
    starts = [entry.boot_ns for entry in crew.journal.entries() if entry.event == START]
    first = [min((at for at in starts if at > up), default=None) for up in ups]
    return [(at - up) / 1e9 for at, up in zip(first, ups, strict=True) if at is not None]


# -- A network that fails


def fail_network(stage: Stage, count: int) -> Findings:
    """Have faults of every kind befall the connections of workers and client, one after the other."""
    with stage.server() as server, failing_network(server.socket, stage.random) as network:
        ground = PostgresGround(server.url, stage.folder, way=network.url)
        with stage.crew(ground) as crew:
            crew.start(WORKERS)
            crew.await_nodes(WORKERS)
            with Load(crew, lambda: [stage.step(0.5, longest_us=100_000) for _ in range(10)], 0.1):
                torment(stage, crew, network, count)
            crew.drain()
            case = crew.case()
    happened = network.happened
    absent = (Verdict(Kind.UNEXPLAINED, f"no {one.value} happened") for one in Fault if not happened[one])
    verdicts = [*judge(case), *absent]
    if crew.longest_s > TIMEOUT_S + LATE_MAX_S:
        verdicts.append(Verdict(Kind.SLOW, f"a call took {crew.longest_s:.1f} s, and its deadline is {TIMEOUT_S} s"))
    notes = {one.value.replace(" ", "_"): happened[one] for one in Fault} | {
        "unknown_commits": sum(happened[one] for one in IN_COMMIT),
        "errors_of_the_client": crew.unanswered,
        "longest_call_s": round(crew.longest_s, 2),
    }
    return Findings(count=happened.total(), tasks=len(case.tasks), verdicts=verdicts, notes=notes)


def torment(stage: Stage, crew: Crew, network: Network, count: int) -> None:
    """Inflict faults in rounds, each kind once a round, until so many have happened."""
    random = stage.random
    while (done := network.happened.total()) < count:
        for fault in random.sample(list(Fault), len(Fault)):
            span_s = random.random() * (DELAY_MAX_S if fault is Fault.DELAY else REFUSED_MAX_S)
            network.inflict(fault, span_s, everywhere=fault is Fault.REFUSE or random.random() < EVERYWHERE)
            threading.Event().wait(random.random() * GAP_MAX_S)
        stage.say(f"{done} of {count} faults, {len(crew.asked)} tasks")
