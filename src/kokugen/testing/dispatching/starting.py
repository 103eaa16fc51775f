"""When runs start, how many at once, and that each has one outcome: cases of the dispatcher suite."""

from __future__ import annotations

import logging
from threading import Event
from typing import Any, ClassVar

import pytest

from kokugen.clock import SystemClock
from kokugen.dispatcher.protocol import Dispatcher, Ending, Outcome
from kokugen.errors import OptionError, SchedulerStateError
from kokugen.run import Interrupt
from kokugen.testing.clock import ManualClock
from kokugen.testing.dispatching import works
from kokugen.testing.dispatching.lab import PATIENCE_S, DispatchLab


class StartingCases:
    """Runs start at their time, never before, and as many at once as there are workers."""

    is_async: ClassVar[bool]

    def test_it_is_a_dispatcher_of_its_kind_of_work(self, lab: DispatchLab) -> None:
        dispatcher: Dispatcher = lab.started()
        assert dispatcher.accepts(is_async=self.is_async)
        assert not dispatcher.accepts(is_async=not self.is_async)

    def test_it_has_a_name_that_tasks_can_call_it_by(self, lab: DispatchLab) -> None:
        assert lab.dispatcher().name.isprintable()
        assert lab.dispatcher().name == lab.dispatcher().name != ""

    def test_every_run_of_a_batch_has_one_outcome(self, lab: DispatchLab) -> None:
        runs = [lab.run(works.echo, number) for number in range(100)]
        outcomes = lab.sent(lab.started(), *runs)
        assert [outcome.result for outcome in outcomes] == [str(number) for number in range(100)]
        assert {outcome.ending for outcome in outcomes} == {Ending.RETURNED}
        assert lab.outcomes.none_left()

    def test_a_run_never_starts_before_its_time(self, lab: DispatchLab) -> None:
        start = SystemClock().wall_us()
        lab.started().dispatch([lab.run(works.nothing, not_before_us=start + 97 * n) for n in range(50)])
        outcomes = lab.outcomes.take(50)
        assert min(outcome.run.started_us - outcome.run.not_before_us for outcome in outcomes) >= 0

    def test_a_run_that_is_not_due_keeps_no_worker_busy(self, lab: DispatchLab) -> None:
        clock = ManualClock()
        dispatcher = lab.started(workers=1, clock=clock)
        dispatcher.dispatch([lab.run(works.nothing, not_before_us=clock.wall_us() + 1), lab.run(works.nothing)])
        assert lab.outcomes.one().run.not_before_us == 0
        assert lab.outcomes.none_left()

    def test_a_run_that_was_dropped_is_forgotten(self, lab: DispatchLab) -> None:
        dropped, kept = lab.run(works.nothing), lab.run(works.nothing)
        assert dropped.begin()
        lab.started(workers=1).dispatch([dropped, kept])
        assert lab.outcomes.one().run is kept
        assert lab.outcomes.none_left()

    def test_a_run_whose_lease_is_not_to_be_trusted_is_not_started(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.nothing, trusted_until_s=0.0))
        assert outcome.ending is Ending.NOT_STARTED
        assert outcome.run.started_us == 0

    def test_a_run_that_would_start_too_late_is_not_started(self, lab: DispatchLab) -> None:
        (outcome,) = lab.sent(lab.started(), lab.run(works.nothing, start_before_us=1))
        assert outcome.ending is Ending.NOT_STARTED

    def test_as_many_runs_are_under_way_at_once_as_there_are_workers(self, lab: DispatchLab) -> None:
        outcomes = lab.sent(
            lab.started(workers=2), *(lab.run(works.meet, str(lab.folder), name, 2) for name in ("one", "two"))
        )
        assert [outcome.result for outcome in outcomes] == ["2", "2"]

    def test_no_more_runs_are_under_way_than_there_are_workers(self, lab: DispatchLab) -> None:
        dispatcher = lab.started(workers=1)
        first = lab.run(works.wait_to_stop, str(lab.folder))
        dispatcher.dispatch([first, lab.run(works.nothing)])
        lab.await_file("running")
        assert dispatcher.active == dispatcher.capacity == 1
        assert lab.outcomes.none_left()
        first.ask_to_stop(Interrupt.CANCEL)
        assert lab.outcomes.one().run is first
        assert lab.outcomes.one().ending is Ending.RETURNED

    def test_nothing_runs_with_no_workers_until_there_are_some(self, lab: DispatchLab) -> None:
        dispatcher = lab.started(workers=0)
        dispatcher.dispatch([lab.run(works.nothing) for _ in range(3)])
        assert lab.outcomes.none_left()
        dispatcher.resize(1)
        assert [one.ending for one in lab.outcomes.take(3)] == [Ending.RETURNED] * 3

    def test_dispatch_before_start_is_refused(self, lab: DispatchLab) -> None:
        with pytest.raises(SchedulerStateError, match="before start"):
            lab.dispatcher().dispatch([lab.run(works.nothing)])

    @pytest.mark.parametrize("workers", [-1, 100_001, 1.5, "4"])
    def test_a_senseless_number_of_workers_is_refused(self, lab: DispatchLab, workers: Any) -> None:
        with pytest.raises(OptionError, match="workers"):
            lab.dispatcher(workers)
        with pytest.raises(OptionError, match="workers"):
            lab.started().resize(workers)

    def test_a_receiver_that_raises_costs_no_worker(self, lab: DispatchLab, caplog: pytest.LogCaptureFixture) -> None:
        dispatcher, told = lab.dispatcher(workers=1), Event()

        def deliver(outcome: Outcome) -> None:
            if outcome.result is None:
                raise RuntimeError("closed")
            told.set()

        dispatcher.start(deliver)
        dispatcher.dispatch([lab.run(works.nothing), lab.run(works.echo, "second")])
        assert told.wait(PATIENCE_S)
        assert [record.levelno for record in caplog.records if record.name.startswith("kokugen")] == [logging.ERROR]
