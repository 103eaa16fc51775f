"""Sync work on threads: as many as there is room for, more or fewer while it runs."""

from __future__ import annotations

from collections.abc import Iterator
from contextvars import ContextVar
from itertools import count
from queue import SimpleQueue
from threading import Barrier, Event, Semaphore, Thread, current_thread

import pytest

from kokugen.clock import SystemClock
from kokugen.dispatcher.protocol import Ending
from kokugen.dispatcher.threads import ThreadDispatcher
from kokugen.run import Interrupt, Run, current_run
from kokugen.testing.dispatching.lab import PATIENCE_S, Outcomes, run_of


class Stage:
    """A started dispatcher, and work that says that it runs, then waits until it is let go."""

    def __init__(self) -> None:
        self.outcomes = Outcomes()
        self.here: SimpleQueue[Thread] = SimpleQueue()
        self.let_go = Semaphore(0)
        self.dispatchers: list[ThreadDispatcher] = []

    def started(self, workers: int) -> ThreadDispatcher:
        dispatcher = ThreadDispatcher(workers, clock=SystemClock())
        dispatcher.start(self.outcomes)
        self.dispatchers.append(dispatcher)
        return dispatcher

    def waiting_runs(self, number: int) -> list[Run]:
        def work() -> None:
            self.here.put(current_thread())
            assert self.let_go.acquire(timeout=PATIENCE_S)

        return [run_of(work) for _ in range(number)]

    def arrived(self, number: int) -> list[Thread]:
        return [self.here.get(timeout=PATIENCE_S) for _ in range(number)]


@pytest.fixture
def stage() -> Iterator[Stage]:
    stage = Stage()
    yield stage
    stage.let_go.release(1_000)
    for dispatcher in stage.dispatchers:
        dispatcher.stop()


def test_as_many_runs_are_under_way_as_there_are_workers(stage: Stage) -> None:
    dispatcher = stage.started(3)
    dispatcher.dispatch(stage.waiting_runs(5))
    assert len({thread.name for thread in stage.arrived(3)}) == 3
    assert (dispatcher.active, dispatcher.capacity) == (3, 3)
    assert stage.here.empty()


def test_a_long_run_never_holds_up_a_free_worker(stage: Stage) -> None:
    dispatcher = stage.started(2)
    dispatcher.dispatch(stage.waiting_runs(1))
    stage.arrived(1)
    dispatcher.dispatch([run_of(int)])
    assert stage.outcomes.one().result == "0"


def test_threads_start_as_they_are_needed(stage: Stage) -> None:
    dispatcher = stage.started(100)
    assert len(dispatcher._crew) == 0
    dispatcher.dispatch(stage.waiting_runs(2))
    stage.arrived(2)
    assert len(dispatcher._crew) == 2


def test_workers_are_daemons_with_a_name(stage: Stage) -> None:
    stage.started(1).dispatch(stage.waiting_runs(1))
    (thread,) = stage.arrived(1)
    assert (thread.daemon, thread.name) == (True, "kokugen-worker-1")


def test_workers_are_added_while_it_runs(stage: Stage) -> None:
    dispatcher = stage.started(1)
    dispatcher.dispatch(stage.waiting_runs(3))
    stage.arrived(1)
    dispatcher.resize(3)
    stage.arrived(2)
    assert (dispatcher.active, dispatcher.capacity) == (3, 3)


def test_idle_workers_go_when_there_are_too_many(stage: Stage) -> None:
    dispatcher = stage.started(4)
    dispatcher.dispatch(stage.waiting_runs(4))
    threads = stage.arrived(4)
    stage.let_go.release(4)
    stage.outcomes.take(4)
    dispatcher.resize(1)
    gone = [thread for thread in threads if not joined(thread, dispatcher)]
    assert len(dispatcher._crew) == 1
    assert len(gone) == 1


def joined(thread: Thread, dispatcher: ThreadDispatcher) -> bool:
    """Whether the thread ends, while others than the last are to end."""
    while thread.is_alive() and len(dispatcher._crew) > 1:
        thread.join(0.01)
    thread.join(0.01)
    return not thread.is_alive()


def test_busy_workers_finish_their_run_and_then_go_before_what_waits(stage: Stage) -> None:
    dispatcher = stage.started(3)
    dispatcher.dispatch(stage.waiting_runs(10))
    stage.arrived(3)
    dispatcher.resize(1)
    assert dispatcher.active == 3
    stage.let_go.release(3)
    assert [one.ending for one in stage.outcomes.take(3)] == [Ending.RETURNED] * 3
    stage.arrived(1)
    assert dispatcher.active == 1
    assert stage.here.empty()


def test_all_workers_can_be_taken_away_and_given_back(stage: Stage) -> None:
    dispatcher = stage.started(2)
    for _ in range(50):
        dispatcher.resize(0)
        dispatcher.dispatch([run_of(int), run_of(int), run_of(int)])
        dispatcher.resize(2)
    assert {one.ending for one in stage.outcomes.take(150)} == {Ending.RETURNED}


def test_after_stop_every_thread_ends_and_the_run_under_way_is_reported(stage: Stage) -> None:
    dispatcher = stage.started(2)
    dispatcher.dispatch(stage.waiting_runs(2))
    threads = stage.arrived(2)
    dispatcher.stop()
    stage.let_go.release(2)
    for thread in threads:
        thread.join(PATIENCE_S)
    assert {one.ending for one in stage.outcomes.take(2)} == {Ending.RETURNED}
    assert not any(thread.is_alive() for thread in threads)


def test_stopping_while_others_dispatch_loses_and_doubles_nothing(stage: Stage) -> None:
    dispatcher, ready = stage.started(4), Barrier(3)
    runs = [run_of(int) for _ in range(2_000)]

    def feed(part: list[Run]) -> None:
        ready.wait(PATIENCE_S)
        for run in part:
            dispatcher.dispatch([run])

    feeders = [Thread(target=feed, args=(runs[n::2],)) for n in range(2)]
    for feeder in feeders:
        feeder.start()
    ready.wait(PATIENCE_S)
    dispatcher.stop()
    for feeder in feeders:
        feeder.join(PATIENCE_S)
    assert {outcome.run for outcome in stage.outcomes.take(2_000)} == set(runs)
    assert stage.outcomes.none_left()


def test_work_that_returns_after_its_time_limit_has_returned(stage: Stage) -> None:
    def work() -> str:
        assert current_run().cancelled.wait()
        return "late, but done"

    stage.started(1).dispatch([run_of(work, timeout_us=1)])
    outcome = stage.outcomes.one()
    assert (outcome.ending, outcome.run.interrupt) == (Ending.RETURNED, Interrupt.TIMEOUT)


def test_what_a_run_sets_in_its_context_the_next_one_does_not_see(stage: Stage) -> None:
    var: ContextVar[int] = ContextVar("var", default=0)
    numbers = count(1)

    def work() -> int:
        before = var.get()
        var.set(next(numbers))
        return before

    stage.started(1).dispatch([run_of(work) for _ in range(3)])
    assert [one.result for one in stage.outcomes.take(3)] == ["0", "0", "0"]


def test_fewer_threads_than_asked_for_still_do_the_work(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    dispatcher, refused = stage.started(2), Event()
    dispatcher.dispatch([run_of(int)])
    stage.outcomes.one()

    def no_more(self: Thread) -> None:
        refused.set()
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(Thread, "start", no_more)
    dispatcher.dispatch([run_of(int), run_of(int)])
    assert [one.ending for one in stage.outcomes.take(2)] == [Ending.RETURNED] * 2
    assert refused.is_set()
    assert "1 workers must do instead of 2" in caplog.text
