"""A scheduler in memory, as small as can be: it applies middleware, holds tasks, and runs one when told."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any

from kokugen.clock import SystemClock, from_us
from kokugen.codec import encode_params
from kokugen.dispatcher.call import call_async, call_sync, call_work
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.middleware.base import Middleware, ScheduleRequest, schedule_chain, work_chain
from kokugen.options import Options
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.registry.work import make_work
from kokugen.reply import Reply
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal
from kokugen.task import Params


class MemoryHandle:
    def __init__(self, request: ScheduleRequest) -> None:
        self.id = request.options.id or ""
        self.request = request
        self.scheduled_time = from_us(request.scheduled_time_us)
        self.cancel_reason: str | None = None

    def cancel(self, reason: str | None = None) -> None:
        self.cancel_reason = reason

    def reschedule(self, when: datetime) -> None:
        self.scheduled_time = when


class MemoryScheduler:
    def __init__(self, works: WorkRegistry, middleware: Sequence[Middleware]) -> None:
        self.works = works
        self.handles: dict[str, MemoryHandle] = {}
        self.refusal: Exception | None = None
        self.on_accept: Callable[[str], object] = lambda _: None
        self.outcomes: list[Outcome] = []
        self._middleware = middleware
        self._chain = schedule_chain(middleware, self._accept)
        self._attempts: dict[str, int] = {}

    def schedule(self, work_id: str, *args: Any, at: datetime, **options: Any) -> MemoryHandle:
        """Schedule and wait for the answer, as a thread would."""
        handle: MemoryHandle = self.begin(work_id, *args, at=at, **options).result(20)
        return handle

    def begin(self, work_id: str, *args: Any, at: datetime, **options: Any) -> Reply[Any]:
        us = int(at.timestamp() * 1_000_000)
        return self.schedule_request(
            ScheduleRequest(
                work_id=work_id, params=Params(args), scheduled_time_us=us, options=Options().merged(**options)
            )
        )

    def schedule_request(self, request: ScheduleRequest) -> Reply[Any]:
        return self._chain(request)

    def _accept(self, request: ScheduleRequest) -> Reply[Any]:
        if self.refusal is not None:
            return Reply.failed(self.refusal)
        handle = MemoryHandle(request)
        self.handles.setdefault(handle.id, handle)
        self.on_accept(handle.id)
        return Reply.of(self.handles[handle.id])

    def run(self, task_id: str, *, max_attempts: int = 1) -> Outcome:
        """Run a task now, wherever its handle says; it stays where it is to run again."""
        run = self.make_run(task_id, max_attempts=max_attempts)
        chain = work_chain(self._middleware, call_work, is_async=run.is_async)
        if run.is_async:
            return self._done(asyncio.run(call_async(run, chain, SystemClock())))
        return self._done(call_sync(run, chain, SystemClock()))

    def make_run(self, task_id: str, *, max_attempts: int = 1) -> Run:
        request = self.handles[task_id].request
        self._attempts[task_id] = attempt = self._attempts.get(task_id, 0) + 1
        work = self.works.load(request.work_id)
        assert work is not None
        return Run(
            _claimed(task_id, request, attempt, max_attempts),
            f"claim-{task_id}-{attempt}",
            work if isinstance(work, Work) else make_work(request.work_id, work),
            stopping=Signal(),
            trusted_until_s=float("inf"),
            not_before_us=0,
        )

    def _done(self, outcome: Outcome) -> Outcome:
        self.outcomes.append(outcome)
        if outcome.ending not in {Ending.SNOOZED, Ending.RETRY_AFTER}:
            self.handles.pop(outcome.run.task_id, None)
        return outcome


def _claimed(task_id: str, request: ScheduleRequest, attempt: int, max_attempts: int) -> Claimed:
    return Claimed(
        id=task_id,
        work_id=request.work_id,
        param=encode_params(request.params),
        queue="default",
        mode=0,
        scheduled_time=request.scheduled_time_us,
        due_at=request.scheduled_time_us,
        attempt=attempt,
        max_attempts=max_attempts,
        lost=0,
        max_lost=3,
        fence=attempt,
        tags=None,
        options=None,
    )
