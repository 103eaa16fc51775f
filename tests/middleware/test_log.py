"""The log says what ran and how, and never with what."""

from __future__ import annotations

import logging
from datetime import timedelta

import pytest

from kokugen.clock import duration_us
from kokugen.dispatcher.protocol import Ending
from kokugen.middleware.log import LogMiddleware, RunFilter, printable
from kokugen.run import Snooze
from kokugen.testing import ManualClock
from tests.middleware.calls import both, call

SECRET = "hunter2"


def only(caplog: pytest.LogCaptureFixture) -> logging.LogRecord:
    (record,) = caplog.records
    return record


@pytest.fixture(autouse=True)
def level(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_a_run_that_returns_is_one_record_with_its_facts(caplog: pytest.LogCaptureFixture, kind: int) -> None:
    clock = ManualClock()
    due_at = clock.wall_us() - duration_us(timedelta(seconds=2))
    work = both(lambda: clock.advance(timedelta(seconds=3)))[kind]
    call(LogMiddleware(clock=clock), work, clock, due_at=due_at)
    facts = vars(only(caplog))
    assert (facts["task_id"], facts["work_id"], facts["queue"], facts["attempt"]) == ("task", "work", "default", 1)
    assert (facts["lateness_s"], facts["duration_s"], facts["error"]) == (2.0, 3.0, None)
    assert only(caplog).levelno == logging.INFO


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_a_run_that_raises_is_an_error_by_the_name_of_its_class(caplog: pytest.LogCaptureFixture, kind: int) -> None:
    def fail() -> None:
        raise ValueError(SECRET)

    assert call(LogMiddleware(), both(fail)[kind]).ending is Ending.RAISED
    assert (only(caplog).levelno, vars(only(caplog))["error"]) == (logging.ERROR, "ValueError")


def test_a_run_that_the_work_steers_is_no_error(caplog: pytest.LogCaptureFixture) -> None:
    def snooze() -> None:
        raise Snooze(timedelta(seconds=1))

    assert call(LogMiddleware(), snooze).ending is Ending.SNOOZED
    assert only(caplog).levelno == logging.INFO


def test_arguments_results_and_texts_of_errors_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    def echo(text: str) -> str:
        return text

    def fail(text: str) -> None:
        raise ValueError(text)

    for work in (echo, fail):
        call(LogMiddleware(), work, param=f'{{"args":["{SECRET}"]}}')
    assert all(SECRET not in str(vars(record)) + record.getMessage() for record in caplog.records)


def test_control_characters_cannot_forge_a_line(caplog: pytest.LogCaptureFixture) -> None:
    call(LogMiddleware(), int, work_id="a\nERROR forged\x1b[31m")
    assert "\n" not in only(caplog).getMessage()
    assert vars(only(caplog))["work_id"] == r"a\nERROR forged\x1b[31m"
    assert printable("刻限") == "刻限"


def test_it_writes_to_the_logger_that_it_was_given(caplog: pytest.LogCaptureFixture) -> None:
    call(LogMiddleware(logging.getLogger("mine")), int)
    assert only(caplog).name == "mine"


# -- The task on every record


def lines(caplog: pytest.LogCaptureFixture) -> list[tuple[object, object]]:
    return [(vars(record)["task_id"], vars(record)["attempt"]) for record in caplog.records]


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_what_the_work_logs_names_its_task(caplog: pytest.LogCaptureFixture, kind: int) -> None:
    caplog.handler.addFilter(filter_ := RunFilter())
    try:
        logging.getLogger("shop").warning("before")
        call(LogMiddleware(), both(lambda: logging.getLogger("shop").warning("within"))[kind])
    finally:
        caplog.handler.removeFilter(filter_)
    assert lines(caplog) == [(None, None), ("task", 1), ("task", 1)]


def test_a_field_that_the_work_gave_a_record_itself_is_kept(caplog: pytest.LogCaptureFixture) -> None:
    caplog.handler.addFilter(filter_ := RunFilter())
    try:
        call(LogMiddleware(), lambda: logging.getLogger("shop").warning("x", extra={"queue": "mine"}))
    finally:
        caplog.handler.removeFilter(filter_)
    assert vars(caplog.records[0])["queue"] == "mine"
