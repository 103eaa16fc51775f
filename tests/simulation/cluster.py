"""A simulated cluster: real engines on machines that crash, pause and lose their wire to one store.

`Cluster.run` plays one history to its end, drawn from a seed, and checks the invariants as it goes and when it is over.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator
from random import Random

from msgspec import Struct

from kokugen import FunctionRegistry, current_run
from kokugen.clock import SECOND_US
from kokugen.codec import encode_params
from kokugen.engine.engine import Engine
from kokugen.engine.lane import BUFFER_MIN
from kokugen.errors import NotUpdatableStateError, RepositoryError
from kokugen.ids import IdSource
from kokugen.repository.rows import CancelRequest, CancelResult, NewTask, Revision
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task import Mode, Params, TaskState
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.testing import InlineDispatcher
from tests.engine.node import HeardHooks, node_info
from tests.simulation.store import WatchedStore, Wire
from tests.simulation.world import START_US, MachineClock, MachineLoop, StoreClock, World

SETTINGS = Settings(
    ttl_s=6.0,
    beat_s=1.5,
    watch_s=1.0,
    margin_s=1.0,
    rpc_s=1.0,
    poll_s=0.5,
    surplus_s=1.0,
    prune_s=1000.0,
    grace_s=2.0,
)
TROUBLE_S = 40.0
PEACE_S = 60.0
WORKERS = 3
DRIFT = 0.03
"""How fast or slow a boot clock may run: well below margin / ttl, as the protocol asks."""
LOST_MAX = 60


class Machine:
    """A process on a machine: an engine, its loop, its clocks, its wire."""

    def __init__(self, cluster: Cluster, number: int) -> None:
        world = cluster.world
        self.name = f"machine-{number}"
        self.cluster = cluster
        self.loop = MachineLoop(
            world, began_s=world.random.uniform(0, 1000), rate=1 + world.random.uniform(-DRIFT, DRIFT)
        )
        self.clock = MachineClock(world, self.loop)
        self.wire = Wire(cluster.store, world)
        self.dead = False
        chance = Random(world.random.random())
        self.storage = LeasedTasks(
            self.wire,
            node=node_info(self.name),
            clock=self.clock,
            ids=IdSource(self.clock, chance),
            settings=SETTINGS,
        )
        self.engine = Engine(
            self.storage,
            [InlineDispatcher(WORKERS, clock=self.clock)],
            _works(self),
            queues=("default",),
            clock=self.clock,
            random=chance,
            settings=SETTINGS,
            hooks=HeardHooks(),
        )
        self.ended = self.loop.create_task(self._live())

    async def _live(self) -> None:
        """Start, again and again until the store answers; then run until asked to stop."""
        started = asyncio.Event()
        while not started.is_set():
            try:
                await self.engine.run(started.set)
            except RepositoryError:
                assert not started.is_set(), "an engine that runs does not end by an error of the store"
                await asyncio.sleep(0.5)

    @property
    def alive(self) -> bool:
        return not self.dead and not self.ended.done()

    def crash(self) -> None:
        self.dead = self.wire.dead = True
        self.loop.paused = True

    def clean_up(self) -> None:
        """Let go of what is left of it, which nothing notices any more."""
        self.crash()
        self.loop.paused = False
        for _ in range(50):
            left = asyncio.all_tasks(self.loop)
            if not left:
                break
            for task in left:
                task.cancel()
            self.loop.step()
        self.loop.run_until_complete(asyncio.sleep(0))
        self.loop.close()


class Call(Struct):
    """One call of work, as the world saw it."""

    task_id: str
    fence: int
    machine: str
    started_s: float
    ended_s: float | None = None


class Cluster:
    """Some machines, one store, and what happened."""

    def __init__(self, seed: int, *, machines: int = 2, clock_steps: bool = False) -> None:
        self.world = World(seed)
        self.store = WatchedStore(StoreClock(self.world))
        self.calls: list[Call] = []
        self.live: list[tuple[Run, Machine, Call]] = []
        self.broken: list[str] = []
        self.cancelled: dict[str, tuple[CancelResult, int]] = {}
        self.happened: Counter[str] = Counter()
        self.clock_steps = clock_steps
        self._numbers = 0
        self.machines: list[Machine] = []
        for _ in range(machines):
            self._boot()

    # -- What happens

    def run(self) -> None:
        """Play the history."""
        self._plan_tasks()
        self._plan_trouble()
        self.world.run_until(TROUBLE_S)
        self._make_peace()
        self.world.run_until(TROUBLE_S + PEACE_S)
        self._check_end()

    def close(self) -> None:
        for machine in self.machines:
            machine.clean_up()

    def _boot(self) -> None:
        self._numbers += 1
        self.machines.append(Machine(self, self._numbers))

    def _plan_tasks(self) -> None:
        random = self.world.random
        for number in range(random.randrange(15, 35)):
            self.world.at(random.uniform(0, TROUBLE_S * 0.7), lambda number=number: self._add(number))  # type: ignore[misc]

    def _add(self, number: int) -> None:
        random = self.world.random
        due = START_US + round((self.world.now_s + random.choice([0, random.uniform(0, 8)])) * SECOND_US)
        seconds = random.choice([0.0, 0.01, 0.5, 3.0, random.uniform(4, 15)])
        task = NewTask(
            id=f"task-{number:03}",
            work_id=random.choice(["polite", "polite", "deaf"]),
            due_at=due,
            scheduled_time=due,
            rank=-random.randrange(4),
            param=encode_params(Params((seconds,))),
            mode=Mode.AT_MOST_ONCE if random.random() < 0.25 else Mode.AT_LEAST_ONCE,
            max_lost=LOST_MAX,
        )
        self.store.add([task]).peek()
        if random.random() < 0.15:
            self.world.after(random.uniform(0, 15), lambda: self._cancel(task.id))
        if random.random() < 0.1:
            self.world.after(random.uniform(0, 8), lambda: self._move(task.id))
        if random.random() < 0.1:
            self._revise(task.id, Revision(hold="by hand"), "held")
            self.world.after(random.uniform(0, 15), lambda: self._revise(task.id, Revision(release=True), "let go"))

    def _cancel(self, task_id: str) -> None:
        force = self.world.random.random() < 0.3
        (answer,) = self.store.cancel(CancelRequest(ids=(task_id,), force=force)).peek()
        self.happened[f"cancel {answer.result}"] += 1
        if answer.result in (CancelResult.CANCELLED, CancelResult.REQUESTED):
            self.cancelled[task_id] = answer.result, self.store.known[task_id].fence

    def _move(self, task_id: str) -> None:
        due = START_US + round((self.world.now_s + self.world.random.uniform(0, 5)) * SECOND_US)
        self._revise(task_id, Revision(due_at=due), "moved")

    def _revise(self, task_id: str, revision: Revision, name: str) -> None:
        try:
            self.store.revise(task_id, revision).peek()
        except NotUpdatableStateError:
            return
        self.happened[name] += 1

    # -- Trouble

    def _plan_trouble(self) -> None:
        random = self.world.random
        kinds = [self._crash, self._pause, self._cut_off, self._stop, self._outage]
        kinds += [self._step_clock] if self.clock_steps else []
        for _ in range(random.randrange(2, 9)):
            self.world.at(random.uniform(0, TROUBLE_S * 0.9), random.choice(kinds))

    def _some(self) -> Machine | None:
        alive = [machine for machine in self.machines if machine.alive]
        return self.world.random.choice(alive) if alive else None

    def _crash(self) -> None:
        if (machine := self._some()) is not None:
            self.happened["crash"] += 1
            machine.crash()
            self.live = [one for one in self.live if one[1] is not machine]
            self.world.after(self.world.random.uniform(0, 6), self._boot)

    def _pause(self) -> None:
        if (machine := self._some()) is not None:
            self.happened["pause"] += 1
            machine.loop.paused = True
            self.world.after(self.world.random.uniform(0.2, 16), lambda: self._resume(machine))

    def _resume(self, machine: Machine) -> None:
        if not machine.dead:
            machine.loop.paused = False

    def _cut_off(self) -> None:
        if (machine := self._some()) is not None:
            self._lose(machine, self.world.random.uniform(0.2, 14))

    def _outage(self) -> None:
        span_s = self.world.random.uniform(0.2, 10)
        for machine in self.machines:
            self._lose(machine, span_s)

    def _lose(self, machine: Machine, span_s: float) -> None:
        kinds = [("request",), ("answer",), ("silence",), ("request", "answer", "silence", "")]
        machine.wire.lost = self.world.random.choice(kinds)
        self.happened[f"lost {' or '.join(machine.wire.lost)}"] += 1
        self.world.after(span_s, lambda: setattr(machine.wire, "lost", ()))

    def _stop(self) -> None:
        if (machine := self._some()) is not None:
            self.happened["stop"] += 1
            machine.engine.request_stop(self.world.random.choice([0.0, 2.0, 10.0]))
            self.world.after(12, self._boot)

    def _step_clock(self) -> None:
        if (machine := self._some()) is not None:
            self.happened["clock step"] += 1
            machine.clock.wrong_s = self.world.random.uniform(-5, 5)

    def _make_peace(self) -> None:
        for machine in self.machines:
            self._resume(machine)
            machine.wire.lost = ()
        if not any(machine.alive for machine in self.machines):
            self._boot()

    # -- What work does, and what must hold as it starts

    def begin(self, machine: Machine, run: Run) -> Call:
        """Note that work is called. What is wrong with that is kept for later: raised here it would be the work's."""
        call = Call(run.task_id, run.fence, machine.name, self.world.now_s)
        self.broken += self._objections(machine, run)
        self.calls.append(call)
        self.live.append((run, machine, call))
        return call

    def _objections(self, machine: Machine, run: Run) -> Iterator[str]:
        if len(machine.engine.runs) > WORKERS + BUFFER_MIN:
            yield f"I15: {machine.name} holds {len(machine.engine.runs)} runs"
        if not self.clock_steps and self.world.now_s * SECOND_US < run.task.due_at - START_US - 1:
            yield f"I9: {run} starts early"
        if run.task.mode == Mode.AT_MOST_ONCE and any(one.task_id == run.task_id for one in self.calls):
            yield f"I5: {run} may be called once, and is called again"
        result, fence = self.cancelled.get(run.task_id, (None, 0))
        if run.fence > fence and result is not None:
            yield f"I13: {run} starts after its cancellation was {result}"
        for other, where, _ in self.live:
            if other.task_id != run.task_id:
                continue
            self.happened["overlap"] += 1
            if where.clock.boot_s() < other.trusted_until_s:
                yield f"I7: {run} starts while {where.name} may trust that {other} is its own"

    def end(self, call: Call) -> None:
        call.ended_s = self.world.now_s
        self.live = [one for one in self.live if one[2] is not call]

    # -- What must hold in the end

    def _check_end(self) -> None:
        assert not self.broken, self.broken
        for machine in self.machines:
            if machine.ended.done():
                machine.ended.result()
        ended = {(call.task_id, call.fence) for call in self.calls if call.ended_s is not None}
        stored = self.store.get(list(self.store.known)).peek()
        assert len(stored) == len(self.store.known), "I1: a task is gone"
        for info in stored:
            assert info.state.terminal, f"I6, I14: {info.id} is {info.state.label} still ({info})"
            if info.state is TaskState.DONE:
                assert (info.id, info.fence) in ended, f"{info.id}: Done, and its last run did not end"
            if info.state is TaskState.CANCELLED:
                assert info.id in self.cancelled, f"{info.id}: cancelled by nobody"
            if info.state is TaskState.FAILED:
                assert info.mode is Mode.AT_MOST_ONCE, f"I6: {info.id} is failed: {info.reason}"
        self.happened.update(self.store.seen)
        for machine in self.machines:
            self.happened.update({f"wire {lost}": count for lost, count in machine.wire.losses.items() if lost})

    def trace(self) -> list[tuple[str, int, str, float, float | None]]:
        """What happened, to be compared with another play of the same seed."""
        return [(one.task_id, one.fence, one.machine, one.started_s, one.ended_s) for one in self.calls]


def _works(machine: Machine) -> FunctionRegistry:
    works, cluster = FunctionRegistry(), machine.cluster

    @works.work
    async def polite(seconds: float) -> None:
        call = cluster.begin(machine, current_run())
        try:
            await asyncio.sleep(seconds)
        finally:
            if not machine.dead:
                cluster.end(call)

    @works.work
    async def deaf(seconds: float) -> None:
        """As a thread: asked to stop, it goes on to its end."""
        loop = asyncio.get_running_loop()
        call, until_s = cluster.begin(machine, current_run()), loop.time() + seconds
        while loop.time() < until_s and not machine.dead:
            try:
                await asyncio.sleep(until_s - loop.time())
            except asyncio.CancelledError:
                continue
        if not machine.dead:
            cluster.end(call)

    return works
