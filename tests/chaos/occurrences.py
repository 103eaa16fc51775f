"""Schedules of several processes under every fault at once, and in the end an account of every one of their times."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

from kokugen import Every, TaskParam
from kokugen.clock import SECOND_US, from_us
from kokugen.schedule_options import CatchupName, ScheduleOptions
from kokugen.schedules.drafts import NewSchedule
from kokugen.schedules.materialiser import AHEAD_S
from kokugen.task import replace
from tests.chaos.processes import STOPPED_FOR_S
from tests.chaos.stage import TAKEOVER_MAX_S, Findings, Stage, proven, takeovers
from tests.chaos.store import DELAY_MAX_S, GAP_MAX_S, crash
from tests.faults.account import MADE, Account, Decision, Made, Plan, Trouble, audit, lateness
from tests.faults.crew import Crew, await_until, wall_us
from tests.faults.ground import PostgresGround
from tests.faults.judge import judge
from tests.faults.network import Fault, Network, failing_network
from tests.faults.stalls import StallWatch
from tests.servers.postgres import PostgresServer

SCHEDULES = 200
WORKERS = 5
PERIODS_S = (10, 20, 30, 40, 60)
CATCHUPS: tuple[CatchupName, ...] = ("all", "all", "one", "skip")
MISFIRE = timedelta(seconds=2)
LEAD_S = 3.0
DEEDS = 4
"""How many faults make up a burst at most; then it is quiet for a while."""
QUIET_S = 20.0
OUTAGE_S = AHEAD_S + MISFIRE.total_seconds() + 5.0
"""So long that the times of its end come to nobody's mind before it is too late for them to simply run."""
AFTERMATH_S = TAKEOVER_MAX_S + 6.0
"""How long the last fault of a burst may be felt: a takeover, and what a node waits before it asks the store anew."""
LOOK_S = 0.1
LONG = 1000
"""From so many occurrences on there have to be some that did not run, and say why."""


def account_for(stage: Stage, count: int) -> Findings:
    """Have schedules make so many occurrences while their nodes, their network and their store fail in bursts."""
    with stage.server() as server, failing_network(server.socket, stage.random) as network:
        ground = PostgresGround(server.url, stage.folder, way=network.url)
        with stage.crew(ground) as crew, StallWatch() as watch:
            crew.start(WORKERS)
            crew.await_nodes(WORKERS)
            plans = schedule(stage, crew, count)
            bursts = Nemesis(stage, crew, network, server).torment_until(max(plan.times[-1] for plan in plans))
            await_until(lambda: not undecided(ground), "the last decision of all schedules", LOOK_S)
            crew.drain()
            return shown(crew, ground, plans, bursts, watch.troubles)


def schedule(stage: Stage, crew: Crew, count: int) -> list[Plan]:
    """Make schedules with so many times in all, and of every policy of catching up."""
    span_s = count / (SCHEDULES / len(PERIODS_S) * sum(1 / period_s for period_s in PERIODS_S))
    plans, made = [], []
    for number in range(SCHEDULES):
        period_s = PERIODS_S[number % len(PERIODS_S)]
        start_us = wall_us() + int((LEAD_S + stage.random.random() * period_s) * SECOND_US)
        times = max(round(span_s / period_s), 1)
        misfire_us = MISFIRE // timedelta(microseconds=1)
        plans.append(plan := Plan(f"n{number:03d}", start_us, period_s * SECOND_US, times, misfire_us))
        made.append(new_schedule(stage, plan))
    crew.scheduler.put_schedules(made)
    return plans


def new_schedule(stage: Stage, plan: Plan) -> NewSchedule:
    param: TaskParam = replace(stage.step(longest_us=300_000), unique=None)
    options = ScheduleOptions(
        name=plan.name,
        start=from_us(plan.start_us),
        end=from_us(plan.times[-1]),
        catchup=stage.random.choice(CATCHUPS),
        misfire=MISFIRE,
        overlap="allow",
    )
    every = Every(timedelta(microseconds=plan.period_us), start=from_us(plan.start_us))
    return NewSchedule(when=every, param=param, options=options)


