"""Lets tasks through the gates of their limits in time: those that become due, and those that a rate kept waiting.

What ends, comes or changes lets others pass at once, in the store; this is for what only time changes, and the net for
what was lost. Every node that runs work does so, and the store sees to it that they agree.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping
from typing import TypeVar

from kokugen.clock import SECOND_US, Clock
from kokugen.errors import KokugenError, RepositoryError, UnknownOutcomeError
from kokugen.limit import Limit
from kokugen.registry.protocol import ListedWorkRegistry, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.repository.limit_rows import AHEAD_US, KEYS, QUEUE, WORK, LimitRule
from kokugen.repository.protocol import LimitRepository
from kokugen.settings import Settings

logger = logging.getLogger("kokugen")

SWEEP_S = 5.0
"""How often it looks at all gates."""
PAUSE_MIN_S = 0.025
"""It looks no more often, and far enough ahead for that: see `AHEAD_US`."""
BACKOFF_S, BACKOFF_MAX_S = 0.1, 10.0

T = TypeVar("T")


class Declared:
    """The limits that the code declares: of the works that it knows, and of queues."""

    def __init__(self, works: WorkRegistry, queue_limits: Mapping[str, Limit | None]) -> None:
        self._works = works
        self._queues = [(QUEUE + name, limit) for name, limit in queue_limits.items()]

    def limits(self) -> dict[str, Limit | None]:
        """Return the limits by the names of their rules; None: there is to be none."""
        named: list[tuple[str, Limit | None]] = []
        for work_id in sorted(self._works.work_ids()) if isinstance(self._works, ListedWorkRegistry) else ():
            if (found := self._works.load(work_id)) is not None:
                declared = as_work(work_id, found).declared
                named += [(WORK + work_id, declared.limit), (KEYS + work_id, declared.key_limit)]
        return dict(named + self._queues)


class Doorkeeper:
    """The service."""

    def __init__(
        self,
        repository: LimitRepository,
        declared: Declared,
        *,
        listen: Callable[[Callable[[int], object]], Callable[[], None]],
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._repository = repository
        self._declared = declared
        self._listen = listen
        self._clock = clock
        self._settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._skew_us = 0
        """By how much this node's clock is ahead of the store's, by which tasks are due."""
        self._news = asyncio.Event()
        self._looks_at_us = 0
        self._in_use = False
        self._known: dict[str, Limit | None] = {}
        self._token_us: int | None = None
        self._sweeps_at_s = 0.0

    # -- From any thread

    def expect(self) -> None:
        """Take note that limits are in use: from now on it listens to what comes, not only to the poll."""
        self._in_use = True

    def hint(self) -> None:
        """Do nothing: the store lets tasks pass as others end."""

    def hear(self, due_us: int) -> None:
        """Take note that a task due then may have come, or waits again."""
        loop = self._loop
        if self._in_use and 0 <= due_us < self._looks_at_us and loop is not None and not loop.is_closed():
            self._looks_at_us = due_us
            loop.call_soon_threadsafe(self._news.set)

    # -- On the loop

    async def prepare(self) -> None:
        """Declare the limits, before anything is claimed. Raises RepositoryError."""
        await self._declare()

    async def run(self) -> None:
        """Go on until it is cancelled; a store that does not answer is tried again."""
        self._loop = asyncio.get_running_loop()
        leave = self._listen(self.hear)
        backoff_s = 0.0
        try:
            while True:
                self._news.clear()
                try:
                    wait_s = await self.look()
                    backoff_s = 0.0
                except RepositoryError as error:
                    wait_s = backoff_s = min(BACKOFF_MAX_S, max(BACKOFF_S, backoff_s * 2))
                    logger.warning("cannot look after limits, trying again in %.1f s: %s", backoff_s, error)
                await self._pause(wait_s)
        finally:
            leave()

    async def _pause(self, wait_s: float) -> None:
        """Wait so long, or until what came is to be looked at."""
        end_s = self._loop_time() + wait_s
        self._looks_at_us = self._now_us() + round(wait_s * SECOND_US) + AHEAD_US
        await asyncio.sleep(PAUSE_MIN_S)
        while (left_s := end_s - self._loop_time()) > 0:
            try:
                async with asyncio.timeout(left_s):
                    await self._news.wait()
            except TimeoutError:
                return
            self._news.clear()
            sooner_s = (self._looks_at_us - AHEAD_US - self._now_us()) / SECOND_US
            end_s = min(end_s, self._loop_time() + sooner_s)

    def _now_us(self) -> int:
        return self._clock.wall_us() - self._skew_us

    @staticmethod
    def _loop_time() -> float:
        return asyncio.get_running_loop().time()

    async def look(self) -> float:
        """Let through who may pass now; return for how many seconds nothing is to do, at most the poll."""
        await self._declare()
        asked = self._repository.admit(AHEAD_US, everywhere=self._looks_everywhere(self._now_us() + AHEAD_US))
        answer = await self._answered(asked, "letting tasks pass their limits")
        self._skew_us = self._clock.wall_us() - answer.now
        self._in_use = self._in_use or answer.admitted > 0 or answer.next_due is not None
        if answer.token_us is not None:
            self._token_us = min(answer.token_us, self._token_us or answer.token_us)
        waited_for = [at for at in (self._token_us, answer.next_due) if at is not None]
        idle_s = min([(at - answer.now - AHEAD_US) / SECOND_US for at in waited_for], default=self._settings.poll_s)
        return min(self._settings.poll_s, max(PAUSE_MIN_S, idle_s))

    def _looks_everywhere(self, until: int) -> bool:
        """Return whether it is time to look at all gates: now and again, and when there is a token for someone."""
        now_s = self._clock.boot_s()
        if now_s < self._sweeps_at_s and (self._token_us is None or self._token_us > until):
            return False
        self._sweeps_at_s, self._token_us = now_s + SWEEP_S, None
        return True

    async def _declare(self) -> None:
        """Put what the code declares into the store, where it changed."""
        limits = self._declared.limits()
        new = {name: limit for name, limit in limits.items() if name not in self._known or self._known[name] != limit}
        if not new:
            return
        self._in_use = self._in_use or any(new.values())
        rules = [_rule(name, limit) for name, limit in new.items() if limit is not None]
        await self._answered(self._repository.declare_limits(list(new), rules), "declaring limits")
        self._known |= new
        self._sweeps_at_s = 0.0

    async def _answered(self, reply: Awaitable[T], what: str) -> T:
        try:
            async with asyncio.timeout(self._settings.rpc_s):
                return await reply
        except TimeoutError as error:
            if isinstance(error, KokugenError):
                raise
            raise UnknownOutcomeError(what) from error


def _rule(name: str, limit: Limit) -> LimitRule:
    return LimitRule(
        name=name,
        at_once=limit.at_once,
        interval_us=limit.interval_us or None,
        burst=limit.burst,
    )
