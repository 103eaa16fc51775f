"""A process on a machine: the real engine and task storage, on a loop, clocks and a wire of the world's.

It starts anew until the store answers, runs until it is asked to stop, and can be killed at any of its calls.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from random import Random
from typing import Protocol, TypeVar

from kokugen.engine.engine import Engine
from kokugen.errors import RepositoryError
from kokugen.ids import IdSource
from kokugen.registry.functions import FunctionRegistry
from kokugen.reply import Reply
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.rows import Beaten, ClaimAnswer, ClaimRequest, Lease
from kokugen.repository.schedule_rows import Changed, ScheduleChange
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.testing import InlineDispatcher
from tests.engine.node import HeardHooks, node_info
from tests.simulation.judge import WORKERS, Judge
from tests.simulation.places import Place
from tests.simulation.timetable import materialiser_of
from tests.simulation.wire import Wire
from tests.simulation.world import MachineClock, MachineLoop, World

DRIFT = 0.06
"""How fast or slow a boot clock may run: two that differ by twice that still agree within margin / ttl."""
RESTART_S = 0.5
T = TypeVar("T")

Works = Callable[["Machine"], FunctionRegistry]


class Held(Protocol):
    """Something of the process's that ends with it, such as a connection of its own to the database."""

    def abandon(self) -> None: ...


class MachineWire(Wire):
    """Tells the judge of every lease that is given over it."""

    boot_s: Callable[[], float]
    unwritten: Callable[[], int]
    clock: MachineClock

    def _ask(self, verb: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        self._judge.happened["outbox full"] += self.unwritten() >= self._judge.settings.outbox_max
        return super()._ask(verb, call)

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        self._judge.asks(self.name, self.unwritten())
        sent_s = self.boot_s()

        def arrive() -> Reply[ClaimAnswer]:
            answer = self._inner.claim(request)
            self._when_done("claim", answer, lambda given: self._judge.handed_out(request, given, sent_s))
            return answer

        return self._ask("claim", arrive)

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        sent_s = self.boot_s()

        def arrive() -> Reply[list[Beaten]]:
            answer = self._inner.beat(leases, ttl_s=ttl_s)
            self._when_done("beat", answer, lambda beaten: self._judge.beaten(beaten, sent_s))
            return answer

        return self._ask("beat", arrive)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        def arrive() -> Reply[list[Changed]]:
            answer = self._store.change_schedules(changes)
            self._when_done("decide", answer, lambda _: self._judge.decided(self.clock, self.name, changes))
            return answer

        return self._ask("change_schedules", arrive)

    @property
    def _store(self) -> ScheduleRepository:
        assert isinstance(self._inner, ScheduleRepository)
        return self._inner


class Machine:
    """One process. `works` makes what it can run."""

    def __init__(
        self, world: World, judge: Judge, place: Place, works: Works, *, name: str, random: Random, settings: Settings
    ) -> None:
        self.name = name
        self.world = world
        self.judge = judge
        self.place = place
        self.loop = MachineLoop(world, began_s=random.uniform(0, 1000), rate=1 + random.uniform(-DRIFT, DRIFT))
        self.loop.set_exception_handler(self._complain)
        self.clock = MachineClock(world, self.loop)
        self.wire = MachineWire(place.enter(name), world, judge, name, random.random())
        self.wire.boot_s, self.wire.cut = self.loop.boot_s, self.crash
        self.hooks = HeardHooks()
        self.dead = False
        self.resumed_s = 0.0
        self.held: list[Held] = []
        self.live: dict[Lease, Run] = {}
        """The runs whose work is under way here."""
        self.storage = LeasedTasks(
            self.wire,
            node=node_info(name),
            clock=self.clock,
            ids=IdSource(self.clock, Random(random.random())),
            settings=settings,
        )
        self.wire.clock = self.clock
        self.wire.unwritten = self._unwritten
        self.engine = Engine(
            self.storage,
            [InlineDispatcher(WORKERS, clock=self.clock)],
            works(self),
            queues=("default",),
            clock=self.clock,
            random=Random(random.random()),
            settings=settings,
            hooks=self.hooks,
            services=[materialiser_of(self, Random(random.random()))],
        )
        self.ended = self.loop.create_task(self._live())

    async def _live(self) -> None:
        started = asyncio.Event()
        while not started.is_set():
            try:
                await self.engine.run(started.set)
            except RepositoryError:
                if started.is_set():
                    raise
                await asyncio.sleep(RESTART_S)

    def _unwritten(self) -> int:
        return self.storage.unwritten

    def _complain(self, _loop: asyncio.AbstractEventLoop, about: dict[str, object]) -> None:
        if not self.dead:
            self.judge.hold("I21", False, self.name, about.get("message"), repr(about.get("exception")))

    @property
    def alive(self) -> bool:
        return not self.dead and not self.ended.done()

    @property
    def awake(self) -> bool:
        """Whether it runs, and has run for longer than a step of its engine takes to come round."""
        return self.alive and not self.loop.paused and self.world.now_s > self.resumed_s + 0.7

    def pause(self) -> None:
        self.loop.paused = True

    def resume(self) -> None:
        if not self.dead:
            self.loop.resume()
            self.resumed_s = self.world.now_s

    def crash(self) -> None:
        """End it as a power cut would: nothing of it goes any further."""
        if self.dead:
            return
        self.world.tell(self.name, "is gone")
        self.dead = self.wire.dead = self.loop.paused = True
        self.world.forget(self.loop)
        self.judge.vanished(self)
        for one in self.held:
            one.abandon()
        self.place.leave(self.name)

    def clean_up(self) -> None:
        """Let go of what is left of it, which nothing notices any more."""
        self.crash()
        self.loop.resume()
        for _ in range(200):
            left = asyncio.all_tasks(self.loop)
            if not left and self.loop.due_s > 0:
                break
            for task in left:
                task.cancel()
            self.loop.step()
        self.loop.close()
