"""Turns the schedules of a store into tasks, a few seconds ahead of their times. Every node that runs work does so.

There is no leader: all decide alike, and the store takes the first answer. The engine runs it beside its own loops.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Mapping
from random import Random
from typing import TypeVar

from kokugen.clock import SECOND_US, Clock
from kokugen.errors import KokugenError, RepositoryError, UnknownOutcomeError
from kokugen.repository.protocol import ScheduleRepository
from kokugen.repository.schedule_rows import LedgerQuery, Overlap, ScheduleChange, ScheduleRow
from kokugen.schedules.decision import Decision
from kokugen.schedules.definitions import Definitions
from kokugen.schedules.edits import Act, Unsettled, fails, pause_for_failures, settled_until
from kokugen.settings import Settings

logger = logging.getLogger("kokugen")

AHEAD_S = 5.0
"""How long before their times occurrences become tasks: then the claim alone decides how punctual they start."""
SPREAD_S = 1.0
"""Within what time nodes look at one schedule, so that mostly one of them does what is to do."""
SCHEDULES_MAX = 200
TASKS_MAX = 1000
"""How many schedules, and about how many tasks, go into one transaction."""
FAR_US = 2**62
KEEP_US = 365 * 86_400 * SECOND_US
"""For how long the ledger is kept."""
FORGET_S = 3600.0
FORGOTTEN_MAX = 1000
BACKOFF_S, BACKOFF_MAX_S = 0.1, 10.0

T = TypeVar("T")


async def in_time() -> int:
    """Return by how much a clock is ahead that goes right."""
    return 0


class Materialiser:
    """The service. Other threads may call `hint` alone."""

    def __init__(
        self,
        repository: ScheduleRepository,
        definitions: Definitions,
        *,
        clock: Clock,
        random: Random,
        settings: Settings,
        wake_claims: Callable[[int], object] = lambda _due_us: None,
        skew_us: Callable[[], Awaitable[int]] = in_time,
    ) -> None:
        self._repository = repository
        self._definitions = definitions
        self._clock = clock
        self._random = random
        self._settings = settings
        self._wake_claims = wake_claims
        self._skew_us = skew_us
        self._ahead_us = round(AHEAD_S * SECOND_US)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._news = asyncio.Event()
        self._unreadable: set[tuple[str, int]] = set()
        self._judgements: list[int] = []
        self._forgets_at_s = 0.0

    # -- From any thread

    def hint(self) -> None:
        """Take note that a schedule changed in this process."""
        loop = self._loop
        if loop is not None and not loop.is_closed():
            loop.call_soon_threadsafe(self._news.set)

    # -- On the loop

    async def run(self) -> None:
        """Go on until it is cancelled; a store that does not answer is tried again."""
        self._loop = asyncio.get_running_loop()
        backoff_s = 0.0
        while True:
            self._news.clear()
            try:
                wait_s = await self.look()
                backoff_s = 0.0
            except RepositoryError as error:
                wait_s = backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_S, backoff_s * 2))
                logger.warning("cannot look after schedules, trying again in %.1f s: %s", backoff_s, error)
            await self._pause(wait_s)

    async def look(self) -> float:
        """Decide about all that is to be decided now; return for how many seconds nothing is to do."""
        while await self._decide_some():  # noqa: ASYNC110 - no event is waited for
            await asyncio.sleep(0)
        await self._settle()
        await self._forget()
        return await self._idle_s()

    async def _decide_some(self) -> bool:
        """Decide about the schedules that are first; return whether there may be more."""
        now = await self._now_us()
        most = SCHEDULES_MAX + len(self._unreadable)
        rows = await self._answered(self._repository.due_schedules(now + self._ahead_us, most), "reading schedules")
        acts = {row.id: await self._act_on(row, now) for row in rows if fails(row)}
        applied = False
        for changes in _in_parts(self._changes(rows, acts, now)):
            answers = await self._answered(self._repository.change_schedules(changes), "deciding about schedules")
            applied = applied or any(answer.applied for answer in answers)
            self._note_judgements(changes)
        return applied  # where all were refused others are at it

    async def _act_on(self, row: ScheduleRow, now: int) -> Act:
        """Look what of the times to come of a schedule that is to be paused is settled already."""
        query = LedgerQuery(schedule_id=row.id, first=now + 1, last=row.decided)
        ledger = await self._answered(self._repository.ledger(query), "reading a ledger")
        return Act(now=now, ahead_us=self._ahead_us, since=settled_until(ledger))

    def _changes(self, rows: list[ScheduleRow], acts: Mapping[str, Act], now: int) -> Iterator[ScheduleChange]:
        for row in rows:
            try:
                yield self._change(row, now) if row.id not in acts else self._pause_for_failures(row, acts[row.id])
            except KokugenError as error:
                self._set_aside(row, error)

    def _change(self, row: ScheduleRow, now: int) -> ScheduleChange:
        found = self._definitions.of(row)
        decision = Decision(row, found.trigger, found.policy, now=now, until=now + self._ahead_us)
        return decision.change(found.template)

    def _pause_for_failures(self, row: ScheduleRow, act: Act) -> ScheduleChange:
        try:
            pausing = pause_for_failures(row, self._definitions.of(row), act)
        except Unsettled as first:
            return first.change
        logger.error("the schedule %r is paused: %s", row.name, pausing.row.paused_note)
        return pausing

    def _set_aside(self, row: ScheduleRow, error: KokugenError) -> None:
        """Leave a schedule that cannot be read here to nodes that can; it keeps no other back."""
        key = (row.id, row.edition)
        if key not in self._unreadable:
            self._unreadable.add(key)
            logger.error("the schedule %r cannot be read by this node, and waits for one that can: %s", row.name, error)

    async def _now_us(self) -> int:
        """Return what time it is for all nodes: a clock that is ahead must not take for missed what has not come."""
        skew_us = await self._skew_us()
        return self._clock.wall_us() - skew_us

    # -- Overlap

    def _note_judgements(self, changes: list[ScheduleChange]) -> None:
        """Remember when occurrences come that are to take the place of one that runs."""
        for change in changes:
            if change.row.overlap == Overlap.REPLACE:
                self._judgements += [task.due_at + 1 for task in change.tasks]

    async def _settle(self) -> None:
        """Let go, or drop, what waits for another occurrence's end: the net below the store's own rules."""
        now = await self._now_us()
        self._judgements = [at for at in self._judgements if at > now]
        asked = self._repository.settle_overlaps(now + self._ahead_us, SCHEDULES_MAX)
        if await self._answered(asked, "settling overlaps"):
            self._wake_claims(0)

    # -- Beside it

    async def _forget(self) -> None:
        """Delete what the ledger need not remember any more."""
        now_s = self._clock.boot_s()
        if now_s < self._forgets_at_s:
            return
        before = (await self._now_us()) - KEEP_US
        forgotten = await self._answered(
            self._repository.forget_occurrences(before, FORGOTTEN_MAX), "forgetting occurrences"
        )
        self._forgets_at_s = now_s + (self._settings.poll_s if forgotten >= FORGOTTEN_MAX else FORGET_S)

    async def _idle_s(self) -> float:
        """Return how long nothing is to do as far as is known; at most the poll, for others may change schedules."""
        most = 1 + len(self._unreadable)
        rows = await self._answered(self._repository.due_schedules(FAR_US, most), "reading schedules")
        wakes = [row.wake_at for row in rows if (row.id, row.edition) not in self._unreadable]
        now = await self._now_us()
        waits = [self._settings.poll_s]
        waits += [self._in_s(wake - self._ahead_us - now) for wake in wakes if wake is not None]
        waits += [(at - now) / SECOND_US for at in self._judgements]
        return max(0.0, min(waits))

    def _in_s(self, span_us: int) -> float:
        return span_us / SECOND_US + self._random.random() * SPREAD_S

    async def _pause(self, wait_s: float) -> None:
        try:
            async with asyncio.timeout(wait_s):
                await self._news.wait()
        except TimeoutError:
            return

    async def _answered(self, reply: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._settings.rpc_s):
                return await reply
        except TimeoutError as error:
            if isinstance(error, KokugenError):
                raise
            raise UnknownOutcomeError(what) from error


def _in_parts(changes: Iterator[ScheduleChange]) -> Iterator[list[ScheduleChange]]:
    """Yield changes in parts of about so many tasks."""
    part, tasks = list[ScheduleChange](), 0
    for change in changes:
        part.append(change)
        tasks += len(change.tasks)
        if tasks >= TASKS_MAX or len(part) >= SCHEDULES_MAX:
            yield part
            part, tasks = [], 0
    if part:
        yield part
