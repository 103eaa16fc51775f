"""When the engine claims, and for which lanes: by the timers, after errors again, and at once where a hint says so.

Lanes that could take whatever comes claim together (`parties_of`).

What it gets it hands to `dispatch`. Most of it runs on the engine's loop; a claim that follows a hint while that rests
is asked for by the hinting thread (see `hints`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from random import Random

from kokugen.clock import Clock
from kokugen.engine.hints import Hints
from kokugen.engine.lane import Lane, Party, parties_of
from kokugen.engine.lanes import Lanes
from kokugen.errors import RepositoryError
from kokugen.repository.rows import ClaimAnswer
from kokugen.settings import Settings
from kokugen.task_storage.leasing import Asked, LeasedTasks

BACKOFF_S_MAX = 4.0
"""How long a claim is put off at most after an error: what is due is to start soon after the store is back."""
JITTER = 0.1
"""By how much of it the next poll may come earlier, so that nodes that started together do not poll together."""

Dispatch = Callable[[Party, ClaimAnswer, float], object]
Answers = dict[Party, RepositoryError | None]
"""What kept each party from its claim: None, or an error."""

logger = logging.getLogger("kokugen")


class Claims:
    """Claims for the lanes of one engine. `lost` is how many of its runs were lost before; one may run at a time."""

    def __init__(
        self,
        storage: LeasedTasks,
        lanes: Lanes,
        dispatch: Dispatch,
        *,
        clock: Clock,
        random: Random,
        settings: Settings,
    ) -> None:
        self.lost = 0
        self.hints = Hints(self.hint, self._ask_all, clock=clock, settings=settings)
        self._storage = storage
        self._lanes = lanes
        self._dispatch = dispatch
        self._clock = clock
        self._random = random
        self._settings = settings
        self._skip: set[str] = set()
        self._strict: set[str] = set()
        self._turn: Lane | None = None
        self._unanswered: dict[Party, Asked] = {}
        self._backoff_s = 0.0
        self._wake = asyncio.Event()

    async def run(self, stop: asyncio.Event, settled: Callable[[], object]) -> None:
        """Claim until the stop; call `settled()` whenever all that was asked for has been answered and handed out."""
        while not stop.is_set():
            self._lanes.share_works()
            self._skip = {work_id for work_id in self._skip if not self._lanes.runs(work_id)}
            ready = [lane for lane in self._lanes if self._is_ready(lane)]
            answers = await (self._claim_all(ready) if ready else self._rest())
            if answers and not self._put_off({party: error for party, error in answers.items() if error is not None}):
                settled()

    # -- What others tell, on the loop

    def wake(self) -> None:
        """Have it look again: there may be room."""
        self._wake.set()

    async def wait(self, timeout_s: float) -> None:
        """Wait until it would look again, at most so long."""
        self._wake.clear()
        waking = asyncio.get_running_loop().call_later(timeout_s, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            waking.cancel()

    def hint(self, due_us: int) -> None:
        """Take note that a task due then may have come."""
        for lane in self._lanes:
            if lane.timer.hint(due_us):
                self._wake.set()

    def skip(self, work_id: str) -> None:
        """Do not claim this work until it is known here."""
        self._skip.add(work_id)

    def be_strict(self, work_id: str) -> None:
        """Claim the tasks of this work to run at most once, as it is declared here, whatever is stored with them."""
        self._strict.add(work_id)

    # -- Claiming

    async def _rest(self) -> Answers:
        """Wait until there is something to claim, or the time to poll has come; take what was asked for meanwhile."""
        answered = asyncio.get_running_loop().create_future()
        answered.add_done_callback(lambda _: self._wake.set())
        self.hints.rest(answered)
        try:
            await self.wait(self._idle_s())
        finally:
            asked = self.hints.resume()
        asking = {lane for party in asked for lane in party}
        for lane in self._lanes:
            if asked and lane not in asking:  # what came may be for it
                lane.timer.hint(0)
        return {party: await self._answered(party, one) for party, one in asked.items()}

    async def _claim_all(self, ready: list[Lane]) -> Answers:
        """Claim for these lanes at once; where the answer to an earlier claim of theirs was lost, adopt that first."""
        lost = [party for party in self._unanswered if not set(party).isdisjoint(ready)]
        adopted = dict(zip(lost, await asyncio.gather(*map(self._adopt, lost)), strict=True))
        if any(adopted.values()):
            return adopted
        ready = [lane for lane in ready if self._may_claim(lane)]
        return adopted | (await self._claim_as_parties(ready) if ready else {})

    async def _claim_as_parties(self, ready: list[Lane]) -> Answers:
        turn = None if self.lost else self._turn if self._turn in ready else ready[0]
        poll_s = self._settings.poll_s * (1 - JITTER * self._random.random())
        for lane in ready:
            lane.timer.asked(self._clock.boot_s() + poll_s)
        parties = parties_of(ready)
        asked = [self._ask(party, lost_max=int(turn in party)) for party in parties]
        answers = await asyncio.gather(*map(self._answered, parties, asked))
        if turn is not None and len(parties) > 1:
            self._pass_on(turn, ready)
        return dict(zip(parties, answers, strict=True))

    def _pass_on(self, turn: Lane, ready: list[Lane]) -> None:
        """Lanes take turns to be handed a task that was lost before: one at a time runs.

        Where there is none for the lane whose turn it is, the next one asks right away.
        """
        self._turn = self._lanes.after(turn)
        if not self.lost and self._turn in ready:
            self._turn.timer.hint(0)

    def _put_off(self, failed: dict[Party, RepositoryError]) -> bool:
        """Let lanes wait whose claim failed, each time longer; return whether there are any."""
        grown_s = max(0.1, self._backoff_s * 2 + self._random.random() * 0.1)
        self._backoff_s = min(BACKOFF_S_MAX, grown_s) if failed else 0.0
        for party, error in failed.items():
            logger.warning("cannot claim, trying again in %.1f s: %s", self._backoff_s, error)
            for lane in party:
                lane.timer.failed(self._clock.boot_s(), self._backoff_s)
        return bool(failed)

    def _is_ready(self, lane: Lane) -> bool:
        return self._may_claim(lane) and lane.timer.wait_s(self._clock.wall_us(), self._clock.boot_s()) <= 0

    def _may_claim(self, lane: Lane) -> bool:
        if lane.only is not None and not lane.only:
            return False
        return lane.room > 0 and self._storage.unwritten < self._settings.outbox_max

    def _idle_s(self) -> float:
        """Return how long nothing needs to be asked; at most the poll."""
        now_us, now_s = self._clock.wall_us(), self._clock.boot_s()
        waits = [lane.timer.wait_s(now_us, now_s) for lane in self._lanes if self._may_claim(lane)]
        return max(0.0, min(waits, default=self._settings.poll_s))

    async def _adopt(self, party: Party) -> RepositoryError | None:
        """Hand out what a claim took whose answer was lost; return what kept it from that."""
        asked = self._unanswered[party]
        try:
            answer = await self._storage.adopt(asked)
        except RepositoryError as error:
            return error
        self._received(party, answer, asked)
        return None

    async def _answered(self, party: Party, asked: Asked) -> RepositoryError | None:
        """Hand out what a claim takes; return what kept it from that."""
        try:
            answer = await self._storage.answer(asked)
        except RepositoryError as error:
            return error
        self._received(party, answer, asked)
        return None

    def _received(self, party: Party, answer: ClaimAnswer, asked: Asked) -> None:
        del self._unanswered[party]
        for lane in party:
            lane.crowded = len(answer.tasks) >= asked.slots
            lane.behind = answer.more
            lane.timer.answered(answer.next_due, more=answer.more)
        self._dispatch(party, answer, asked.sent_s)

    def _ask_all(self) -> dict[Party, Asked]:
        """Ask for what is due in the place of the loop, which rests: for lanes that have room and are answered."""
        unanswered = {lane for party in self._unanswered for lane in party}
        lanes = [lane for lane in self._lanes if self._may_claim(lane) and lane not in unanswered]
        return {party: self._ask(party, lost_max=0) for party in parties_of(lanes)}

    def _ask(self, party: Party, lost_max: int) -> Asked:
        slots = min(lane.slots for lane in party)
        asked = self._unanswered[party] = self._storage.ask(
            slots=slots,
            buffer=min(lane.room for lane in party) - slots,
            lost_max=lost_max,
            queues=party[0].queues,
            only=_works_of(party),
            skip=frozenset(self._skip),
            strict=frozenset(self._strict),
        )
        return asked


def _works_of(party: Party) -> frozenset[str] | None:
    """Return the works that these lanes claim; None: whatever there is."""
    works = [lane.only for lane in party if lane.only is not None]
    return frozenset().union(*works) if len(works) == len(party) else None
