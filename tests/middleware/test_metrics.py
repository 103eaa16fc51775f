"""Figures of scheduling and running, and of the store; a bounded number of them, whoever names the work."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from prometheus_client import CollectorRegistry

from kokugen import FunctionRegistry, RetryAfter, Scheduler, Snooze, TaskParam
from kokugen.clock import duration_us
from kokugen.errors import OptionError
from kokugen.middleware.metrics import OTHER, MetricsMiddleware, StoreCollector
from kokugen.repository.memory import MemoryRepository
from kokugen.run import Cancel
from kokugen.testing import FaultyRepository, ManualClock
from tests.middleware.calls import both, call

SOON = timedelta(0)
WITHIN = timedelta(seconds=30)
NEXT_CENTURY = datetime(2100, 1, 1, tzinfo=UTC)
LABELS = {"work": "work", "queue": "default"}

works = FunctionRegistry()


@works.work
def greet(who: str) -> str:
    return f"Hello {who}"


def raising(error: BaseException) -> Callable[[], None]:
    def work() -> None:
        raise error

    return work


def test_what_is_scheduled_started_and_ended_is_counted_by_work_and_queue() -> None:
    registry = CollectorRegistry()
    with Scheduler("memory://", works=works, middleware=[MetricsMiddleware(registry)]) as scheduler:
        scheduler.after(SOON, greet, "Ann").wait(WITHIN)
        scheduler.schedule_many([TaskParam(work_id="greet", scheduled_time=NEXT_CENTURY, param=["Bob"])])
    labels = {"work": "greet", "queue": "default"}
    assert registry.get_sample_value("kokugen_tasks_scheduled_total", labels) == 2
    assert registry.get_sample_value("kokugen_runs_started_total", labels) == 1
    assert registry.get_sample_value("kokugen_runs_ended_total", {**labels, "outcome": "done"}) == 1
    assert registry.get_sample_value("kokugen_runs_active", labels) == 0


def test_a_task_that_existed_is_not_counted_again() -> None:
    registry = CollectorRegistry()
    scheduler = Scheduler("memory://", works=works, middleware=[MetricsMiddleware(registry)])
    for _ in range(3):
        scheduler.after(timedelta(days=1), greet.options(id="once"), "Ann")
    counted = registry.get_sample_value("kokugen_tasks_scheduled_total", {"work": "greet", "queue": "default"})
    assert counted == 1


@pytest.mark.parametrize("kind", [0, 1], ids=["sync", "async"])
@pytest.mark.parametrize(
    ("work", "outcome"),
    [
        (int, "done"),
        (raising(ValueError("x")), "failed"),
        (raising(SystemExit(1)), "failed"),
        (raising(Snooze(SOON)), "snoozed"),
        (raising(RetryAfter(SOON)), "retry_after"),
        (raising(Cancel("enough")), "cancelled"),
        (raising(asyncio.CancelledError()), "interrupted"),
    ],
    ids=["returned", "raised", "exited", "snoozed", "retried", "cancelled", "interrupted"],
)
def test_runs_are_counted_by_how_they_ended(work: Callable[..., Any], outcome: str, kind: int) -> None:
    registry = CollectorRegistry()
    call(MetricsMiddleware(registry), both(work)[kind])
    assert registry.get_sample_value("kokugen_runs_ended_total", {**LABELS, "outcome": outcome}) == 1
    assert registry.get_sample_value("kokugen_runs_active", LABELS) == 0


def test_arguments_that_cannot_be_read_are_an_outcome_of_their_own() -> None:
    registry = CollectorRegistry()
    call(MetricsMiddleware(registry), int, param="nonsense")
    assert registry.get_sample_value("kokugen_runs_ended_total", {**LABELS, "outcome": "undecodable"}) == 1


def test_lateness_and_duration_are_measured() -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    due_at = clock.wall_us() - duration_us(timedelta(seconds=2))
    call(MetricsMiddleware(registry, clock=clock), lambda: clock.advance(timedelta(seconds=3)), clock, due_at=due_at)
    assert registry.get_sample_value("kokugen_run_lateness_seconds_sum", LABELS) == 2.0
    assert registry.get_sample_value("kokugen_run_duration_seconds_sum", LABELS) == 3.0


def test_no_caller_makes_more_time_series_than_are_allowed() -> None:
    registry = CollectorRegistry()
    scheduler = Scheduler("memory://", middleware=[MetricsMiddleware(registry, labels_max=3)])
    clock = ManualClock()
    for number in range(10):
        scheduler.schedule(TaskParam(work_id=f"made-up-{number}", scheduled_time=clock.now, queue=f"q{number}"))
    works = {
        sample.labels["work"]
        for metric in registry.collect()
        for sample in metric.samples
        if sample.name == "kokugen_tasks_scheduled_total"
    }
    assert works == {"made-up-0", "made-up-1", "made-up-2", OTHER}
    other = {"work": OTHER, "queue": OTHER}
    assert registry.get_sample_value("kokugen_tasks_scheduled_total", other) == 7
    with pytest.raises(OptionError, match="labels_max"):
        MetricsMiddleware(registry, labels_max=0)


# -- The store


def test_the_store_is_shown_as_it_is_and_asked_once_in_a_while(tmp_path: Path) -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    scheduler = Scheduler(f"sqlite:///{tmp_path / 'tasks.db'}", works=works, clock=clock)
    registry.register(StoreCollector(scheduler.repository, clock=clock))
    scheduler.after(timedelta(seconds=10), greet, "Ann")
    assert registry.get_sample_value("kokugen_store_tasks", {"state": "Initialized"}) == 1
    assert registry.get_sample_value("kokugen_store_overdue") == 0
    scheduler.after(SOON, greet, "Bob")
    assert registry.get_sample_value("kokugen_store_tasks", {"state": "Initialized"}) == 1
    clock.advance(timedelta(seconds=70))
    assert registry.get_sample_value("kokugen_store_tasks", {"state": "Initialized"}) == 2
    assert registry.get_sample_value("kokugen_store_overdue") == 2
    assert registry.get_sample_value("kokugen_store_overdue_seconds") == 70
    assert registry.get_sample_value("kokugen_store_held") == 0


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/tasks.db"])
def test_the_depth_of_a_queue_is_what_is_due_there_and_waits(url: str, tmp_path: Path) -> None:
    registry, clock = CollectorRegistry(), ManualClock()
    scheduler = Scheduler(url.format(tmp_path), works=works, clock=clock)
    registry.register(StoreCollector(scheduler.repository, queues=["mail", "idle"], clock=clock))
    for delay_s in (1, 2, 100):
        scheduler.after(timedelta(seconds=delay_s), greet.options(queue="mail"), "Ann")
    scheduler.after(SOON, greet, "Bob")
    clock.advance(timedelta(seconds=60))
    depths = {queue: registry.get_sample_value("kokugen_queue_due", {"queue": queue}) for queue in ("mail", "idle")}
    assert depths == {"mail": 2, "idle": 0}
    assert registry.get_sample_value("kokugen_queue_due", {"queue": "default"}) is None
    with pytest.raises(OptionError, match="queue"):
        StoreCollector(scheduler.repository, queues=["a b"])


def test_a_store_that_does_not_answer_is_shown_as_down_and_nothing_else() -> None:
    clock, registry = ManualClock(), CollectorRegistry()
    store = FaultyRepository(MemoryRepository(clock=clock))
    registry.register(StoreCollector(store, clock=clock))
    assert registry.get_sample_value("kokugen_store_up") == 1
    store.down = True
    clock.advance(timedelta(seconds=15))
    assert registry.get_sample_value("kokugen_store_up") == 0
    assert [metric.name for metric in registry.collect()] == ["kokugen_store_up"]
