"""The pacer calls at its time: never before, together what is due together, and nothing that was taken back."""

from __future__ import annotations

import logging
import random
from collections.abc import Callable, Iterator
from datetime import timedelta
from queue import SimpleQueue
from threading import Event, Thread, current_thread
from threading import enumerate as threads

import pytest

from kokugen.clock import Clock, SystemClock
from kokugen.dispatcher.pacer import Pacer
from kokugen.testing import ManualClock
from kokugen.testing.dispatching.lab import PATIENCE_S

PacerOf = Callable[[Clock], Pacer]


@pytest.fixture
def pacer_of() -> Iterator[PacerOf]:
    made: list[Pacer] = []

    def make(clock: Clock) -> Pacer:
        made.append(Pacer(clock, "pacer-of-this-test"))
        return made[-1]

    yield make
    for pacer in made:
        pacer._dues.clear()
        pacer._delays.clear()
        pacer.stop()


def wake(pacer: Pacer) -> None:
    """Have the pacer look at its clock now, and wait until it has called all that is due."""
    looked = Event()
    pacer.at(0, looked.set)
    assert looked.wait(PATIENCE_S)


def test_nothing_is_called_before_its_time(pacer_of: PacerOf) -> None:
    clock, late_by = SystemClock(), SimpleQueue[int]()
    chance, start = random.Random(1), clock.wall_us()
    times = [start + chance.randrange(20_000) for _ in range(200)]

    def post(whens: list[int]) -> None:
        for when in whens:
            late_by.put(clock.wall_us() - when)

    pacer_of(clock).at_many(((when, when) for when in times), post)
    assert min(late_by.get(timeout=PATIENCE_S) for _ in times) >= 0


def test_a_clock_that_stands_still_calls_nothing(pacer_of: PacerOf) -> None:
    clock, calls = ManualClock(), list[int]()
    pacer = pacer_of(clock)
    pacer.at(clock.wall_us() + 1, lambda: calls.append(1))
    wake(pacer)
    assert calls == []
    clock.advance(timedelta(microseconds=1))
    wake(pacer)
    assert calls == [1]


def test_what_is_due_together_is_posted_together_in_order(pacer_of: PacerOf) -> None:
    clock, posts = ManualClock(), list[list[int]]()
    pacer = pacer_of(clock)
    now = clock.wall_us()
    pacer.at_many([(now + 20, 1), (now + 10, 2), (now + 20, 3), (now + 40, 4)], posts.append)
    clock.advance(timedelta(microseconds=30))
    wake(pacer)
    assert posts == [[2, 1, 3]]


def test_a_step_of_the_wall_clock_is_noticed_without_being_told(pacer_of: PacerOf) -> None:
    clock, called = ManualClock(), Event()
    pacer = pacer_of(clock)
    pacer.at(clock.wall_us() + 3_600_000_000, called.set)
    clock.step_wall(timedelta(hours=1))
    assert called.wait(PATIENCE_S)


def test_a_delay_takes_no_notice_of_the_wall_clock(pacer_of: PacerOf) -> None:
    clock, calls = ManualClock(), list[int]()
    pacer = pacer_of(clock)
    pacer.after(1_000_000, lambda: calls.append(1))
    clock.step_wall(timedelta(hours=1))
    wake(pacer)
    assert calls == []
    clock.step_wall(timedelta(hours=-2))
    clock.advance(timedelta(seconds=1))
    pacer.at(clock.wall_us(), lambda: None)
    wake(pacer)
    assert calls == [1]


def test_a_cancelled_delay_is_not_called(pacer_of: PacerOf) -> None:
    clock, calls = ManualClock(), list[int]()
    pacer = pacer_of(clock)
    pacer.after(1_000, lambda: calls.append(1)).cancel()
    clock.advance(timedelta(seconds=1))
    wake(pacer)
    assert calls == []


def test_cancelled_delays_take_no_memory_for_long(pacer_of: PacerOf) -> None:
    pacer = pacer_of(ManualClock())
    live = [pacer.after(10**12, lambda: None) for _ in range(10)]
    for _ in range(20_000):
        pacer.after(10**12, lambda: None).cancel()
    assert len(pacer._delays) < 3_000
    assert all(delay.callback is not None for delay in live)


def test_what_is_withdrawn_is_given_back_and_not_posted(pacer_of: PacerOf) -> None:
    clock, mine, others = ManualClock(), list[list[str]](), list[list[str]]()
    pacer = pacer_of(clock)
    pacer.at_many([(clock.wall_us() + 1, "a"), (clock.wall_us() + 2, "b")], mine.append)
    pacer.at_many([(clock.wall_us() + 1, "c")], others.append)
    assert sorted(pacer.withdraw(mine.append)) == ["a", "b"]
    clock.advance(timedelta(seconds=1))
    wake(pacer)
    assert (mine, others) == ([], [["c"]])


def test_a_callback_that_raises_stops_no_other(pacer_of: PacerOf, caplog: pytest.LogCaptureFixture) -> None:
    clock, calls = ManualClock(), list[int]()
    pacer = pacer_of(clock)
    pacer.at(0, lambda: 1 // 0)
    pacer.after(0, lambda: 1 // 0)
    pacer.at(0, lambda: calls.append(1))
    wake(pacer)
    assert calls == [1]
    assert {record.levelno for record in caplog.records} == {logging.ERROR}


def test_its_one_daemon_thread_starts_with_the_first_entry() -> None:
    pacer = Pacer(ManualClock(), "lazy pacer")
    assert "lazy pacer" not in {thread.name for thread in threads()}
    for when in range(10):
        pacer.at(when, lambda: None)
    wake(pacer)
    assert [thread.daemon for thread in threads() if thread.name == "lazy pacer"] == [True]
    pacer.stop()


def test_a_stopped_pacer_calls_what_is_left_and_then_its_thread_ends(pacer_of: PacerOf) -> None:
    clock, seen = ManualClock(), SimpleQueue[Thread]()
    pacer = pacer_of(clock)
    pacer.at(clock.wall_us() + 1, lambda: seen.put(current_thread()))
    pacer.stop()
    clock.advance(timedelta(seconds=1))
    thread = seen.get(timeout=PATIENCE_S)
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
