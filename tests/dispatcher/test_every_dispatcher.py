"""What every dispatcher promises: at its time, never before, one outcome each, whatever happens meanwhile."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from datetime import timedelta
from threading import Event
from typing import Any

import pytest

from kokugen.clock import Clock, SystemClock
from kokugen.dispatcher.asyncio_loop import LoopDispatcher
from kokugen.dispatcher.protocol import Dispatcher, Ending, Outcome
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.errors import OptionError, SchedulerStateError
from kokugen.run import Interrupt, Run, current_run
from kokugen.testing import ManualClock
from tests.dispatcher.runs import PATIENCE_S, Outcomes, run_of

Kind = ThreadDispatcher | LoopDispatcher


class Stage:
    """One kind of dispatcher, started, with work of the kind that it runs."""

    def __init__(self, kind: Callable[..., Kind], *, is_async: bool) -> None:
        self.kind = kind
        self.is_async = is_async
        self.outcomes = Outcomes()
        self.made: list[Kind] = []

    def started(self, workers: int = 4, clock: Clock | None = None) -> Kind:
        dispatcher = self.kind(workers, clock=clock or SystemClock())
        dispatcher.start(self.outcomes)
        self.made.append(dispatcher)
        return dispatcher

    def run(self, fn: Callable[[], Any], **about: Any) -> Run:
        async def work() -> Any:
            return fn()

        return run_of(work if self.is_async else fn, **about)


@pytest.fixture(params=["threads", "asyncio"])
def stage(request: pytest.FixtureRequest) -> Iterator[Stage]:
    kinds = {"threads": Stage(ThreadDispatcher, is_async=False), "asyncio": Stage(LoopDispatcher, is_async=True)}
    stage = kinds[request.param]
    yield stage
    for dispatcher in stage.made:
        dispatcher.stop()


def nothing() -> None:
    pass


def test_it_is_a_dispatcher_of_its_kind_of_work(stage: Stage) -> None:
    dispatcher: Dispatcher = stage.started()
    assert dispatcher.accepts(is_async=stage.is_async)
    assert not dispatcher.accepts(is_async=not stage.is_async)


def test_every_run_of_a_batch_has_one_outcome(stage: Stage) -> None:
    runs = [stage.run(nothing) for _ in range(1_000)]
    stage.started().dispatch(runs)
    outcomes = stage.outcomes.take(1_000)
    assert {outcome.run for outcome in outcomes} == set(runs)
    assert {outcome.ending for outcome in outcomes} == {Ending.RETURNED}
    assert stage.outcomes.none_left()


def test_a_run_never_starts_before_its_time(stage: Stage) -> None:
    start = SystemClock().wall_us()
    stage.started().dispatch([stage.run(nothing, not_before_us=start + 97 * n) for n in range(200)])
    outcomes = stage.outcomes.take(200)
    assert min(outcome.run.started_us - outcome.run.not_before_us for outcome in outcomes) >= 0


def test_a_run_that_is_not_due_keeps_no_worker_busy(stage: Stage) -> None:
    clock = ManualClock()
    dispatcher = stage.started(workers=1, clock=clock)
    dispatcher.dispatch([stage.run(nothing, not_before_us=clock.wall_us() + 1), stage.run(nothing)])
    assert stage.outcomes.one().run.not_before_us == 0
    assert stage.outcomes.none_left()


def test_a_run_that_was_dropped_is_forgotten(stage: Stage) -> None:
    dropped, kept = stage.run(nothing), stage.run(nothing)
    assert dropped.begin()
    stage.started(workers=1).dispatch([dropped, kept])
    assert stage.outcomes.one().run is kept
    assert stage.outcomes.none_left()


@pytest.mark.parametrize("error", [ValueError(), SystemExit(3), KeyboardInterrupt(), GeneratorExit()])
def test_what_work_raises_costs_no_worker(stage: Stage, error: BaseException) -> None:
    def fail() -> None:
        raise error

    stage.started(workers=1).dispatch([stage.run(fail), stage.run(fail), stage.run(nothing)])
    assert [one.ending for one in stage.outcomes.take(3)] == [Ending.RAISED, Ending.RAISED, Ending.RETURNED]


def test_each_run_has_a_context_of_its_own(stage: Stage) -> None:
    stage.started(workers=1).dispatch([stage.run(lambda: current_run().task_id) for _ in range(3)])
    assert [one.result for one in stage.outcomes.take(3)] == ['"task"'] * 3


def test_a_stopped_dispatcher_reports_what_waits_as_not_started(stage: Stage) -> None:
    clock = ManualClock()
    dispatcher = stage.started(workers=0, clock=clock)
    dispatcher.dispatch([stage.run(nothing), stage.run(nothing, not_before_us=clock.wall_us() + 1)])
    dispatcher.stop()
    dispatcher.dispatch([stage.run(nothing)])
    assert {one.ending for one in stage.outcomes.take(3)} == {Ending.NOT_STARTED}
    assert stage.outcomes.none_left()


def test_nothing_runs_with_no_workers_until_there_are_some(stage: Stage) -> None:
    dispatcher = stage.started(workers=0)
    dispatcher.dispatch([stage.run(nothing) for _ in range(3)])
    assert stage.outcomes.none_left()
    dispatcher.resize(1)
    assert [one.ending for one in stage.outcomes.take(3)] == [Ending.RETURNED] * 3


def test_a_time_limit_asks_the_run_to_stop(stage: Stage) -> None:
    def wait() -> None:
        current_run().cancelled.wait(timedelta(seconds=PATIENCE_S))

    async def wait_async() -> None:
        await current_run().cancelled.wait_async()

    run = run_of(wait_async if stage.is_async else wait, timeout_us=1)
    stage.started(workers=1).dispatch([run])
    assert stage.outcomes.one().run.interrupt is Interrupt.TIMEOUT


def test_a_run_that_ends_within_its_limit_is_never_asked(stage: Stage) -> None:
    clock = ManualClock()
    dispatcher = stage.started(clock=clock)
    dispatcher.dispatch([stage.run(nothing, timeout_us=1_000_000)])
    outcome = stage.outcomes.one()
    clock.advance(timedelta(hours=1))
    dispatcher.dispatch([stage.run(nothing, not_before_us=clock.wall_us())])
    stage.outcomes.one()
    assert outcome.run.interrupt is None


def test_dispatch_before_start_is_refused(stage: Stage) -> None:
    dispatcher = stage.kind(1, clock=SystemClock())
    with pytest.raises(SchedulerStateError, match="before start"):
        dispatcher.dispatch([stage.run(nothing)])


@pytest.mark.parametrize("workers", [-1, 100_001, 1.5, "4"])
def test_a_senseless_number_of_workers_is_refused(stage: Stage, workers: Any) -> None:
    with pytest.raises(OptionError, match="workers"):
        stage.started(workers)
    with pytest.raises(OptionError, match="workers"):
        stage.started().resize(workers)


def test_a_receiver_that_raises_costs_no_worker(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    dispatcher, told = stage.kind(1, clock=SystemClock()), Event()
    stage.made.append(dispatcher)

    def deliver(outcome: Outcome) -> None:
        if outcome.result is None:
            raise RuntimeError("closed")
        told.set()

    dispatcher.start(deliver)
    dispatcher.dispatch([stage.run(nothing), stage.run(lambda: "second")])
    assert told.wait(PATIENCE_S)
    assert [record.levelno for record in caplog.records] == [logging.ERROR]
