"""Traces by OpenTelemetry: a span for each scheduling, one for each run, and a link from the run to the scheduling.

Needs `opentelemetry-api` (the extra `opentelemetry`). What is sent along, `traceparent` first of all, is stored with
the task as headers. A run is a trace of its own: it may come months later, and as often as its retries say.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from opentelemetry import context, propagate, trace
from opentelemetry.trace import Link, Span, SpanKind, StatusCode, TracerProvider

from kokugen.middleware.base import ScheduleNext, ScheduleRequest, Surround
from kokugen.middleware.log import lateness_s
from kokugen.reply import Reply
from kokugen.run import Run, TaskControl
from kokugen.task import replace


class TraceMiddleware(Surround):
    """Makes the spans with `tracer_provider`, by default the global one; the global propagators write the headers.

    Attributes are those of the semantic conventions for messaging, besides `kokugen.…`. Arguments and results are
    never among them; `exceptions=False` leaves out the texts and tracebacks of errors, too, which may quote them.
    """

    def __init__(self, tracer_provider: TracerProvider | None = None, *, exceptions: bool = True) -> None:
        self._tracer = trace.get_tracer("kokugen", tracer_provider=tracer_provider)
        self._exceptions = exceptions

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if request.template:  # its tasks come for years: there is no origin to link them to
            return call_next(request)
        about = _about("schedule", "send", request.work_id, request.options.queue)
        span = self._tracer.start_span(f"schedule {request.work_id}", kind=SpanKind.PRODUCER, attributes=about)
        with trace.use_span(span, record_exception=False, set_status_on_exception=False):
            headers = dict(request.headers)
            propagate.inject(headers)
            try:
                reply = call_next(replace(request, headers=headers))
            except BaseException as error:
                self._fail(span, error)
                span.end()
                raise
        reply.when_done(lambda: self._answered(span, reply))
        return reply

    def _answered(self, span: Span, reply: Reply[Any]) -> None:
        try:
            span.set_attribute("messaging.message.id", reply.peek().id)
        except Exception as error:  # noqa: BLE001 - the answer, which whoever waits for it gets
            self._fail(span, error)
        span.end()

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        sent = propagate.extract(run.headers)
        origin = trace.get_current_span(sent).get_span_context()
        token = context.attach(trace.set_span_in_context(trace.INVALID_SPAN, sent))  # for what else came: baggage
        try:
            with self._tracer.start_as_current_span(
                f"run {run.work_id}",
                kind=SpanKind.CONSUMER,
                attributes=_about_run(run),
                links=[Link(origin)] if origin.is_valid else [],
                record_exception=False,
                set_status_on_exception=False,
            ) as span:
                yield from self._watched(span)
        finally:
            context.detach(token)

    def _watched(self, span: Span) -> Iterator[None]:
        try:
            yield
        except TaskControl as error:
            span.set_attribute("kokugen.steered", type(error).__name__)
            raise
        except BaseException as error:
            self._fail(span, error)
            raise

    def _fail(self, span: Span, error: BaseException) -> None:
        if self._exceptions:
            span.record_exception(error)
        span.set_attribute("error.type", type(error).__qualname__)
        span.set_status(StatusCode.ERROR)


def _about(name: str, kind: str, work_id: str, queue: str) -> dict[str, str | int | float]:
    return {
        "messaging.system": "kokugen",
        "messaging.operation.name": name,
        "messaging.operation.type": kind,
        "messaging.destination.name": queue,
        "kokugen.work_id": work_id,
    }


def _about_run(run: Run) -> dict[str, str | int | float]:
    return _about("run", "process", run.work_id, run.queue) | {
        "messaging.message.id": run.task_id,
        "kokugen.attempt": run.attempt,
        "kokugen.lateness_s": lateness_s(run),
    }
