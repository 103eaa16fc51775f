"""Metrics for Prometheus: what is scheduled and run in this process, how late and how long, and what the store holds.

Needs `prometheus-client` (the extra `prometheus`).
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from threading import Lock
from typing import Any

from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from kokugen.clock import SECOND_US, Clock, SystemClock, from_us
from kokugen.errors import KokugenError, OptionError, UndecodableError
from kokugen.middleware.base import ScheduleNext, ScheduleRequest, Surround
from kokugen.middleware.log import lateness_s
from kokugen.options import check_name
from kokugen.reply import Reply
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import StoreHealth
from kokugen.run import Cancel, RetryAfter, Run, Snooze
from kokugen.task import TaskQuery, TaskState

OTHER = "other"
LATE_S = (0.005, 0.02, 0.1, 0.5, 1.0, 5.0, 30.0, 60.0, 300.0, 1800.0, 3600.0)
LONG_S = (0.005, 0.025, 0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 1800.0, 3600.0)
ENDINGS: tuple[tuple[type[BaseException], str], ...] = (
    (Snooze, "snoozed"),
    (RetryAfter, "retry_after"),
    (Cancel, "cancelled"),
    (UndecodableError, "undecodable"),
    (asyncio.CancelledError, "interrupted"),
)
WAITING = frozenset({TaskState.INITIALIZED})
ANSWER_S = 5.0


class MetricsMiddleware(Surround):
    """Counts and measures into `registry`: one instance for each registry, shared by the schedulers of a process.

    The labels are the work and the queue. Of each the first `labels_max` get a time series of their own, the rest
    are counted as `other`, so that no caller can make any number of them.
    """

    def __init__(
        self, registry: CollectorRegistry = REGISTRY, *, labels_max: int = 200, clock: Clock | None = None
    ) -> None:
        if labels_max < 1:
            raise OptionError(f"MetricsMiddleware(labels_max={labels_max!r}): use a whole number of at least 1")
        self._clock = clock or SystemClock()
        self._works, self._queues = _Labels(labels_max), _Labels(labels_max)
        labels = ("work", "queue")
        self._scheduled = Counter("kokugen_tasks_scheduled", "Tasks accepted here.", labels, registry=registry)
        self._started = Counter("kokugen_runs_started", "Runs started here.", labels, registry=registry)
        self._ended = Counter("kokugen_runs_ended", "Runs ended here.", (*labels, "outcome"), registry=registry)
        self._late = Histogram(
            "kokugen_run_lateness_seconds", "From due to started.", labels, buckets=LATE_S, registry=registry
        )
        self._long = Histogram(
            "kokugen_run_duration_seconds", "From started to ended.", labels, buckets=LONG_S, registry=registry
        )
        self._active = Gauge(
            "kokugen_runs_active", "Runs under way here.", labels, registry=registry, multiprocess_mode="livesum"
        )

    def schedule(self, request: ScheduleRequest, call_next: ScheduleNext) -> Reply[Any]:
        if request.template:
            return call_next(request)
        counter = self._scheduled.labels(*self._labels(request.work_id, request.options.queue))

        def count(handle: Any) -> Any:
            if not handle.existed:
                counter.inc()
            return handle

        return call_next(request).then(count)

    @contextmanager
    def around(self, run: Run) -> Iterator[None]:
        labels = self._labels(run.work_id, run.queue)
        self._started.labels(*labels).inc()
        self._late.labels(*labels).observe(max(0.0, lateness_s(run)))
        since_s, outcome = self._clock.boot_s(), "done"
        try:
            with self._active.labels(*labels).track_inprogress():
                yield
        except BaseException as error:
            outcome = next((name for kind, name in ENDINGS if isinstance(error, kind)), "failed")
            raise
        finally:
            self._long.labels(*labels).observe(self._clock.boot_s() - since_s)
            self._ended.labels(*labels, outcome).inc()

    def _labels(self, work_id: str, queue: str) -> tuple[str, str]:
        return self._works.of(work_id), self._queues.of(queue)


class _Labels:
    """The values of one label, of which there are only so many."""

    def __init__(self, most: int) -> None:
        self._known: set[str] = set()
        self._most = most
        self._lock = Lock()

    def of(self, value: str) -> str:
        if value in self._known:
            return value
        with self._lock:
            if len(self._known) >= self._most:
                return OTHER
            self._known.add(value)
        return value


class StoreCollector(Collector):
    """Shows what a store holds: tasks by state, on hold and overdue, and how long the first of them has been due.

    `REGISTRY.register(StoreCollector(scheduler.repository))`, in one process of those that share the store. Every
    state is counted, which takes a store of millions of tasks a while: it is asked once in `every` at most. Of the
    `queues` that are named it shows how deep each is: how many tasks are due there and wait for a worker.
    """

    def __init__(
        self,
        repository: DurableRepository,
        *,
        every: timedelta = timedelta(seconds=15),
        queues: Sequence[str] = (),
        clock: Clock | None = None,
    ) -> None:
        self._repository = repository
        self._queues = tuple(check_name("queue", queue) for queue in queues)
        self._every_s = every.total_seconds()
        self._clock = clock or SystemClock()
        self._lock = Lock()
        self._asked_s: float | None = None
        self._told: tuple[StoreHealth, dict[str, int]] | None = None

    def describe(self) -> Iterable[Metric]:
        """Return nothing, so that registering it does not ask the store."""
        return ()

    def collect(self) -> Iterable[Metric]:
        """Yield the figures; of a store that does not answer, only that it is not up."""
        with self._lock:
            if self._asked_s is None or self._clock.boot_s() - self._asked_s >= self._every_s:
                self._told, self._asked_s = self._ask(), self._clock.boot_s()
            told = self._told
        yield GaugeMetricFamily("kokugen_store_up", "Whether the store answers.", float(told is not None))
        if told is not None:
            yield from self._figures(*told)

    def _ask(self) -> tuple[StoreHealth, dict[str, int]] | None:
        try:
            self._repository.open()
            health = self._repository.health().result(ANSWER_S)
            return health, {queue: self._depth(queue) for queue in self._queues}
        except (KokugenError, TimeoutError):
            return None

    def _depth(self, queue: str) -> int:
        """Return how many tasks wait there and are due: the index of what waits has them side by side."""
        due = TaskQuery(states=WAITING, queue=queue, held=False, due_before=from_us(self._clock.wall_us()))
        return self._repository.count(due).result(ANSWER_S)

    def _figures(self, told: StoreHealth, depths: dict[str, int]) -> Iterator[Metric]:
        states = GaugeMetricFamily("kokugen_store_tasks", "Tasks in the store.", labels=["state"])
        for state, count in told.counts.items():
            states.add_metric([state], count)
        deep = GaugeMetricFamily("kokugen_queue_due", "Tasks that are due and wait for a worker.", labels=["queue"])
        for queue, depth in depths.items():
            deep.add_metric([queue], depth)
        oldest_us = told.oldest_due_us
        overdue_s = 0.0 if oldest_us is None else max(0.0, (self._clock.wall_us() - oldest_us) / SECOND_US)
        yield states
        yield deep
        yield GaugeMetricFamily("kokugen_store_held", "Waiting tasks on hold.", told.held)
        yield GaugeMetricFamily("kokugen_store_overdue", "Waiting tasks that are due.", told.overdue)
        yield GaugeMetricFamily("kokugen_store_overdue_seconds", "For how long the first is due.", overdue_s)
