"""What becomes of runs that ended: their outcomes are written in batches, they are counted out, and told of.

Dispatchers report by `deliver`, from any thread; all the rest is on the engine's loop.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from contextlib import suppress
from random import Random

from kokugen.clock import Clock
from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.engine.claims import Claims
from kokugen.engine.completions import as_decided
from kokugen.engine.hooks import Hooks
from kokugen.engine.lane import Lane
from kokugen.engine.lanes import Lanes
from kokugen.engine.recalls import Recalls
from kokugen.engine.service import Service
from kokugen.errors import RepositoryError
from kokugen.options import stored_options
from kokugen.repository.rows import Finish, Lease
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.task_storage.settlement import settle

FINISH_MAX = 4096


class Endings:
    """Ends the runs of one engine. `lane_of` says for which lane each was claimed; `recall` takes one back."""

    def __init__(
        self,
        storage: LeasedTasks,
        runs: dict[Lease, Run],
        claims: Claims,
        lanes: Lanes,
        hooks: Hooks,
        services: Sequence[Service],
        *,
        clock: Clock,
        random: Random,
        settings: Settings,
    ) -> None:
        self.lane_of: dict[Lease, Lane] = {}
        self.settled = asyncio.Event()
        """Set while there is nothing that ended and was not told of."""
        self.settled.set()
        self._storage = storage
        self._runs = runs
        self._claims = claims
        self._lanes = lanes
        self._hooks = hooks
        self._services = services
        self._clock = clock
        self._random = random
        self._settings = settings
        self._recalls = Recalls(runs, self.deliver)
        self.recall = self._recalls.recall
        self._outcomes: deque[Outcome] = deque()
        self._unwritten: dict[Lease, Outcome] = {}
        self._told = False
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        storage.refused_late = self._refused_late

    @property
    def waiting(self) -> bool:
        """Return whether there are outcomes that nobody has looked at yet."""
        return bool(self._outcomes)

    def open(self, loop: asyncio.AbstractEventLoop) -> None:
        """Wake this loop from now on."""
        self._loop = loop

    def close(self) -> None:
        """Take back nothing more, and wake nobody."""
        self._recalls.close()
        self._loop = None

    def deliver(self, outcome: Outcome) -> None:
        """Take the outcome of a run; the loop is woken once for all that come before it looks."""
        self._outcomes.append(outcome)
        if not self._told:
            self._told = True
            if self._loop is not None:
                with suppress(RuntimeError):  # the loop was closed: nobody is there to be told any more
                    self._loop.call_soon_threadsafe(self._wake.set)

    # -- On the loop

    async def run(self) -> None:
        """End what was delivered, batch by batch, for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._told = False
            self.settled.clear()
            while self._outcomes:
                await self._finish([self._outcomes.popleft() for _ in range(min(len(self._outcomes), FINISH_MAX))])
            self.settled.set()

    async def _finish(self, outcomes: list[Outcome]) -> None:
        with suppress(RepositoryError):  # then it goes by what it knew of the clocks
            await self._storage.current_skew_us()
        skew_us = self._storage.skew_us
        now = self._clock.wall_us() - skew_us
        settled = [(outcome, settle(outcome, now, self._random)) for outcome in outcomes]
        serial = {self.lane_of.get(_lease(one)) for one in outcomes if _is_serial(one)}
        self._unwritten |= {_lease(one): one for one in outcomes}  # who tries again may hear of a refusal before we do
        writing = self._storage.finish([one.row for _, one in settled])
        task = asyncio.ensure_future(writing)
        await asyncio.sleep(0)  # the write is on its way before the claim that follows: both become one transaction
        self._count_out(outcomes)
        refused = await task
        self._recalls.written(outcomes, self._storage.pending_leases)
        self._keep_unwritten()
        if retried := [one.row.due_at for _, one in settled if one.row.due_at is not None]:
            self._claims.hint(min(retried) + skew_us)
        self._let_go_on(outcomes, serial)
        decided = await as_decided(self._storage, settled)
        self._hooks.tell_ends(decided, {Lease(row.id, row.claim) for row in refused}, self._settings.late_s)

    def _count_out(self, outcomes: list[Outcome]) -> None:
        """Count runs out that are over. What waited for a slot, or for a lost task's end, may be claimed now."""
        ended: dict[Lane, list[bool]] = {}
        lost = self._claims.lost
        for outcome in outcomes:
            if self._runs.pop(_lease(outcome), None) is not None:
                lane = self.lane_of.pop(_lease(outcome))
                ended.setdefault(lane, []).append(outcome.ending is not Ending.NOT_STARTED)
                self._claims.lost -= outcome.run.task.lost > 0
        now_s = self._clock.boot_s()
        for lane, ran in ended.items():
            lane.ended(len(ran), sum(ran), now_s)
        for lane in self._lanes:
            if self._claims.lost < lost or (lane.crowded and lane in ended):
                lane.timer.hint(0)
        self._claims.wake()

    def _let_go_on(self, outcomes: list[Outcome], serial: set[Lane | None]) -> None:
        """Let go on what waited for the end of an occurrence: the next of its schedule, or a decision about it.

        `serial` are the lanes in which those ran that others may have waited for.
        """
        if any(lane is None or not lane.behind for lane in serial):  # one that is behind claims anyway
            self._claims.hint(0)
        if any(stored_options(text).reports for text in {one.run.task.options for one in outcomes}):
            for service in self._services:
                service.hint()

    # -- What could not be written

    def _keep_unwritten(self) -> None:
        """Keep what could not be written yet: it may be refused later, and that is to be told, too."""
        if not self._storage.unwritten:
            self._unwritten.clear()
            return
        known = self._unwritten
        self._unwritten = {lease: known[lease] for lease in self._storage.pending_leases() if lease in known}

    def _refused_late(self, rows: Sequence[Finish]) -> None:
        for row in rows:
            if (outcome := self._unwritten.pop(Lease(row.id, row.claim), None)) is not None:
                self._hooks.tell_refused(outcome)


def _lease(outcome: Outcome) -> Lease:
    return Lease(outcome.run.task.id, outcome.run.claim)


def _is_serial(outcome: Outcome) -> bool:
    """Return whether another task may have waited for this one's end."""
    options = outcome.run.task.options
    return options is not None and stored_options(options).serial
