"""An observer sees everything and changes nothing."""

from __future__ import annotations

import logging
from typing import Any

import pytest

from kokugen.dispatcher.protocol import Ending
from kokugen.middleware.base import ScheduleRequest
from kokugen.middleware.observe import ObserveMiddleware
from kokugen.options import Options
from kokugen.task import Params
from tests.middleware.calls import both, call, scheduled

REQUEST = ScheduleRequest(work_id="work", params=Params((1,)), scheduled_time_us=7, options=Options())


def test_every_request_is_seen_and_passed_on() -> None:
    seen: list[ScheduleRequest] = []
    assert scheduled(ObserveMiddleware(on_schedule=seen.append), REQUEST) is REQUEST
    assert seen == [REQUEST]


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_every_result_is_seen_as_it_is(kind: int) -> None:
    seen: list[Any] = []
    outcome = call(ObserveMiddleware(on_result=lambda *about: seen.append(about)), both(lambda: {1: 2})[kind])
    assert seen == [(outcome.run, {1: 2}, None)]


@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=["error", "exit"])
@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_every_error_is_seen_and_goes_on(kind: int, error: BaseException) -> None:
    seen: list[Any] = []

    def fail() -> None:
        raise error

    outcome = call(ObserveMiddleware(on_result=lambda *about: seen.append(about)), both(fail)[kind])
    assert seen == [(outcome.run, None, error)]
    assert outcome.error is error


def test_an_observer_that_raises_changes_nothing(caplog: pytest.LogCaptureFixture) -> None:
    def fail(*_: Any) -> None:
        raise ValueError("mine")

    middleware = ObserveMiddleware(fail, fail)
    assert scheduled(middleware, REQUEST) is REQUEST
    assert call(middleware, int).ending is Ending.RETURNED
    assert [record.levelno for record in caplog.records] == [logging.ERROR] * 2


def test_without_observers_nothing_is_different() -> None:
    assert scheduled(ObserveMiddleware(), REQUEST) is REQUEST
    assert call(ObserveMiddleware(), int).result == "0"
