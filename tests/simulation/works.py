"""What work does in a simulated cluster, and what must hold as it is called.

Work tells the judge when it starts and when it ends. What is wrong with a call is kept by the judge: raised here it
would be the work's own failure.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING

from kokugen.codec import encode_params
from kokugen.registry.functions import FunctionRegistry
from kokugen.retry import Retry
from kokugen.run import Cancel, Run, Snooze, current_run
from kokugen.task import Mode, Params

if TYPE_CHECKING:
    from tests.simulation.machine import Machine

KINDS = ("polite", "polite", "polite", "deaf", "flaky", "sleepy", "quitter")
"""What most tasks are of."""
BRIEFLY = Retry(3, initial=timedelta(seconds=0.5), factor=1.5)


class Dead(BaseException):
    """The machine is gone, and its work with it."""


class Working:
    """One call: from its start, which the judge looks at, to its end."""

    def __init__(self, machine: Machine) -> None:
        if machine.dead:
            raise Dead
        self.machine = machine
        self.run = current_run()
        self.call = machine.judge.begins(machine, self.run)

    def __enter__(self) -> Run:
        return self.run

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, _: object) -> None:
        if not self.machine.dead:
            self.machine.judge.ends(self.machine, self.call, "returned" if kind is None else "raised")


def works_of(machine: Machine) -> FunctionRegistry:
    """Return all work that there is but the stranger, which no machine knows."""
    works = FunctionRegistry()
    _declare_plain(works, machine)
    _declare_odd(works, machine)
    _declare_transfer(works, machine)
    return works


def _declare_plain(works: FunctionRegistry, machine: Machine) -> None:
    @works.work
    async def polite(seconds: float) -> None:
        with Working(machine):
            await asyncio.sleep(seconds)

    @works.work
    async def deaf(seconds: float) -> None:
        """As a thread: asked to stop, it goes on to its end."""
        loop = asyncio.get_running_loop()
        with Working(machine):
            until_s = loop.time() + seconds
            while loop.time() < until_s and not machine.dead:
                try:
                    await asyncio.sleep(until_s - loop.time())
                except asyncio.CancelledError:
                    continue

    @works.work(retry=BRIEFLY)
    async def flaky(seconds: float) -> None:
        with Working(machine) as run:
            await asyncio.sleep(seconds)
            if run.attempt <= run.max_attempts * (seconds % 0.2) * 10:
                raise ValueError("not this time")


def _declare_odd(works: FunctionRegistry, machine: Machine) -> None:
    @works.work
    async def sleepy(seconds: float) -> None:
        with Working(machine) as run:
            if run.task.mode == Mode.AT_LEAST_ONCE and run.fence < 3:
                raise Snooze(timedelta(seconds=seconds / 4))

    @works.work
    async def quitter(seconds: float) -> None:
        with Working(machine):
            await asyncio.sleep(seconds)
            raise Cancel("there is nothing to do")

    @works.work
    async def poison(seconds: float) -> None:
        with Working(machine):
            machine.judge.happened["poisoned"] += 1
            machine.crash()
            await asyncio.Event().wait()

    @works.work
    async def garbled(seconds: int) -> None:
        with Working(machine):
            machine.judge.hold("I21", False, "work was called with arguments that it cannot have")


def _declare_transfer(works: FunctionRegistry, machine: Machine) -> None:
    @works.work
    async def transfer(seconds: float) -> None:
        """Write an effect, and the end of this run, in one transaction, which may be left open for a while."""
        with Working(machine) as run:
            transaction = machine.place.transaction(machine)
            try:
                await transaction.begin()
                transaction.write(run.task_id)
                await asyncio.sleep(seconds / 20)
                run.complete(transaction.connection)
                await asyncio.sleep(seconds / 20)
                transaction.end(commit=seconds % 1 < 0.8)
            finally:
                transaction.abandon()
            await asyncio.sleep(seconds / 4)


def param_of(kind: str, seconds: float) -> str:
    return '{"args":["nonsense"],"kwargs":{}}' if kind == "garbled" else encode_params(Params((seconds,)))
