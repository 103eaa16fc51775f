"""What becomes of a task after a run: at most once means once, and stored numbers that make no sense stop nothing."""

from __future__ import annotations

from datetime import timedelta
from random import Random

import msgspec
import pytest

from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.registry.work import make_work
from kokugen.run import Interrupt, NotCalled, Run, Signal
from kokugen.task import Mode, TaskState
from kokugen.task_storage.settlement import settle, stored_options
from kokugen.testing.dispatching.lab import run_of

NOW_US = 1_000_000_000


def run_with(**changes: object) -> Run:
    task = msgspec.structs.replace(run_of(print).task, **changes)  # type: ignore[type-var]
    work = make_work("work", print)
    return Run(task, "claim", work, stopping=Signal(), trusted_until_s=0.0, not_before_us=0)


def settled(run: Run, ending: Ending, **more: object) -> tuple[TaskState, int | None]:
    row = settle(Outcome(run=run, ending=ending, **more), NOW_US, Random(1)).row  # type: ignore[arg-type]
    return TaskState(row.state), row.due_at


@pytest.mark.parametrize("ending", [Ending.SNOOZED, Ending.RETRY_AFTER, Ending.RAISED, Ending.INTERRUPTED])
def test_work_that_may_run_once_is_never_called_again_even_where_it_asks_for_it(ending: Ending) -> None:
    run = run_with(mode=Mode.AT_MOST_ONCE, max_attempts=1)
    assert settled(run, ending, delay_us=5) == (TaskState.FAILED, None)


def test_work_that_may_run_once_and_was_not_called_may_still_come_again() -> None:
    error = NotCalled(timedelta(seconds=1))
    run = run_with(mode=Mode.AT_MOST_ONCE, max_attempts=1)
    assert settled(run, Ending.SNOOZED, error=error, delay_us=5) == (TaskState.INITIALIZED, NOW_US + 5)


@pytest.mark.parametrize("interrupt", list(Interrupt))
@pytest.mark.parametrize("mode", list(Mode))
def test_work_that_raises_when_it_is_asked_to_make_room_runs_again_and_no_attempt_is_counted(
    interrupt: Interrupt, mode: Mode
) -> None:
    run = run_with(mode=mode, max_attempts=1)
    run.ask_to_stop(interrupt)
    row = settle(Outcome(run=run, ending=Ending.RAISED, error=ValueError(), text="half-way"), NOW_US, Random(1)).row
    makes_room = interrupt in (Interrupt.STOP, Interrupt.LEASE_LOST) and mode is Mode.AT_LEAST_ONCE
    cancelled = interrupt is Interrupt.CANCEL
    after = TaskState.INITIALIZED if makes_room else TaskState.CANCELLED if cancelled else TaskState.FAILED
    assert (row.state, row.attempt_back, row.error) == (after, int(makes_room), None if cancelled else "half-way")


def test_a_snooze_waits_as_long_as_it_says() -> None:
    assert settled(run_with(), Ending.SNOOZED, delay_us=5) == (TaskState.INITIALIZED, NOW_US + 5)


@pytest.mark.parametrize(
    "options",
    [
        '{"retry":{"factor":-1}}',
        '{"retry":{"factor":1e400}}',
        '{"retry":{"initial_us":-1}}',
        '{"retry":{"initial_us":10,"delay_max_us":5}}',
        '{"retry":{"delay_max_us":99999999999999999999999999}}',
        '{"timeout_us":0}',
        '{"timeout_us":1' + "0" * 400 + "}",
        '{"x":' + "[" * 200_000 + "]" * 200_000 + "}",
        "no JSON",
    ],
    ids=range(9),
)
def test_stored_options_that_make_no_sense_count_as_none(options: str) -> None:
    assert stored_options(options) == stored_options(None)
    state, due_at = settled(run_with(options=options, max_attempts=2), Ending.RAISED, error=ValueError())
    assert state is TaskState.INITIALIZED
    assert due_at is not None


@pytest.mark.parametrize("options", [None, '{"retry":{}}'], ids=["plain", "with a retry of its own"])
def test_more_attempts_than_any_retry_allows_stop_nothing(options: str | None) -> None:
    state, _ = settled(run_with(options=options, max_attempts=1 << 62), Ending.RAISED, error=ValueError())
    assert state is TaskState.INITIALIZED
