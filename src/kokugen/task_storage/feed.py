"""What changed in a repository since it was last asked: the reading half of `sync`.

Clocks of several writers differ and commits come late, so each pass begins a minute before the newest instant it
knows, and tells what is new by each task's own stamp, not by the instants.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime, timedelta

from msgspec import Struct

from kokugen.clock import EPOCH
from kokugen.errors import InvalidEntryError
from kokugen.task import TaskInfo, TaskState

OVERLAP = timedelta(seconds=60)
STEPS = (timedelta(microseconds=1), timedelta(milliseconds=1), timedelta(seconds=1))
"""How to get past an instant that fills a whole part, in a store that keeps micro-, milliseconds or seconds."""

Fetch = Callable[[datetime], Awaitable[Sequence[TaskInfo]]]


class Stamp(Struct, frozen=True):
    """What tells two versions of a task apart, even within one tick of the store's clock."""

    last_modified: datetime
    state: TaskState
    scheduled_time: datetime


class ChangeFeed:
    """Yields each version of a task once it is there, until it was learned."""

    __slots__ = ("_fetch", "_known", "_newest")

    def __init__(self, fetch: Fetch) -> None:
        self._fetch = fetch
        self._known: dict[str, Stamp] = {}
        self._newest = EPOCH

    async def changes(self) -> AsyncIterator[TaskInfo]:
        """Yield the tasks whose version was not learned, in order of their change."""
        newest = self._newest
        async for info in self._read(max(EPOCH, newest - OVERLAP)):
            newest = max(newest, _stamp(info).last_modified)
            if self._known.get(info.id) != _stamp(info):
                yield info
        self._newest = newest
        self._forget_before(newest - OVERLAP)

    def learn(self, info: TaskInfo) -> None:
        """Take this version of a task as dealt with."""
        self._known[info.id] = _stamp(info)

    async def _read(self, since: datetime) -> AsyncIterator[TaskInfo]:
        """Read part by part, to the end; an instant that fills a whole part is stepped over."""
        reached, steps = since - STEPS[0], iter(STEPS)
        while part := await self._fetch(since):
            for info in part:
                yield info
            last = max(_stamp(info).last_modified for info in part)
            if last > reached:
                since = reached = last
                steps = iter(STEPS)
                continue
            step = next(steps, None)
            if step is None:
                return
            since += step

    def _forget_before(self, oldest: datetime) -> None:
        self._known = {key: stamp for key, stamp in self._known.items() if stamp.last_modified >= oldest}


def _stamp(info: TaskInfo) -> Stamp:
    modified, scheduled = info.last_modified, info.scheduled_time
    if modified is None or modified.tzinfo is None or scheduled.tzinfo is None:
        raise InvalidEntryError(
            f"the repository gave task {info.id!r} without last_modified, or with a naive time: give aware datetimes"
        )
    return Stamp(modified, info.state, scheduled)
