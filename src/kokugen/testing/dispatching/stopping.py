"""How runs are stopped: asked, timed out, ended by force; and what becomes of those whose process dies."""

from __future__ import annotations

from datetime import timedelta
from typing import ClassVar

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.errors import WorkerDiedError
from kokugen.run import Interrupt
from kokugen.testing.clock import ManualClock
from kokugen.testing.dispatching import works
from kokugen.testing.dispatching.lab import DispatchLab


class StoppingCases:
    """A run ends once, says how, and leaves its worker free for the next."""

    obeyed: ClassVar[Ending]
    forces: ClassVar[bool]
    isolates: ClassVar[bool]
    tells_stopping: ClassVar[bool]

    @pytest.mark.parametrize("interrupt", list(Interrupt))
    def test_a_run_that_is_asked_to_stop_ends(self, lab: DispatchLab, interrupt: Interrupt) -> None:
        dispatcher, run = lab.started(workers=1), lab.run(works.wait_to_stop, str(lab.folder))
        dispatcher.dispatch([run])
        lab.await_file("running")
        assert run.ask_to_stop(interrupt, "enough of it")
        outcome = lab.outcomes.one()
        assert (outcome.run.interrupt, outcome.ending) == (interrupt, self.obeyed)
        if self.obeyed is Ending.RETURNED:
            assert outcome.result == '"enough of it"'
        assert lab.sent(dispatcher, lab.run(works.nothing))[0].ending is Ending.RETURNED
        assert lab.outcomes.none_left()

    def test_a_time_limit_asks_the_run_to_stop(self, lab: DispatchLab) -> None:
        dispatcher, run = lab.started(workers=1), lab.run(works.wait_to_stop, str(lab.folder), timeout_us=1)
        dispatcher.dispatch([run])
        assert lab.outcomes.one().run.interrupt is Interrupt.TIMEOUT
        assert lab.sent(dispatcher, lab.run(works.nothing))[0].ending is Ending.RETURNED

    def test_a_run_that_ends_within_its_limit_is_never_asked(self, lab: DispatchLab) -> None:
        clock = ManualClock()
        dispatcher = lab.started(clock=clock)
        (outcome,) = lab.sent(dispatcher, lab.run(works.nothing, timeout_us=1_000_000))
        clock.advance(timedelta(hours=1))
        lab.sent(dispatcher, lab.run(works.nothing, not_before_us=clock.wall_us()))
        assert outcome.run.interrupt is None

    def test_a_run_that_was_asked_to_stop_before_it_started_is_not_started(self, lab: DispatchLab) -> None:
        run = lab.run(works.nothing)
        run.ask_to_stop(Interrupt.CANCEL)
        assert lab.sent(lab.started(), run)[0].ending is Ending.NOT_STARTED

    def test_a_stopped_dispatcher_reports_what_waits_as_not_started(self, lab: DispatchLab) -> None:
        clock = ManualClock()
        dispatcher = lab.started(workers=0, clock=clock)
        dispatcher.dispatch([lab.run(works.nothing), lab.run(works.nothing, not_before_us=clock.wall_us() + 1)])
        dispatcher.stop()
        dispatcher.dispatch([lab.run(works.nothing)])
        assert {one.ending for one in lab.outcomes.take(3)} == {Ending.NOT_STARTED}
        assert lab.outcomes.none_left()

    def test_a_run_under_way_is_finished_by_a_stopped_dispatcher(self, lab: DispatchLab) -> None:
        dispatcher, run = lab.started(workers=1), lab.run(works.wait_to_stop, str(lab.folder))
        dispatcher.dispatch([run])
        lab.await_file("running")
        dispatcher.stop()
        assert lab.outcomes.none_left()
        run.ask_to_stop(Interrupt.STOP)
        assert lab.outcomes.one().ending is self.obeyed

    def test_work_hears_that_the_scheduler_stops(self, lab: DispatchLab) -> None:
        if not self.tells_stopping:
            pytest.skip("this dispatcher does not promise it")
        lab.started().dispatch([lab.run(works.wait_to_end, str(lab.folder))])
        lab.await_file("running")
        lab.stopping.set("the end")
        assert lab.outcomes.one().result == '"the end"'

    @pytest.mark.parametrize("interrupt", [Interrupt.TIMEOUT, Interrupt.CANCEL])
    def test_work_that_does_not_obey_is_ended_by_force(self, lab: DispatchLab, interrupt: Interrupt) -> None:
        if not self.forces:
            pytest.skip("this dispatcher does not promise it")
        dispatcher, run = lab.started(workers=1), lab.run(works.go_on, str(lab.folder))
        dispatcher.dispatch([run])
        lab.await_file("running")
        run.ask_to_stop(interrupt)
        assert lab.outcomes.one().ending is Ending.INTERRUPTED
        assert lab.sent(dispatcher, lab.run(works.nothing))[0].ending is Ending.RETURNED

    @pytest.mark.parametrize("how", ["exit", "signal"])
    def test_work_that_ends_its_process_fails_its_own_run_alone(self, lab: DispatchLab, how: str) -> None:
        if not self.isolates:
            pytest.skip("this dispatcher does not promise it")
        beside = lab.run(works.wait_to_stop, str(lab.folder))
        dispatcher = lab.started(workers=2)
        dispatcher.dispatch([beside])
        lab.await_file("running")
        died, after = lab.run(works.die, how), lab.run(works.echo, "after")
        dispatcher.dispatch([died, after])
        told = {outcome.run: outcome for outcome in lab.outcomes.take(2)}
        assert told[died].ending is Ending.RAISED
        assert isinstance(told[died].error, WorkerDiedError)
        assert told[after].result == '"after"'
        beside.ask_to_stop(Interrupt.CANCEL)
        assert lab.outcomes.one().ending is self.obeyed
