"""The engine: timer → claim → dispatch → finish, and beside it beat, watch and housekeeping.

It is one asyncio program on a loop of its own, on which no user code runs. The scheduler starts it in a thread, a
test in virtual time. It asks the task storage (policy) and hands runs to dispatchers; they report back by `deliver`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from random import Random

from kokugen.clock import SECOND_US, Clock
from kokugen.dispatcher.protocol import Dispatcher, Ending, Outcome
from kokugen.engine.beat import Beat
from kokugen.engine.claims import Claims
from kokugen.engine.endings import Endings
from kokugen.engine.hooks import Hooks
from kokugen.engine.lane import Lane, Party
from kokugen.engine.lanes import Lanes, make_run
from kokugen.engine.pulse import Pulse
from kokugen.engine.reports import Reports
from kokugen.engine.service import Service
from kokugen.errors import KokugenError, RepositoryError
from kokugen.middleware.payloads import Payloads
from kokugen.registry.protocol import WorkRegistry
from kokugen.repository.protocol import ENDED, STOP_ASKED
from kokugen.repository.rows import ClaimAnswer, Claimed, Lease
from kokugen.run import Interrupt, Run, Signal
from kokugen.settings import Settings
from kokugen.task_storage.leasing import PRUNED_MAX, LeasedTasks
from kokugen.task_storage.settlement import give_back

logger = logging.getLogger("kokugen")

STOP_S = 2.0
PRUNE_PAUSE_S = 0.1
FLUSH_S = 0.2


class Engine:
    """Runs what is due. Other threads may call `hint`, `deliver`, `drop`, `recall` and `request_stop` alone."""

    def __init__(
        self,
        storage: LeasedTasks,
        dispatchers: Sequence[Dispatcher],
        registry: WorkRegistry,
        *,
        queues: tuple[str, ...],
        places: Sequence[Dispatcher] = (),
        clock: Clock,
        random: Random,
        settings: Settings,
        hooks: Hooks,
        payloads: Payloads | None = None,
        services: Sequence[Service] = (),
    ) -> None:
        self.storage = storage
        self.stopping = Signal()
        self.runs: dict[Lease, Run] = {}
        self._dispatchers = (*dispatchers, *places)
        self._clock = clock
        self._settings = settings
        self._payloads = payloads
        self._services = services
        self._early: dict[Lease, str | None] = {}
        self._spawned: set[asyncio.Future[object]] = set()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stop_asked, self._in_hand = asyncio.Event(), asyncio.Event()
        self._lanes = Lanes(dispatchers, registry, settings, queues=queues, places=places)
        storage.offers = lambda: self._lanes.offers(storage.repository.namespace).text
        self._keeper = Beat(storage, self.runs, self.drop, clock=clock, settings=settings)
        self._pulse = Pulse(clock, gap_s=2 * settings.beat_s)
        self._reports = Reports(storage, clock)
        self._claims = Claims(storage, self._lanes, self._dispatch, clock=clock, random=random, settings=settings)
        self._endings = Endings(
            storage,
            self.runs,
            self._claims,
            self._lanes,
            hooks,
            services,
            clock=clock,
            random=random,
            settings=settings,
        )
        self.deliver, self.recall = self._endings.deliver, self._endings.recall

    # -- From any thread

    def hint(self, due_us: int) -> None:
        """Take note that a task due then may have come, or that runs may have been asked to stop (`STOP_ASKED`)."""
        if due_us == ENDED:
            return
        if due_us > STOP_ASKED:
            self._claims.hints.hint(due_us)
        elif self._loop is not None and self.runs and not self._keeper.told:
            self._keeper.told = True
            self._call(self._loop, self._hear_of_stops)

    def drop(self, task_id: str, claim: str, reason: str | None) -> bool:
        """Stop one run that was cancelled here: True if it had not started, and now never will."""
        lease = Lease(task_id, claim)
        if lease not in self.runs:
            self._early[lease] = reason  # the answer to its claim may be on its way
        run = self.runs.get(lease)
        if run is None:
            return False
        if run.begin():
            self.deliver(Outcome(run=run, ending=Ending.CANCELLED, text=reason))
            return True
        run.ask_to_stop(Interrupt.CANCEL, reason)
        return False

    def request_stop(self, grace_s: float) -> None:
        """Begin to stop: `run` returns within the grace period and a little more."""
        if self._loop is not None:
            self._call(self._loop, self._on_stop, grace_s)

    @staticmethod
    def _call(loop: asyncio.AbstractEventLoop, what: Callable[..., object], *args: object) -> None:
        with suppress(RuntimeError):  # the loop was closed: nobody is there to be told any more
            loop.call_soon_threadsafe(what, *args)

    # -- On the loop

    async def run(self, started: Callable[[], object] = lambda: None) -> bool:
        """Run until `request_stop`; return whether everything that was started here has ended.

        Raises RepositoryError where the store cannot be opened.
        """
        self._loop = asyncio.get_running_loop()
        self._grace_s = self._settings.grace_s
        self._claims.hints.open(self._loop)
        self._endings.open(self._loop)
        await self.storage.start()
        unlisten = self.storage.repository.listen(self.hint)
        for dispatcher in self._dispatchers:
            dispatcher.start(self.deliver)
        loops = [
            asyncio.create_task(self._claims.run(self._stop_asked, self._early.clear), name="claims"),
            asyncio.create_task(self._endings.run(), name="endings"),
            asyncio.create_task(self._every(self._settings.beat_s, self._keeper.beat), name="beat"),
            asyncio.create_task(self._every(self._settings.beat_s, self.storage.flush), name="outbox"),
            asyncio.create_task(self._every(self._settings.margin_s / 2, self._mistrust), name="trust"),
            asyncio.create_task(self._every(self._settings.watch_s, self._watch), name="watch"),
            asyncio.create_task(self._every(self._settings.surplus_s, self._give_back), name="surplus"),
            asyncio.create_task(self._every(self._settings.prune_s, self._prune), name="prune"),
            asyncio.create_task(self._reports.run(), name="reports"),
            *(asyncio.create_task(service.run(), name=type(service).__name__) for service in self._services),
        ]
        started()
        try:
            await self._first_of(loops)
            return await self._stop(loops)
        finally:
            unlisten()
            for task in loops:
                task.cancel()
            await asyncio.gather(*loops, return_exceptions=True)
            for run in list(self.runs.values()):  # nobody extends their leases any more
                run.ask_to_stop(Interrupt.LEASE_LOST)
            for dispatcher in self._dispatchers:
                dispatcher.stop()
            self._endings.close()
            self._claims.hints.close()
            self._loop = None

    async def _first_of(self, loops: list[asyncio.Task[None]]) -> None:
        """Wait for the stop; a loop that ended before it is a bug, and ends the engine loudly."""
        stop = asyncio.create_task(self._stop_asked.wait())
        done, _ = await asyncio.wait([stop, *loops], return_when=asyncio.FIRST_COMPLETED)
        stop.cancel()
        for task in done - {stop}:
            task.result()

    def _on_stop(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._stop_asked.set()
        self._claims.wake()

    # -- Dispatch

    def _dispatch(self, party: Party, answer: ClaimAnswer, sent_s: float) -> None:
        """Make runs of what was claimed and hand each dispatcher its part, in one go.

        Of the tasks that were lost before one runs at a time, so that a poison task dies alone.
        """
        trusted_until_s = sent_s + self._settings.ttl_s - self._settings.margin_s
        parts: dict[tuple[Lane, Dispatcher], list[Run]] = {}
        for task in answer.tasks:
            if self._stop_asked.is_set() or (task.lost and self._claims.lost):  # it was claimed meanwhile
                self._return(task, answer.claim)
                continue
            work = self._lanes.load(task.work_id)
            place = self._lanes.place_of(work, party) if work is not None else None
            if work is None or place is None:
                self._leave(task, answer.claim)
                continue
            if task.mode < work.declared.mode:  # it was scheduled without the code: claim it again, as it is declared
                self._claims.be_strict(task.work_id)
                self._return(task, answer.claim)
                continue
            run = make_run(
                task,
                answer.claim,
                work,
                stopping=self.stopping,
                trusted_until_s=trusted_until_s,
                skew_us=self.storage.skew_us,
            )
            run.completer, run.reporter = self.storage.completer, self._reports.say
            if self._payloads is not None:
                run.work, run.conceals = self._payloads.work_of(task, work), self._payloads.conceals
            lease = Lease(task.id, answer.claim)
            assert lease not in self.runs, "a claim never repeats"
            self.runs[lease] = run
            self._endings.lane_of[lease] = place[0]
            self._claims.lost += task.lost > 0
            if self._early and lease in self._early:
                self.drop(task.id, answer.claim, self._early[lease])
            parts.setdefault(place, []).append(run)
        for (lane, dispatcher), runs in parts.items():
            lane.took(len(runs))
            dispatcher.dispatch(runs)
        if parts:
            self._in_hand.set()

    def _leave(self, task: Claimed, claim: str) -> None:
        """Give back work that is unknown here, for nodes that know it, and do not ask for it until it is known."""
        self._claims.skip(task.work_id)
        self._return(task, claim)

    def _return(self, task: Claimed, claim: str) -> None:
        self._spawn(self.storage.finish([give_back(task.id, claim)]))

    # -- Beside it

    async def _every(self, period_s: float, step: Callable[[], Awaitable[object]]) -> None:
        """Do a step once in every period. A store that does not answer is tried again the next time."""
        pause_s = period_s
        while True:
            await asyncio.sleep(pause_s)
            begun_s = self._clock.boot_s()
            try:
                await step()
            except KokugenError as error:
                logger.warning("%s: %s", getattr(step, "__name__", "step"), error)
            pause_s = max(0.0, period_s - (self._clock.boot_s() - begun_s))

    async def _prune(self) -> None:
        """Delete what is past retention, pass by pass: with a pause, so that no claim waits long behind them."""
        while await self.storage.prune() >= PRUNED_MAX:  # noqa: ASYNC110 - no event is waited for
            await asyncio.sleep(PRUNE_PAUSE_S)

    async def _mistrust(self) -> None:
        """See whether leases are still to be trusted, and whether time itself went as it should."""
        if what := self._pulse.look():
            logger.warning("%s: looking at everything anew", what)
            self._claims.hint(0)
        self._keeper.mistrust()

    async def _watch(self) -> None:
        recovered = await self.storage.watch(self.runs.keys())
        if recovered:
            logger.warning("took over %d runs that nobody keeps any more", len(recovered))
            self._claims.hint(0)

    async def _give_back(self) -> None:
        """Release what has waited too long for a slot, and what is due much later, for the clock was set back (T10).

        Where nothing is in hand, first wait for it: an idle engine is not to wake for this.
        """
        if not self.runs:
            self._in_hand.clear()
            await self._in_hand.wait()
        now_us, now_s, settings = self._clock.wall_us(), self._clock.boot_s(), self._settings
        far_us = now_us + int((settings.ahead_s + settings.poll_s) * SECOND_US)
        for run in [run for run in self.runs.values() if run.not_before_us > far_us]:
            self._release(run)
        crowded = [lane for lane in self._lanes if lane.surplus]
        if not crowded:
            return
        claimed_before_s = now_s - settings.surplus_s + settings.ttl_s - settings.margin_s
        waiting = [run for run in self.runs.values() if not run.begun and run.not_before_us <= now_us]
        stale = [run for run in waiting if run.trusted_until_s <= claimed_before_s]
        for run in stale:
            self._release(run)
        for lane in crowded if stale else ():
            lane.gave_back(now_s)

    def _release(self, run: Run) -> None:
        if run.begin():
            self.deliver(Outcome(run=run, ending=Ending.NOT_STARTED))

    # -- Stop

    def _hear_of_stops(self) -> None:
        self._spawn(self._keeper.hear_of_stops())

    async def _stop(self, loops: list[asyncio.Task[None]]) -> bool:
        until_s = self._clock.boot_s() + self._grace_s
        claims = loops[:1]
        await asyncio.wait(claims, timeout=self._settings.rpc_s)  # for the answer to the last one
        claims[0].cancel()
        await asyncio.wait(claims)
        self.stopping.set(Interrupt.STOP.value)
        for run in list(self.runs.values()):
            self._release(run)
        if not await self._drained(until_s):
            for run in list(self.runs.values()):
                run.ask_to_stop(Interrupt.STOP)
            await self._drained(self._clock.boot_s() + STOP_S)
        clean = not self.runs
        if not clean:
            logger.warning("%d runs would not stop and go on without us", len(self.runs))
        await self._sign_off(clean, until_s)
        return clean

    async def _sign_off(self, clean: bool, until_s: float) -> None:
        """Write what is left to write, as long as there is time; say that this node stopped where nothing runs on."""
        with suppress(TimeoutError):
            async with asyncio.timeout(self._settings.rpc_s):
                await self._endings.settled.wait()  # what has ended is told, too
        while not await self.storage.flush() and self._clock.boot_s() < until_s:  # noqa: ASYNC110 - no event to wait for
            await asyncio.sleep(FLUSH_S)
        try:
            await self.storage.give_back_unanswered()
            if clean and self.storage.unwritten == 0:
                await self.storage.retire()
        except RepositoryError as error:
            logger.warning("could not sign off: %s", error)

    async def _drained(self, until_s: float) -> bool:
        """Wait until no run is left, at most until then; return whether none is."""
        while (self.runs or self._endings.waiting) and (left_s := until_s - self._clock.boot_s()) > 0:
            await self._claims.wait(min(0.1, left_s))
        await asyncio.sleep(0)
        return not self.runs

    def _spawn(self, work: Awaitable[object]) -> None:
        task = asyncio.ensure_future(work)
        self._spawned.add(task)
        task.add_done_callback(self._spawned.discard)
