"""Errors of work are reported while they are handled; what is no error is not, and reporting changes nothing."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import pytest
import sentry_sdk

from kokugen import Retry, Scheduler
from kokugen.dispatcher.protocol import Ending
from kokugen.middleware.log import run_fields
from kokugen.middleware.report import ReportMiddleware
from kokugen.run import Cancel, Run, Snooze
from tests.middleware.calls import both, call

Told = list[tuple[BaseException, str]]


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def reporting(**about: Any) -> tuple[ReportMiddleware, Told]:
    told: Told = []

    def report(error: BaseException, run: Run) -> None:
        assert sys.exc_info()[1] is error
        told.append((error, run.work_id))

    return ReportMiddleware(report, **about), told


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize("error", [ValueError("no"), SystemExit(1)], ids=repr)
def test_an_error_is_reported_and_goes_on(kind: int, error: BaseException) -> None:
    middleware, told = reporting()
    outcome = call(middleware, both(raising(error))[kind])
    assert (outcome.ending, outcome.error) == (Ending.RAISED, error)
    assert told == [(error, "work")]


@pytest.mark.parametrize("error", [Snooze(timedelta(0)), Cancel("enough"), asyncio.CancelledError()], ids=repr)
def test_what_is_no_error_of_the_work_is_not_reported(error: BaseException) -> None:
    middleware, told = reporting()
    call(middleware, both(raising(error))[1])
    call(middleware, int, param="nonsense")
    assert told == []


@pytest.mark.parametrize(("last_only", "times"), [(False, 3), (True, 1)])
def test_attempts_that_are_tried_again_may_be_left_out(last_only: bool, times: int) -> None:
    middleware, told = reporting(last_only=last_only)
    scheduler = Scheduler("memory://", middleware=[middleware])
    work = scheduler.work(id="work", retry=Retry(3, initial=timedelta(0)))(raising(ValueError("no")))
    with scheduler:
        scheduler.after(timedelta(0), work).wait(timedelta(seconds=30))
    assert len(told) == times


def test_a_report_that_fails_is_logged_and_the_error_stays_the_works(caplog: pytest.LogCaptureFixture) -> None:
    def report(error: BaseException, run: Run) -> None:
        raise ConnectionError("the service is down")

    error = ValueError("no")
    assert call(ReportMiddleware(report), raising(error)).error is error
    assert "could not be reported" in caplog.text


def test_it_works_with_sentry() -> None:
    events: list[Any] = []

    def keep(event: Any, hint: Any) -> None:
        events.append(event)

    client = sentry_sdk.Client("http://key@localhost/1", before_send=keep, default_integrations=False)
    with sentry_sdk.isolation_scope() as scope:
        scope.set_client(client)
        middleware = ReportMiddleware(lambda error, run: sentry_sdk.capture_exception(error, tags=run_fields(run)))
        call(middleware, raising(ValueError("no")))
    client.close()
    (event,) = events
    assert event["exception"]["values"][0]["type"] == "ValueError"
    assert event["tags"]["work_id"] == "work"
