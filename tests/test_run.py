"""A run's signals: set once, heard by every waiter, and never a danger or a burden to the one who sets them."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from threading import Thread

import pytest

from kokugen.run import Signal
from kokugen.testing.dispatching.lab import run_of

NOT_AT_ALL = timedelta(0)


def test_the_first_reason_stays() -> None:
    signal = Signal()
    assert (signal.set("cancelled"), signal.set("timeout"), signal.reason) == (True, False, "cancelled")


def test_a_callback_that_raises_keeps_no_other_from_being_called(caplog: pytest.LogCaptureFixture) -> None:
    signal, called = Signal(), list[str]()

    def boom() -> None:
        raise ValueError("its own fault")

    signal.when_set(boom)
    signal.when_set(lambda: called.append("second"))
    assert signal.set("cancelled")
    assert called == ["second"]
    assert "its own fault" in caplog.text


def test_who_waits_in_vain_leaves_nothing_behind() -> None:
    signal = Signal()
    assert not any(signal.wait(NOT_AT_ALL) for _ in range(3))

    async def give_up() -> None:
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0):
                await signal.wait_async()

    asyncio.run(give_up())
    assert signal._callbacks == []


def test_what_is_logged_of_a_run_is_one_line_whatever_the_store_has() -> None:
    run = run_of(print, work_id="a\nforged: line\x1b[31m")
    assert repr(run) == "<Run 'a\\nforged: line\\x1b[31m' task='task' attempt=1 fence=1>"


def test_a_thread_and_a_coroutine_hear_of_it() -> None:
    signal, heard = Signal(), list[bool]()
    thread = Thread(target=lambda: heard.append(signal.wait(timedelta(seconds=20))))
    thread.start()

    async def wait() -> None:
        waiting = asyncio.create_task(signal.wait_async())
        await asyncio.sleep(0)
        signal.set("stopped")
        await waiting
        await signal.wait_async()

    asyncio.run(wait())
    thread.join()
    assert heard == [True]


def test_a_waiter_whose_loop_was_closed_does_not_hinder_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    signal, called = Signal(), list[str]()
    loop = asyncio.SelectorEventLoop()
    waiting = signal.wait_async()

    async def begin() -> None:
        waiting.send(None)

    loop.run_until_complete(begin())
    loop.close()
    monkeypatch.setattr(loop, "is_closed", lambda: False)  # as a thread sees it that looks just before the close
    signal.when_set(lambda: called.append("second"))
    signal.set("stopped")
    monkeypatch.undo()
    waiting.close()
    assert called == ["second"]
