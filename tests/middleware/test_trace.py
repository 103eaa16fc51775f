"""Spans of scheduling and running: linked by what is stored with the task, named as messaging conventions say."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import baggage, context
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanContext, SpanKind, StatusCode

from kokugen import FunctionRegistry, Retry, Scheduler
from kokugen.errors import WorkArgumentsError
from kokugen.middleware.trace import TraceMiddleware
from kokugen.recurrence import Cron
from kokugen.run import Cancel
from kokugen.testing import Stage

SOON = timedelta(0)
WITHIN = timedelta(seconds=30)
SECRET = "hunter2"

works = FunctionRegistry()


@works.work(queue="mail")
def send(to: str) -> str:
    return to


@works.work
async def carried() -> Any:
    return baggage.get_baggage("tenant")


@works.work(retry=Retry(2, initial=timedelta(0)))
def fail(text: str) -> None:
    raise ConnectionError(text)


@works.work
def stop() -> None:
    raise Cancel("enough")


class Traced:
    """A tracer provider, and the spans that ended."""

    def __init__(self) -> None:
        self._exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self._exporter))

    def spans(self, name: str) -> list[ReadableSpan]:
        return [span for span in self._exporter.get_finished_spans() if span.name == name]

    def one(self, name: str) -> ReadableSpan:
        (span,) = self.spans(name)
        return span


@pytest.fixture
def traced() -> Iterator[Traced]:
    traced = Traced()
    yield traced
    traced.provider.shutdown()


def context_of(span: ReadableSpan) -> SpanContext:
    found = span.get_span_context()
    assert found is not None
    return found


def attributes(span: ReadableSpan) -> dict[str, Any]:
    return dict(span.attributes or {})


def test_a_run_is_a_trace_of_its_own_with_a_link_to_its_scheduling(traced: Traced, tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path / 'tasks.db'}"
    web = Scheduler(url, works=works, middleware=[TraceMiddleware(traced.provider)])
    with traced.provider.get_tracer("shop").start_as_current_span("POST /orders") as request:
        task = web.after(SOON, send, "Ann")
    web.close()
    with Scheduler(url, works=works, queues=["mail"], middleware=[TraceMiddleware(traced.provider)]) as scheduler:
        assert scheduler.result(task.id, WITHIN) == "Ann"
    scheduled, run = traced.one("schedule send"), traced.one("run send")
    assert scheduled.parent == request.get_span_context()
    assert [link.context.span_id for link in run.links] == [context_of(scheduled).span_id]
    assert run.parent is None
    assert context_of(run).trace_id != context_of(scheduled).trace_id


def test_spans_say_what_the_conventions_ask_for_and_never_the_arguments(traced: Traced) -> None:
    middleware = [TraceMiddleware(traced.provider)]
    with Scheduler("memory://", works=works, queues=["mail"], middleware=middleware) as scheduler:
        task = scheduler.after(SOON, send, SECRET)
        task.wait(WITHIN)
    scheduled, run = traced.one("schedule send"), traced.one("run send")
    assert (scheduled.kind, run.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER)
    shared = {
        "messaging.system": "kokugen",
        "messaging.destination.name": "mail",
        "messaging.message.id": task.id,
        "kokugen.work_id": "send",
    }
    assert attributes(scheduled) == shared | {
        "messaging.operation.name": "schedule",
        "messaging.operation.type": "send",
    }
    late_s = attributes(run)["kokugen.lateness_s"]
    assert late_s >= 0
    assert attributes(run) == shared | {
        "messaging.operation.name": "run",
        "messaging.operation.type": "process",
        "kokugen.attempt": 1,
        "kokugen.lateness_s": late_s,
    }
    assert SECRET not in str([span.to_json() for span in (scheduled, run)])


def test_each_attempt_is_a_span_and_the_failed_ones_say_why(traced: Traced) -> None:
    with Scheduler("memory://", works=works, middleware=[TraceMiddleware(traced.provider)]) as scheduler:
        scheduler.after(SOON, fail, SECRET).wait(WITHIN)
    first, second = traced.spans("run fail")
    assert [attributes(span)["kokugen.attempt"] for span in (first, second)] == [1, 2]
    assert [link.context.span_id for link in first.links] == [link.context.span_id for link in second.links]
    assert (first.status.status_code, attributes(first)["error.type"]) == (StatusCode.ERROR, "ConnectionError")
    assert SECRET in (first.to_json() or "")


def test_texts_of_errors_stay_out_where_they_are_not_wanted(traced: Traced) -> None:
    middleware = [TraceMiddleware(traced.provider, exceptions=False)]
    with Scheduler("memory://", works=works, middleware=middleware) as scheduler:
        scheduler.after(SOON, fail, SECRET).wait(WITHIN)
    span = traced.spans("run fail")[0]
    assert attributes(span)["error.type"] == "ConnectionError"
    assert SECRET not in (span.to_json() or "")


def test_work_that_steers_its_run_is_no_error(traced: Traced) -> None:
    with Scheduler("memory://", works=works, middleware=[TraceMiddleware(traced.provider)]) as scheduler:
        scheduler.after(SOON, stop).wait(WITHIN)
    span = traced.one("run stop")
    assert (span.status.status_code, attributes(span)["kokugen.steered"]) == (StatusCode.UNSET, "Cancel")


def test_a_task_that_is_refused_is_an_error_of_its_scheduling(traced: Traced) -> None:
    scheduler = Scheduler("memory://", works=works, middleware=[TraceMiddleware(traced.provider)])
    with pytest.raises(WorkArgumentsError):
        scheduler.after(SOON, send)  # type: ignore[call-arg]
    span = traced.one("schedule send")
    assert (span.status.status_code, attributes(span)["error.type"]) == (StatusCode.ERROR, "WorkArgumentsError")


def test_baggage_comes_along_and_is_put_down_again(traced: Traced) -> None:
    with Scheduler("memory://", works=works, middleware=[TraceMiddleware(traced.provider)]) as scheduler:
        token = context.attach(baggage.set_baggage("tenant", "shop-7"))
        try:
            task = scheduler.after(SOON, carried)
        finally:
            context.detach(token)
        assert task.result(WITHIN) == "shop-7"
        assert scheduler.after(SOON, carried).result(WITHIN) is None


def test_a_schedule_is_the_same_each_time_it_is_declared_and_no_origin_of_its_runs(traced: Traced) -> None:
    with Stage() as stage:
        scheduler = stage.take(Scheduler("memory://", works=works, middleware=[TraceMiddleware(traced.provider)]))
        scheduler.every(Cron("0 9 * * *"), carried)
        schedule = scheduler.every(Cron("0 9 * * *"), carried)
        stage.clock.advance(days=1)
    assert schedule.edition == 1
    assert list(traced.one("run carried").links) == []
    assert traced.spans("schedule carried") == []


def test_without_an_sdk_it_does_no_harm() -> None:
    @works.work(id="untraced")
    def untraced() -> str:
        return "ran"

    with Scheduler("memory://", works=works, middleware=[TraceMiddleware()]) as scheduler:
        assert scheduler.after(SOON, untraced).result(WITHIN) == "ran"
