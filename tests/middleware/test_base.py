"""Middleware wraps in order, the first outermost, and an async hook is for async work alone."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from kokugen.dispatcher.call import call_async, call_sync, call_work
from kokugen.dispatcher.protocol import Ending
from kokugen.errors import MiddlewareOrderError, OptionError
from kokugen.middleware.base import (
    Middleware,
    ScheduleNext,
    ScheduleRequest,
    Surround,
    WorkNext,
    schedule_chain,
    work_chain,
)
from kokugen.options import Options
from kokugen.reply import Reply
from kokugen.run import Run
from kokugen.task import Params
from kokugen.testing import ManualClock
from kokugen.testing.dispatching.lab import run_of
from tests.middleware.calls import call


class Named(Middleware):
    """Writes down when it was entered and left."""

    def __init__(self, name: str, steps: list[str]) -> None:
        self.name = name
        self.steps = steps

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        self.steps.append(f"{self.name} in")
        reply = call_next(request)
        self.steps.append(f"{self.name} out")
        return reply

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self.work_async(run, call_next)
        self.steps.append(f"{self.name} in")
        result = call_next(run)
        self.steps.append(f"{self.name} out")
        return result

    async def work_async(self, run: Run, call_next: WorkNext) -> Any:
        self.steps.append(f"{self.name} in")
        result = await call_next(run)
        self.steps.append(f"{self.name} out")
        return result


class AsyncOnly(Middleware):
    async def work(self, run: Run, call_next: WorkNext) -> Any:
        return f"wrapped {await call_next(run)}"


ONION = ["a in", "b in", "the work", "b out", "a out"]
REQUEST = ScheduleRequest(work_id="work", params=Params(), scheduled_time_us=0, options=Options())


def test_the_first_middleware_is_the_outermost_around_sync_work() -> None:
    steps: list[str] = []
    chain = work_chain([Named("a", steps), Named("b", steps)], call_work, is_async=False)
    call_sync(run_of(lambda: steps.append("the work")), chain, ManualClock())
    assert steps == ONION


def test_the_first_middleware_is_the_outermost_around_async_work() -> None:
    steps: list[str] = []

    async def work() -> None:
        steps.append("the work")

    chain = work_chain([Named("a", steps), Named("b", steps)], call_work, is_async=True)
    asyncio.run(call_async(run_of(work), chain, ManualClock()))
    assert steps == ONION


def test_the_first_middleware_is_the_outermost_around_scheduling() -> None:
    steps: list[str] = []

    def last(request: ScheduleRequest) -> Reply[str]:
        steps.append("the work")
        return Reply.of(request.work_id)

    chain = schedule_chain([Named("a", steps), Named("b", steps)], last)
    assert chain(REQUEST).result() == "work"
    assert steps == ONION


class Forgetful(Middleware):
    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Any:
        call_next(request)


class Eager(Middleware):
    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Any:
        return call_next(request).result()


@pytest.mark.parametrize("one", [Forgetful(), Eager()])
def test_a_schedule_hook_that_returns_something_else_is_told_so_by_name(one: Middleware) -> None:
    chain = schedule_chain([Named("a", []), one], lambda request: Reply.of(request.work_id))
    with pytest.raises(OptionError, match=f"{type(one).__name__}.schedule returned .* returns what call_next"):
        chain(REQUEST)


def test_an_async_hook_on_sync_work_is_refused_by_name() -> None:
    with pytest.raises(MiddlewareOrderError, match="AsyncOnly"):
        work_chain([AsyncOnly()], call_work, is_async=False)


def test_an_async_hook_wraps_async_work() -> None:
    async def work() -> str:
        return "gift"

    chain = work_chain([AsyncOnly()], call_work, is_async=True)
    outcome = asyncio.run(call_async(run_of(work), chain, ManualClock()))
    assert outcome.result == '"wrapped gift"'


def test_middleware_without_a_hook_costs_no_step() -> None:
    assert work_chain([Middleware(), Middleware()], call_work, is_async=False) is call_work


def test_undecodable_arguments_are_told_through_middleware() -> None:
    chain = work_chain([Named("a", [])], call_work, is_async=False)
    outcome = call_sync(run_of(int, param="nonsense"), chain, ManualClock())
    assert outcome.ending is Ending.UNDECODABLE


def test_middleware_may_change_the_stored_arguments_before_they_are_read() -> None:
    class Decipher(Middleware):
        def work(self, run: Run, call_next: WorkNext) -> Any:
            run.param = run.param[::-1]
            return call_next(run)

    chain = work_chain([Decipher()], call_work, is_async=False)
    outcome = call_sync(run_of(lambda a: a, param='{"args":[12]}'[::-1]), chain, ManualClock())
    assert outcome.result == "12"


def test_a_surround_without_around_says_so() -> None:
    outcome = call(Surround(), int)
    assert "Surround has no around()" in str(outcome.error)
