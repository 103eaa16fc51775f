"""Middleware: one class, two optional hooks, both onions as in the seed.

`schedule` wraps the acceptance of a task and runs in the caller's thread and context; `work` wraps the call of the
work and runs where the work runs. The first middleware of a scheduler is the outermost.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from typing import Any, Protocol, TypeVar, runtime_checkable

from msgspec import Struct

from kokugen.errors import MiddlewareOrderError, OptionError
from kokugen.options import Options, shortened
from kokugen.reply import Reply
from kokugen.run import Run
from kokugen.task import Params


class ScheduleRequest(Struct, frozen=True, kw_only=True):
    """A task on its way to the store. A hook passes on a changed copy (`msgspec.structs.replace`)."""

    work_id: str
    params: Params
    scheduled_time_us: int
    options: Options
    zone: str | None = None
    local_time: str | None = None
    freed: bool = False
    """Whether `params` were left out on purpose, to be loaded right before the work; then nothing checks them."""
    headers: dict[str, str] = {}
    """What to send along to the task's runs, as `Run.headers`: text by names of yours, 8 KiB at most."""
    template: bool = False
    """Whether it is for a schedule, whose tasks all get what it has: the same each time the code declares it."""
    restored: bool = False
    """Whether it comes from a repository that has it waiting: then an end of it here does not count any more."""


@runtime_checkable
class CancelWatcher(Protocol):
    """A middleware that also takes note of cancellations, such as one that keeps tasks elsewhere too."""

    def task_cancelled(self, task_id: str) -> Reply[Any]:
        """Take note that a task was cancelled and will never run; whoever cancelled it waits for the answer."""
        ...


T = TypeVar("T")
ScheduleNext = Callable[[ScheduleRequest], Reply[Any]]
WorkNext = Callable[[Run], Any]


class Middleware:
    """A no-op to inherit from; override either hook, or both."""

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        """Wrap the acceptance of a task. Return what `call_next` returns, or `.then(…)` of it; never block on it.

        Raising refuses the task: the caller gets the error and nothing was stored.
        """
        return call_next(request)

    def work(self, run: Run, call_next: WorkNext) -> Any:
        """Wrap the call of the work. For async work (`run.is_async`) what `call_next` returns is to be awaited.

        An `async def work` is for async work alone. One that serves both branches on `run.is_async`.
        """
        return call_next(run)


class Surround(Middleware):
    """Runs each work inside of a context manager, sync and async work alike: override `around` alone."""

    def around(self, run: Run) -> AbstractContextManager[object]:
        """Return what the call of the work goes on inside of. Raising before it fails the run; the work is not called.

        It enters and leaves where the work runs: for async work on the loop, so that it must not block.
        """
        raise NotImplementedError(f"{type(self).__name__} has no around()")

    def work(self, run: Run, call_next: WorkNext) -> Any:
        if run.is_async:
            return self._work_async(run, call_next)
        with self.around(run):
            return call_next(run)

    async def _work_async(self, run: Run, call_next: WorkNext) -> Any:
        with self.around(run):
            return await call_next(run)


def schedule_chain(middleware: Sequence[Middleware], last: ScheduleNext) -> ScheduleNext:
    """Return `last` wrapped in every `schedule` hook that is overridden, the first outermost."""
    chain = last
    for one in reversed(middleware):
        if type(one).schedule is not Middleware.schedule:
            chain = _schedule_step(one, chain)
    return chain


def work_chain(middleware: Sequence[Middleware], last: WorkNext, *, is_async: bool) -> WorkNext:
    """Return `last` wrapped in every `work` hook that is overridden, the first outermost.

    Raises MiddlewareOrderError where an async hook would wrap sync work.
    """
    chain = last
    for one in reversed(middleware):
        if type(one).work is not Middleware.work:
            if not is_async and inspect.iscoroutinefunction(one.work):
                raise MiddlewareOrderError(
                    f"{type(one).__name__}.work is async, so it cannot wrap sync work: "
                    "make it a plain function that branches on run.is_async"
                )
            chain = _work_step(one, chain)
    return chain


def _schedule_step(one: Middleware, call_next: ScheduleNext) -> ScheduleNext:
    def step(request: ScheduleRequest) -> Reply[Any]:
        reply: object = one.schedule(request, call_next)
        if not isinstance(reply, Reply):
            raise OptionError(
                f"{type(one).__name__}.schedule returned {shortened(reply)}, and the task may be stored or not: "
                "make it a plain function that returns what call_next(request) returns"
            )
        return reply

    return step


def _work_step(one: Middleware, call_next: WorkNext) -> WorkNext:
    return lambda run: one.work(run, call_next)
