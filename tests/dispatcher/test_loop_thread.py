"""A loop in a thread: there when it is used, gone when it is stopped."""

from __future__ import annotations

import asyncio
from threading import Event, Thread, current_thread

from kokugen.dispatcher.loop_thread import LoopThread
from kokugen.testing.dispatching.lab import PATIENCE_S


async def here() -> Thread:
    return current_thread()


def ended(loop_thread: LoopThread) -> bool:
    thread = loop_thread.run(here()).result(PATIENCE_S)
    loop_thread.stop()
    thread.join(PATIENCE_S)
    return not thread.is_alive()


def test_it_runs_coroutines_on_one_daemon_thread_of_its_own() -> None:
    loop_thread = LoopThread("loop-of-this-test")
    first, second = (loop_thread.run(here()).result(PATIENCE_S) for _ in range(2))
    assert first is second is not current_thread()
    assert (first.name, first.daemon) == ("loop-of-this-test", True)
    assert ended(loop_thread)


def test_stopping_cancels_what_runs_and_closes_the_loop() -> None:
    loop_thread, cancelled, sleeping = LoopThread(), Event(), Event()

    async def sleep() -> None:
        sleeping.set()
        try:
            await asyncio.sleep(3600)
        except asyncio.CancelledError:
            cancelled.set()
            raise

    future, loop = loop_thread.run(sleep()), loop_thread.loop
    assert sleeping.wait(PATIENCE_S)
    assert ended(loop_thread)
    assert cancelled.is_set()
    assert future.cancelled()
    assert loop.is_closed()


def test_stopping_twice_or_before_the_first_use_does_nothing() -> None:
    loop_thread = LoopThread()
    loop_thread.stop()
    assert ended(loop_thread)
    loop_thread.stop()


def test_the_next_use_after_a_stop_starts_another_loop() -> None:
    loop_thread = LoopThread()
    first = loop_thread.loop
    assert ended(loop_thread)
    assert loop_thread.loop is not first
    assert ended(loop_thread)
