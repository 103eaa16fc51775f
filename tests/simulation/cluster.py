"""One history: machines and a client on one store, the deeds of its plan, then peace, and what must have come of it.

`Cluster.run` plays it to its end, or to the first promise that was not kept.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random
from typing import TypeVar

from kokugen.errors import KokugenError
from kokugen.reply import Reply
from kokugen.repository.rows import NewTask, Revision
from kokugen.settings import Settings
from tests.simulation.deeds import DEEDS
from tests.simulation.judge import Judge
from tests.simulation.machine import Machine
from tests.simulation.places import MemoryPlace, Place
from tests.simulation.plan import TROUBLE_S, Deed, Plan
from tests.simulation.probes import PROBES
from tests.simulation.sqlite_place import SqlitePlace
from tests.simulation.timetable import Timetable
from tests.simulation.verdict import excused, judge_end
from tests.simulation.wire import Wire
from tests.simulation.works import works_of
from tests.simulation.world import StoreClock, World

T = TypeVar("T")

RETENTION = timedelta(seconds=10)
SETTINGS = Settings(
    ttl_s=6.0,
    beat_s=1.5,
    watch_s=1.0,
    margin_s=1.0,
    rpc_s=1.0,
    poll_s=0.5,
    ageing_s=1.0,
    surplus_s=1.0,
    grace_s=2.0,
    prune_s=4.0,
    outbox_max=4,
    keep_done=RETENTION,
    keep_cancelled=RETENTION,
    keep_failed=RETENTION,
)
HEAL_S = 400.0
"""Within this of peace everything is over: several poison tasks may each crash three processes, one after another."""
ANSWER_S = 1.5
PATIENCE_S = 8.0
"""How long a client tries to add a task: less than it is kept after its end, or it might be added once more."""


class Cluster:
    """The machines and the client of one plan. `deeds` are those of the plan, or fewer."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.random = Random(f"cluster {plan.seed}")
        self.world = World(f"world {plan.seed}")
        self.clock = StoreClock(self.world)
        self.place: Place = SqlitePlace(self.world, self.clock) if plan.sqlite else MemoryPlace(self.clock)
        self.judge = Judge(self.world, self.place, SETTINGS)
        self.judge.clock = self.clock
        self.judge.wild_clocks = plan.wild_clocks
        if isinstance(self.place, SqlitePlace):
            self.place.judge = self.judge
        self.wire = Wire(self.place.enter("client"), self.world, self.judge, "client", self.random.random())
        self.timetable = Timetable(self)
        self.machines: list[Machine] = []
        self.minority: Machine | None = None
        self.peace = False
        self._numbers = 0
        for _ in range(plan.machines):
            self.boot()

    def run(self) -> None:
        """Play the history."""
        for deed in self.plan.deeds:
            self.world.at(deed.at_s, lambda deed=deed: self._do(deed))  # type: ignore[misc]  # mypy and defaults
        self.world.run_until(TROUBLE_S)
        self._make_peace()
        self._heal()
        if not self.world.over:
            self.timetable.judge()
            self.world.run_until(self.world.now_s + 1.0)
        if not self.world.over:
            judge_end(self)
        if not self.world.over:
            PROBES[self.random.randrange(len(PROBES))](self)
        if self.judge.error is not None:
            raise self.judge.error

    def close(self) -> None:
        for machine in self.machines:
            machine.clean_up()
        self.place.close()

    def _do(self, deed: Deed) -> None:
        try:
            DEEDS[deed.what](self, Random(deed.seed))
        except Exception as error:
            self.judge.stumble(error)

    # -- What deeds are made of

    def boot(self) -> Machine:
        """Start a process, with a node id that no other had."""
        self._numbers += 1
        machine = Machine(
            self.world,
            self.judge,
            self.place,
            works_of,
            name=f"machine-{self._numbers}",
            random=self.random,
            settings=SETTINGS,
        )
        if self.plan.sqlite:
            machine.clock.wrong_s = self.clock.wrong_s
        self.machines.append(machine)
        self.world.tell(machine.name, "boots")
        return machine

    def some(self, random: Random) -> Machine | None:
        """Return one that is alive."""
        alive = [machine for machine in self.machines if machine.alive]
        return random.choice(alive) if alive else None

    def after(self, delay_s: float, happen: Callable[[], object]) -> None:
        """Let something happen after a while of trouble. What would outlast it, peace has put right already."""

        def unless_peace() -> None:
            if not self.peace:
                happen()

        self.world.after(delay_s, unless_peace)

    def crash(self, machine: Machine, random: Random) -> None:
        """Cut its power, and start another process after a while."""
        machine.crash()
        self.after(random.uniform(0, 6), self.boot)

    def ask(self, reply: Reply[T], then: Callable[[T], object]) -> None:
        """Do something with an answer, if there ever is one, and it is no error."""

        def hear() -> None:
            try:
                answer = reply.peek()
            except KokugenError:
                return
            then(answer)

        reply.when_done(hear)

    def add(self, task: NewTask, until_s: float | None = None) -> None:
        """Add a task, again and again until that is acknowledged, or the client gives up."""
        until_s = self.world.now_s + PATIENCE_S if until_s is None else until_s
        if self.world.now_s > until_s and task.id not in self.judge.acknowledged:
            return
        reply = self.wire.add([task])
        self.ask(reply, lambda _: self._acknowledge(task.id))

        def again() -> None:
            if task.id not in self.judge.acknowledged:
                self.add(task, until_s)

        self.world.after(ANSWER_S, again)

    def _acknowledge(self, task_id: str) -> None:
        self.judge.acknowledged.add(task_id)
        self.judge.hold("I1", task_id in self.judge.rows or task_id in self.judge.gone, task_id, "is not there")

    # -- Peace

    def _make_peace(self) -> None:
        """Put everything right, and start what is missing; but for the minority, where there is one."""
        self.peace = True
        self.world.tell("world", "peace")
        self.clock.wrong_s = 0.0
        alive = [machine for machine in self.machines if machine.alive]
        if self.plan.minority and len(alive) > 1:
            self.minority = alive[-1]
            self.judge.happened["minority"] += 1
        for machine in alive:
            machine.clock.set(0.0)
            if machine is not self.minority:
                self._mend(machine)
        self._break_for_good()
        self.wire.lost, self.wire.calm = (), True
        while sum(machine.alive and machine is not self.minority for machine in self.machines) < min(
            2, self.plan.machines
        ):
            self.boot()
        for row in list(self.judge.rows.values()):
            if row.hold == "by hand":
                self.wire.revise(row.id, Revision(release=True))

    @staticmethod
    def _mend(machine: Machine) -> None:
        machine.resume()
        machine.wire.lost, machine.wire.only, machine.wire.hints, machine.wire.slow_s = (), (), (), 0.0
        machine.wire.fuse = None

    def _break_for_good(self) -> None:
        if self.minority is None:
            return
        self.minority.wire.fuse, self.minority.wire.only = None, ()
        self.minority.wire.lost = self.random.choice(
            [("request",), ("answer",), ("silence",), ("silence", "answer", "")]
        )
        if self.random.random() < 0.3:
            self.minority.pause()

    def _heal(self) -> None:
        """Let time pass until everything is over; where a process dies, start another, as an orchestrator does."""
        until_s = self.world.now_s + HEAL_S
        while not self.world.over and self.world.now_s < until_s and not self._is_settled():
            self.world.run_until(self.world.now_s + 0.5)
            self.keep_alive()
            self.timetable.end()

    def keep_alive(self) -> None:
        while not any(machine.alive and machine is not self.minority for machine in self.machines):
            self.judge.happened["booted in peace"] += 1
            self.boot()

    def healthy(self) -> list[Machine]:
        return [machine for machine in self.machines if machine.alive and machine is not self.minority]

    def _is_settled(self) -> bool:
        judge = self.judge
        if not self.timetable.ended or any(not excused(row) for row in judge.rows.values()):
            return False
        return not any(machine.storage.unwritten or machine.live for machine in self.healthy())
