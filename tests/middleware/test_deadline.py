"""Work that would start too late is not called."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from kokugen.clock import SECOND_US
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import DeadlineExceededError, OptionError
from kokugen.middleware.deadline import DeadlineMiddleware
from kokugen.testing import ManualClock
from tests.middleware.calls import both, call

WITHIN = timedelta(seconds=10)


def started_late(late_us: int, fn: Any, **about: Any) -> Outcome:
    clock = ManualClock()
    return call(DeadlineMiddleware(WITHIN, **about), fn, clock, due_at=clock.wall_us() - late_us)


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_work_within_its_deadline_is_called(kind: int) -> None:
    assert started_late(10 * SECOND_US, both(int)[kind]).ending is Ending.RETURNED


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
def test_work_past_its_deadline_fails_without_being_called(kind: int) -> None:
    calls: list[int] = []
    outcome = started_late(10 * SECOND_US + 1, both(lambda: calls.append(1))[kind])
    assert (outcome.ending, calls) == (Ending.RAISED, [])
    assert isinstance(outcome.error, DeadlineExceededError)


def test_the_error_says_when_it_was_due_and_when_it_would_have_started() -> None:
    error = started_late(11 * SECOND_US, int).error
    assert isinstance(error, DeadlineExceededError)
    assert error.started_at - error.due_at == timedelta(seconds=11)
    assert error.within == WITHIN
    assert "0:00:11" in str(error)


def test_what_is_skipped_may_start_at_any_time() -> None:
    assert started_late(99 * SECOND_US, int, skip=lambda run: run.work_id == "work").ending is Ending.RETURNED


@pytest.mark.parametrize("within", [timedelta(seconds=-1), 10])
def test_a_senseless_deadline_is_refused(within: Any) -> None:
    with pytest.raises(OptionError, match="within"):
        DeadlineMiddleware(within)
