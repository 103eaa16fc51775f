"""The policy of a store that leases its tasks: claim, keep, finish, watch, recover. The engine says when.

`SingleNodeTaskStorage` holds the store alone: what others left Working is recovered at start. `MultiNodeTaskStorage`
shares it: other nodes' runs are watched, and recovered when their process is surely gone or they were seen
unchanged for their ttl on this node's boot clock. No wall clock decides that.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Sequence
from datetime import timedelta
from typing import TypeVar

from msgspec import Struct

from kokugen.clock import SECOND_US, STEP_S, Clock, duration_us, from_us, to_us
from kokugen.errors import RepositoryError, UnknownOutcomeError
from kokugen.ids import IdSource
from kokugen.process import is_gone
from kokugen.reply import Reply
from kokugen.repository.protocol import DurableRepository
from kokugen.repository.rows import (
    NO_AGEING_US,
    Beaten,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    Recovered,
    Report,
    Retention,
    Revision,
)
from kokugen.run import Run
from kokugen.settings import Settings
from kokugen.task import NodeInfo, TaskInfo, TaskQuery, TaskState, replace
from kokugen.task_storage.completion import Completer, done_by
from kokugen.task_storage.settlement import give_back
from kokugen.task_storage.sightings import Sightings

NOT_RESTORED = "not restored"
NOBODY = ""
"""The id of no node: everyone's runs are those of others to it."""
PAGE = 1000
PRUNED_MAX = 1000
"""How many tasks one pass deletes."""

T = TypeVar("T")


class Asked(Struct, frozen=True):
    """A claim that was asked for at `sent_s` on the boot clock: from then its leases count; `sent_us` on the wall's."""

    nonce: str
    slots: int
    sent_s: float
    sent_us: int
    reply: Reply[ClaimAnswer]


