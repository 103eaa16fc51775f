"""What work should not raise becomes an ordinary error, or what a handler makes of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.errors import RecoveredError
from kokugen.middleware.recover import RecoverMiddleware
from kokugen.run import Cancel, Interrupt, RetryAfter, Run, Snooze, current_run
from tests.middleware.calls import both, call


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


@pytest.mark.parametrize("error", [SystemExit(1), KeyboardInterrupt(), BaseException("base")])
@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_what_is_no_exception_becomes_a_recovered_error(kind: int, error: BaseException) -> None:
    outcome = call(RecoverMiddleware(), both(raising(error))[kind])
    assert outcome.ending is Ending.RAISED
    assert isinstance(outcome.error, RecoveredError)
    assert outcome.error.original is error


def test_an_ordinary_error_passes_unless_everything_is_asked_for() -> None:
    error = ValueError("plain")
    assert call(RecoverMiddleware(), raising(error)).error is error
    assert isinstance(call(RecoverMiddleware(everything=True), raising(error)).error, RecoveredError)


@pytest.mark.parametrize(
    ("control", "ending"),
    [
        (Cancel("enough"), Ending.CANCELLED),
        (Snooze(timedelta(1)), Ending.SNOOZED),
        (RetryAfter(timedelta(1)), Ending.RETRY_AFTER),
    ],
)
@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_how_work_steers_its_run_always_passes(kind: int, control: Exception, ending: Ending) -> None:
    middleware = RecoverMiddleware(lambda run, error: "swallowed", everything=True)
    assert call(middleware, both(raising(control))[kind]).ending is ending


def test_undecodable_arguments_and_cancellation_always_pass() -> None:
    middleware = RecoverMiddleware(lambda run, error: "swallowed", everything=True)

    async def obedient() -> None:
        current_run().ask_to_stop(Interrupt.CANCEL)
        raise asyncio.CancelledError

    assert call(middleware, int, param="nonsense").ending is Ending.UNDECODABLE
    assert call(middleware, obedient).ending is Ending.INTERRUPTED


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_what_a_handler_returns_is_the_result(kind: int) -> None:
    def handler(run: Run, error: BaseException) -> str:
        return f"{run.work_id} left with {error}"

    outcome = call(RecoverMiddleware(handler), both(raising(SystemExit(3)))[kind])
    assert (outcome.ending, outcome.result) == (Ending.RETURNED, '"work left with 3"')


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_what_a_handler_raises_is_the_error(kind: int) -> None:
    def handler(run: Run, error: BaseException) -> Any:
        raise Cancel("left") from error

    assert call(RecoverMiddleware(handler), both(raising(SystemExit(3)))[kind]).ending is Ending.CANCELLED


def test_the_handler_of_async_work_may_be_async() -> None:
    async def handler(run: Run, error: BaseException) -> str:
        await asyncio.sleep(0)
        return "handled"

    assert call(RecoverMiddleware(handler), both(raising(SystemExit(3)))[1]).result == '"handled"'
