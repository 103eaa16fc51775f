"""The seed's `Sync`: what the repository holds, and how it was changed from outside, brought into the scheduler.

A storage calls it at start and whenever it likes, while tasks are scheduled and run. It reads through a
`ChangeFeed`, decides by the map of `MirroredTasks`, and schedules through the callable that it is given.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from msgspec import Struct

from kokugen.clock import to_us
from kokugen.errors import ExternalStateChangeError, NoEntryError, NonexistentWorkIdError, NotUpdatableStateError
from kokugen.middleware.base import ScheduleRequest
from kokugen.options import Options
from kokugen.registry.protocol import Work, WorkRegistry
from kokugen.task import TaskInfo, TaskState
from kokugen.task_storage.feed import ChangeFeed
from kokugen.task_storage.mirror import Mirrored, MirroredTasks, params_of

Schedule = Callable[[ScheduleRequest], Any]
"""Accepts a request and returns a handle (`cancel(reason=…)`, `reschedule(when)`), or what awaits to one."""

Restored = tuple[dict[str, Any], dict[str, Exception]]


class RestorePolicy(Struct, frozen=True, kw_only=True):
    """What of a repository comes back, and how: the seed's shouldRestore and syncCtxWrapper."""

    work_registry: WorkRegistry
    should_restore: Callable[[TaskInfo], bool] | None = None
    sync_context_wrapper: Callable[[ScheduleRequest], ScheduleRequest] | None = None


class Synchronizer:
    """Brings the scheduler's tasks into line with the repository's."""

    def __init__(self, mirror: MirroredTasks, policy: RestorePolicy) -> None:
        self._mirror = mirror
        self._policy = policy
        self._feed = ChangeFeed(mirror.fetch)
        self._again: set[str] = set()

    async def sync(self, schedule: Schedule) -> Restored:
        """Return the handles of the tasks that were scheduled or moved, and the errors of those that could not be.

        Those are tried again by the next sync. Raises what the repository raises where it cannot be read.
        """
        pass_ = _Pass(schedule)
        async with self._mirror.turns.turn():
            self._mirror.ended_lately = set()
            try:
                await self._retry(pass_)
                async for info in self._feed.changes():
                    await self._apply(info, pass_)
            finally:
                self._mirror.ended_lately = None
        return pass_.rescheduled, pass_.errors

    async def _retry(self, pass_: _Pass) -> None:
        for task_id in sorted(self._again):
            try:
                info = await self._mirror.load(task_id)
            except NoEntryError:
                self._again.discard(task_id)
            else:
                await self._apply(info, pass_)

    async def _apply(self, info: TaskInfo, pass_: _Pass) -> None:
        """Deal with one task; whatever goes wrong with it stops no other."""
        self._again.discard(info.id)
        try:
            handle = await self._decide(info, pass_.schedule)
        except Exception as error:  # noqa: BLE001 - reported by id
            pass_.errors[info.id] = error
            self._again.add(info.id)
        else:
            pass_.errors.pop(info.id, None)
            if handle is not None:
                pass_.rescheduled[info.id] = handle
        self._feed.learn(info)

    async def _decide(self, info: TaskInfo, schedule: Schedule) -> Any:
        entry = self._mirror.tasks.load(info.id)
        if info.state is not TaskState.INITIALIZED:
            return await self._drop(entry, info)
        if entry is not None:
            return await self._move(entry, info)
        if self._mirror.is_settled(info):
            return None
        return await self._restore(info, schedule)

    async def _drop(self, entry: Mirrored | None, info: TaskInfo) -> None:
        """Cancel what was ended, or is being worked on, elsewhere."""
        if entry is None or entry.ending is not None or (entry.run is not None and not info.state.terminal):
            return
        if entry.run is None:  # a run under way finds out by its mark
            self._mirror.forget(entry)
        if entry.handle is not None:
            await _answer(entry.handle.cancel(reason=str(ExternalStateChangeError(info.id, info.state))))

    async def _move(self, entry: Mirrored, info: TaskInfo) -> Any:
        """Reschedule what was moved in the repository, unless it has begun."""
        scheduled_us = to_us(info.scheduled_time)
        if entry.run is not None or entry.ending is not None or entry.scheduled_us == scheduled_us:
            return None
        if entry.handle is None:
            self._again.add(info.id)  # it is being accepted just now
            return None
        try:
            await _answer(entry.handle.reschedule(info.scheduled_time))
        except NotUpdatableStateError:
            return None
        entry.scheduled_us = scheduled_us
        return entry.handle

    async def _restore(self, info: TaskInfo, schedule: Schedule) -> Any:
        work = self._policy.work_registry.load(info.work_id)
        if work is None:
            raise NonexistentWorkIdError(info.work_id)
        if self._policy.should_restore is not None and not self._policy.should_restore(info):
            return None
        request = self._wrapped(_request(info, work))
        entry = Mirrored(info.id, request.scheduled_time_us, restoring=True)
        _, scheduled_here = self._mirror.tasks.load_or_store(info.id, entry)
        if scheduled_here:
            return None
        return await self._schedule(entry, request, schedule)

    async def _schedule(self, entry: Mirrored, request: ScheduleRequest, schedule: Schedule) -> Any:
        lately = self._mirror.ended_lately
        if lately is not None and entry.id in lately:  # what was read is from before its end
            self._mirror.tasks.delete(entry.id)
            return None
        try:
            entry.handle = await _answer(schedule(request))
        except BaseException:
            self._mirror.forget(entry)
            raise
        entry.restoring = False
        return entry.handle

    def _wrapped(self, request: ScheduleRequest) -> ScheduleRequest:
        wrapper = self._policy.sync_context_wrapper
        return request if wrapper is None else wrapper(request)


class _Pass:
    """One sync under way: where it schedules, and what came of it."""

    __slots__ = ("errors", "rescheduled", "schedule")

    def __init__(self, schedule: Schedule) -> None:
        self.schedule = schedule
        self.rescheduled: dict[str, Any] = {}
        self.errors: dict[str, Exception] = {}


def _request(info: TaskInfo, work: object) -> ScheduleRequest:
    declared = work.declared if isinstance(work, Work) else Options()
    return ScheduleRequest(
        work_id=info.work_id,
        params=params_of(info),
        scheduled_time_us=to_us(info.scheduled_time),
        options=declared.merged(id=info.id),
        zone=info.zone,
        local_time=info.local_time,
        restored=True,
    )


async def _answer(value: Any) -> Any:
    return await value if inspect.isawaitable(value) else value