class LeasedTasks:
    """One node's dealings with a durable repository. No answer is waited for longer than `rpc_s`."""

    def __init__(
        self,
        repository: DurableRepository,
        *,
        node: NodeInfo,
        clock: Clock,
        ids: IdSource,
        settings: Settings,
        shared: bool = True,
        should_restore: Callable[[TaskInfo], bool] | None = None,
    ) -> None:
        self.repository = repository
        self.node = node
        self.shared = shared
        self.fenced = 0
        self.skew_us = 0
        """By how much this node's wall clock is ahead of the store's, which says what is due, as far as that shows."""
        self.refused_late: Callable[[Sequence[Finish]], object] = lambda _: None
        """Is told of outcomes that could not be written at first, and were refused when they were tried again."""
        self.offers: Callable[[], str] = str
        """Returns what this node says that it runs, as `NodeInfo` keeps it."""
        self.completer = Completer(repository)
        self._clock = clock
        self._ids = ids
        self._settings = settings
        self._should_restore = should_restore
        self._outbox: dict[Lease, Finish] = {}
        self._writing: set[Lease] = set()
        self._compared_us = 0
        """By how much the wall clock was ahead of the boot clock when clocks were compared."""
        self._sightings = Sightings(clock, gap_s=2 * max(settings.beat_s, settings.watch_s))
        self._unanswered: dict[str, Asked] = {}

    @property
    def unwritten(self) -> int:
        """Return how many outcomes wait to be written."""
        return len(self._outbox)

    def pending_leases(self) -> list[Lease]:
        """Return the leases whose outcome waits to be written: they are kept by beats like running ones."""
        return list(self._outbox)

    def inherit(self, before: LeasedTasks) -> None:
        """Take over what an earlier start of this scheduler could not write: no outcome is dropped."""
        self._outbox.update(before._outbox)

    async def start(self) -> list[Recovered]:
        """Join: write down this node, take over what dead nodes left, hold back what is not to be restored."""
        await self._answered(self.repository.register(self._seen()), "joining")
        await self._ask_the_time()
        recovered = await self.watch(everything=not self.shared)
        await self.sync()
        return recovered

    def ask(
        self,
        *,
        slots: int,
        buffer: int,
        lost_max: int,
        queues: tuple[str, ...],
        only: frozenset[str] | None,
        skip: frozenset[str],
        strict: frozenset[str],
    ) -> Asked:
        """Ask for due tasks; `answer` waits for them."""
        request = ClaimRequest(
            node_id=self.node.node_id,
            nonce=self._ids.nonce(),
            slots=slots,
            buffer=buffer,
            lost_max=lost_max,
            queues=queues,
            only=only,
            skip=skip,
            strict=strict,
            ahead_us=int(self._settings.ahead_s * 1_000_000),
            ageing_us=int(min(self._settings.ageing_s * 1_000_000, NO_AGEING_US)),
            ttl_s=self._settings.ttl_s,
        )
        sent_s, sent_us = self._clock.boot_s(), self._clock.wall_us()
        reply = self.repository.claim(request)
        asked = self._unanswered[request.nonce] = Asked(request.nonce, slots, sent_s, sent_us, reply)
        return asked

    async def answer(self, asked: Asked) -> ClaimAnswer:
        """Wait for a claim. Raises RepositoryError; then `adopt` what it may have taken."""
        answer = await self._answered(asked.reply, "claiming")
        del self._unanswered[asked.nonce]
        self._compare_clocks(asked.sent_us, asked.sent_s, answer.now)
        return answer

    async def adopt(self, asked: Asked) -> ClaimAnswer:
        """Return what a claim took whose answer was lost. Raises RepositoryError."""
        sent_us, sent_s = self._clock.wall_us(), self._clock.boot_s()
        answer = await self._answered(self.repository.held(self.node.node_id, asked.nonce), "adopting a claim")
        del self._unanswered[asked.nonce]
        self._compare_clocks(sent_us, sent_s, answer.now)
        adopted: ClaimAnswer = replace(answer, more=True)
        return adopted

    async def _ask_the_time(self) -> None:
        """Compare clocks before anything is decided by them."""
        sent_us, sent_s = self._clock.wall_us(), self._clock.boot_s()
        answer = await self._answered(self.repository.held(self.node.node_id, NOBODY), "asking for the time")
        self._compare_clocks(sent_us, sent_s, answer.now)

    def _compare_clocks(self, sent_us: int, sent_s: float, store_us: int) -> None:
        """Learn how wrong this node's wall clock is at least: the store read its own between question and answer."""
        self._compared_us = sent_us - round(sent_s * SECOND_US)
        self.skew_us = max(sent_us - store_us, 0) or min(self._clock.wall_us() - store_us, 0)

    async def current_skew_us(self) -> int:
        """Return the skew; where this node's clock was set since clocks were compared, compare them anew before.

        Raises RepositoryError.
        """
        ahead_us = self._clock.wall_us() - round(self._clock.boot_s() * SECOND_US)
        if abs(ahead_us - self._compared_us) > STEP_S * SECOND_US:
            await self._ask_the_time()
        return self.skew_us

    async def give_back_unanswered(self) -> None:
        """Give back what was claimed without an answer, so that nothing is left that nobody runs.

        Raises RepositoryError.
        """
        for asked in list(self._unanswered.values()):
            answer = await self.adopt(asked)
            await self.finish([give_back(task.id, answer.claim) for task in answer.tasks])

    async def finish(self, rows: Sequence[Finish]) -> list[Finish]:
        """Write outcomes and return those that are refused, because another claim holds the task.

        What cannot be written now goes to the outbox, to be retried by `flush` for ever.
        """
        written = {Lease(row.id, row.claim): row for row in rows}
        self._outbox |= written
        self._writing |= written.keys()
        try:
            answers = await self._answered(self.repository.finish(rows), "finishing")
        except RepositoryError:
            return []
        finally:
            self._writing -= written.keys()
        for lease in written:
            self._outbox.pop(lease, None)
        refused = [row for row, answer in zip(rows, answers, strict=True) if answer is Finished.FENCED]
        self.fenced += len(refused)
        return refused

    async def flush(self) -> bool:
        """Try again to write what could not be written (the seed's RetryMarking); return whether all is written.

        What is being written is left to those who wait for the answer.
        """
        rows = [row for lease, row in self._outbox.items() if lease not in self._writing]
        if rows and (refused := await self.finish(rows)):
            self.refused_late(refused)
        return not self._outbox

    async def beat(self, leases: Sequence[Lease]) -> list[Beaten]:
        """Extend leases."""
        return await self._answered(self.repository.beat(leases), "beating") if leases else []

    async def completed(self, runs: Sequence[Run]) -> set[Lease]:
        """Return those of the runs that are Done by their own completion. Raises RepositoryError."""
        infos = await self._answered(self.repository.get([run.task.id for run in runs]), "reading completed tasks")
        return done_by(runs, infos)

    async def report(self, rows: Sequence[Report]) -> None:
        """Write what runs say of their progress. Raises RepositoryError where the store does not answer."""
        await self._answered(self.repository.report(rows), "telling of progress")

    async def announce(self) -> None:
        """Tell the store, for those who look at it, that this node is alive."""
        await self._answered(self.repository.register(self._seen()), "announcing this node")

    def _seen(self) -> NodeInfo:
        seen: NodeInfo = replace(self.node, seen_at=self._clock.wall_us(), offers=self.offers())
        return seen

    async def watch(self, known: Collection[Lease] = (), *, everything: bool = False) -> list[Recovered]:
        """Look at all runs but the known ones, and recover the lost; `everything`: all those of other nodes.

        What is this node's by the store and not known here was taken by a claim that was committed after it was given
        up: a lock held it up, or a network. Nobody runs it, and no other node may be there to take it over.
        """
        observed = await self._answered(self.repository.watch(NOBODY), "watching")
        strange = [
            one for one in observed if (lease := Lease(one.id, one.claim)) not in known and lease not in self._outbox
        ]
        stale = {Lease(one.id, one.claim) for one in self._sightings.stale(strange)}
        gone = await self._gone({one.owner for one in strange} - {self.node.node_id}, everything=everything)
        lost = [one for one in strange if one.owner in gone or Lease(one.id, one.claim) in stale]
        return await self._answered(self.repository.recover(lost), "recovering") if lost else []

    async def _gone(self, owners: set[str], *, everything: bool) -> set[str]:
        """Return those of the nodes whose runs need not be watched any longer, for their process is surely gone."""
        if everything or not owners:
            return owners
        nodes = await self._answered(self.repository.nodes(), "listing nodes")
        return {node.node_id for node in nodes if node.node_id in owners and is_gone(node, self.node)}

    async def sync(self) -> tuple[dict[str, TaskInfo], dict[str, Exception]]:
        """Look at every overdue task with `should_restore`; return those that are restored, and errors by id.

        Refused ones are held back (`hold` "not restored") until they are released. Without `should_restore` there
        is nothing to decide: claims see every committed row that is due.
        """
        restored: dict[str, TaskInfo] = {}
        errors: dict[str, Exception] = {}
        if self._should_restore is None:
            return restored, errors
        query = TaskQuery(
            states=frozenset({TaskState.INITIALIZED}),
            held=False,
            due_before=from_us(self._clock.wall_us()),
            limit=PAGE,
        )
        while page := await self._answered(self.repository.page(query), "listing overdue tasks"):
            await asyncio.gather(*(self._restore(info, restored, errors) for info in page))  # in few transactions
            query = replace(query, after=_position(page[-1]))
        return restored, errors

    async def _restore(self, info: TaskInfo, restored: dict[str, TaskInfo], errors: dict[str, Exception]) -> None:
        assert self._should_restore is not None
        try:
            if self._should_restore(info):
                restored[info.id] = info
            else:
                revision = Revision(hold=NOT_RESTORED, rev=info.rev)
                await self._answered(self.repository.revise(info.id, revision), "holding back")
        except Exception as error:  # noqa: BLE001 - the user's should_restore may raise anything
            errors[info.id] = error

    async def prune(self) -> int:
        """Delete one batch of what is past retention; return how many."""
        keep = self._settings
        retention = Retention(
            done_before=self._past(keep.keep_done),
            cancelled_before=self._past(keep.keep_cancelled),
            failed_before=self._past(keep.keep_failed),
            limit=PRUNED_MAX,
        )
        return await self._answered(self.repository.prune(retention), "pruning")

    async def _answered(self, reply: Reply[T], what: str) -> T:
        """Wait for an answer, but not for ever. Raises UnknownOutcomeError."""
        if reply.done():
            return reply.peek()
        try:
            async with asyncio.timeout(self._settings.rpc_s):
                return await reply
        except TimeoutError as error:
            if reply.done():  # it came at the last moment, or is such an error itself
                return reply.peek()
            raise UnknownOutcomeError(what) from error

    def _past(self, span: timedelta) -> int:
        return self._clock.wall_us() - duration_us(span)

    async def retire(self) -> None:
        """Leave: nothing of this node can still be running."""
        await self._answered(self.repository.retire(self.node.node_id), "leaving")


def _position(info: TaskInfo) -> tuple[int, str]:
    return to_us(info.due_at or info.scheduled_time), info.id