class Nemesis:
    """Faults in bursts, with quiet between them."""

    def __init__(self, stage: Stage, crew: Crew, network: Network, server: PostgresServer) -> None:
        self._stage = stage
        self._random = stage.random
        self._crew = crew
        self._network = network
        self._server = server
        self._troubles: list[Trouble] = []
        self._deeds = (self._kill, self._pause, self._disturb, self._crash)

    def torment_until(self, until_us: int) -> list[Trouble]:
        """Do one burst after the other until then; return when there was trouble. In the first the store is gone."""
        deeds: list[Callable[[], object]] = [self._black_out]
        while wall_us() < until_us:
            with self._trouble():
                for deed in deeds:
                    deed()
                self._replace()
            deeds = self._random.choices(self._deeds, k=self._random.randint(1, DEEDS))
            left_s = max(until_us - wall_us(), 0) / SECOND_US
            self._stage.say(f"{len(self._troubles)} bursts of faults, {left_s:.0f} s to go")
            rest_s = AFTERMATH_S + self._random.random() * QUIET_S
            threading.Event().wait(min(rest_s, left_s))
        return self._troubles

    @contextmanager
    def _trouble(self) -> Iterator[None]:
        first_us = wall_us()
        yield
        self._troubles.append(Trouble(first_us, wall_us() + int(AFTERMATH_S * SECOND_US)))

    def _kill(self) -> None:
        for _ in range(self._random.randrange(len(self._crew.alive))):
            self._crew.kill(self._random.randrange(len(self._crew.alive)))

    def _replace(self) -> None:
        """Start as many workers as there were: one that cannot reach its store as it starts would end by itself."""
        threading.Event().wait(DELAY_MAX_S)
        self._crew.start(WORKERS - len(self._crew.alive))

    def _pause(self) -> None:
        alive = len(self._crew.alive)
        stopped = [self._crew.pause(index) for index in self._random.sample(range(alive), min(alive, 2))]
        threading.Event().wait(STOPPED_FOR_S)
        for pid in stopped:
            self._crew.resume(pid)

    def _disturb(self) -> None:
        for fault in self._random.sample(list(Fault), len(Fault)):
            span_s = self._random.random() * (DELAY_MAX_S if fault is Fault.DELAY else GAP_MAX_S)
            self._network.inflict(fault, span_s, everywhere=self._random.random() < 0.5)
            threading.Event().wait(self._random.random() * GAP_MAX_S)

    def _black_out(self) -> None:
        self._server.stop(signal.SIGQUIT)
        threading.Event().wait(OUTAGE_S)
        self._server.start()

    def _crash(self) -> None:
        crash(self._stage, self._server)


# -- The account


def undecided(ground: PostgresGround) -> int:
    (row,) = ground.rows("SELECT count(*) FROM {schema}schedule WHERE next_at IS NOT NULL")
    return int(row[0])


def shown(
    crew: Crew, ground: PostgresGround, plans: list[Plan], bursts: list[Trouble], stalls: list[Trouble]
) -> Findings:
    made = [Made(*row) for row in ground.rows(MADE_SQL)]
    crew.asked |= {one.task_id: one.nominal for one in made}
    case = crew.case()
    decisions = [Decision(*row) for row in ground.rows(LEDGER_SQL)]
    account = Account(plans=plans, decisions=decisions, made=made, entries=case.entries, troubles=bursts + stalls)
    late_us = sorted(late for late, _ in lateness(account))
    not_run = sum(one.count or 0 for one in decisions if one.reason != MADE)
    found = Findings(
        count=sum(plan.count for plan in plans),
        tasks=len(case.tasks),
        verdicts=[*judge(case), *audit(account)],
        recoveries_s=takeovers(case),
        notes={"late_p50_ms": round(late_us[len(late_us) // 2] / 1000, 1), "stalls_of_the_machine": len(stalls)},
    )
    shows = {"bursts": len(bursts), "times_not_run_with_a_reason": not_run}
    return proven(found, **shows) if found.count > LONG else found


MADE_SQL = """
    SELECT s.name, t.nominal, t.id FROM {schema}task t JOIN {schema}schedule s ON s.id = t.schedule_id
"""
LEDGER_SQL = """
    SELECT s.name, l.first, l.last, l.count, l.reason, l.stand_in
    FROM {schema}ledger l JOIN {schema}schedule s ON s.id = l.schedule_id
"""
