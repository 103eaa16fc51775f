"""How calls become statements: a lane takes all that is queued of one kind and sends it as one statement.

While a statement is under way the next batch gathers: many concurrent calls become one statement, and an idle store
answers at once. A call is answered within its time whatever happens: with its value, or with an error that says
whether it may have happened.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from itertools import islice
from typing import Any

import asyncpg
from msgspec import Struct

from kokugen.clock import Clock
from kokugen.errors import KokugenError, RepositoryUnavailableError, UnknownOutcomeError
from kokugen.reply import Reply, resolve_all
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.failures import AGAIN, GONE, LOST, STALE, explain
from kokugen.repository.postgres.pool import Pool
from kokugen.repository.postgres.session import Session
from kokugen.repository.postgres.statement import common
from kokugen.repository.postgres.unsettled import Unsettled

ROWS_MAX = 2000
ROWS_MUCH = 500
"""A call with so many rows need not wait for others to come with it."""
BYTES_MAX = 16_000_000
LOOK_S = 0.1
AGAIN_S = 0.01

Answer = tuple[Reply[Any], Any]


class Scope(Struct, frozen=True):
    """What every statement is bound to."""

    session: Session
    schema: str
    namespace: str
    clock: Clock
    drift: Drift
    unsettled: Unsettled
    admitted: Callable[[], object]
    """Tell, here and elsewhere, that limits let tasks go."""

    @property
    def names(self) -> dict[str, Any]:
        """Return the parameters that all statements have."""
        return common(self.namespace, self.clock)


class Action(Struct, frozen=True, kw_only=True, eq=False):
    """What a call runs. One that is `repeatable` may be sent again where its answer was lost."""

    run: Callable[..., Awaitable[Any]]
    what: str
    lane: str
    merges: bool = False
    """Whether the rows of several calls go into one, whose answers are dealt out again."""
    repeatable: bool = False
    reads: bool = False
    size: Callable[[Any], int] | None = None
    """How many bytes a row brings, for rows that may be large."""


class Call(Struct, eq=False):
    """One call; `until_s` is when it must be answered, on the clock of event loops."""

    reply: Reply[Any]
    action: Action
    arguments: tuple[Any, ...]
    until_s: float
    task_ids: tuple[str, ...] = ()
    sent: bool = False
    """Whether it is under way now, or an earlier answer was lost: it may have happened."""

    @property
    def rows(self) -> Sequence[Any]:
        """Return the rows of a call that merges."""
        rows: Sequence[Any] = self.arguments[0]
        return rows


class Lane:
    """Calls in order, up to `width` statements at once. `submit` may be called from any thread."""

    def __init__(
        self, loop: asyncio.AbstractEventLoop, pool: Pool, bind: Callable[[Session], Scope], *, url: str, width: int
    ) -> None:
        self._loop = loop
        self._pool = pool
        self._bind = bind
        self._url = url
        self._width = width
        self._queue: deque[Call] = deque()
        self._under_way: list[list[Call]] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._told = False
        self._looking: asyncio.TimerHandle | None = None

    # -- From any thread

    def submit(self, call: Call) -> None:
        """Queue a call; the loop is woken once for all that come before it looks."""
        self._queue.append(call)
        if self._loop.is_closed():
            self.refuse()
        elif not self._told:
            self._told = True
            with suppress(RuntimeError):  # it was closed just now: whoever did that refuses what is queued
                self._loop.call_soon_threadsafe(self._wake)

    def refuse(self) -> None:
        """Answer what is queued, once the loop has ended and nobody else will."""
        closed = RepositoryUnavailableError(f"the store {self._url} was closed: open it again")
        with suppress(IndexError):  # others may do the same at once
            while True:
                _settle([(self._queue.popleft().reply, closed)])

    # -- On the loop

    async def drain(self) -> None:
        """Wait until every call is answered."""
        while self._queue or self._tasks:
            await asyncio.sleep(0)
            if self._tasks:
                await asyncio.wait(self._tasks)

    def _wake(self) -> None:
        self._told = False
        self._pump()

    def _pump(self) -> None:
        while self._queue and self._may_send(self._queue[0]):
            batch = self._gather()
            self._under_way.append(batch)
            self._spawn(self._serve(batch))
        if self._looking is None and self._under_way:
            self._looking = self._loop.call_later(LOOK_S, self._look)

    def _may_send(self, call: Call) -> bool:
        """Return whether another statement may go out: what merges gathers behind one under way, unless it is much."""
        sent = len(self._under_way)
        return sent < self._width and (not sent or not call.action.merges or len(call.rows) >= ROWS_MUCH)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _gather(self) -> list[Call]:
        """Take the next call, and those behind it that merge with it, up to a bound."""
        batch = [self._queue.popleft()]
        action = batch[0].action
        if not action.merges:
            return batch
        rows, size = _measure(batch[0])
        while self._queue and self._queue[0].action is action and rows < ROWS_MAX and size < BYTES_MAX:
            batch.append(self._queue.popleft())
            more = _measure(batch[-1])
            rows, size = rows + more[0], size + more[1]
        return batch

    async def _serve(self, batch: list[Call]) -> None:
        try:
            await self._answer(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer: a call is never left without one
            _settle([(call.reply, self._explained(error)) for call in batch])
        except asyncio.CancelledError:
            _settle([(call.reply, self._late(call, None)) for call in batch])
            self.refuse()
            raise
        finally:
            self._under_way.remove(batch)
            self._pump()

    async def _answer(self, batch: list[Call]) -> None:
        """Send a batch until it is answered, or every call in it is."""
        while calls := [call for call in batch if not call.reply.done()]:
            until_s = max(call.until_s for call in calls)
            try:
                session = await self._pool.take(until_s)
            except KokugenError as error:
                _settle([(call.reply, self._late(call, error)) for call in calls])
                return
            try:
                if await self._attempt(session, calls, until_s):
                    return
            finally:
                self._pool.give(session)
            await asyncio.sleep(AGAIN_S)

    async def _attempt(self, session: Session, calls: list[Call], until_s: float) -> bool:
        """Send calls once; return whether they need not be sent again."""
        before = [call.sent for call in calls]
        _mark(calls, [True] * len(calls))
        try:
            with session.within(until_s):
                answers = await self._run(session, calls)
        except (*LOST, *GONE, *STALE) as error:
            session.drop()
            if isinstance(error, STALE) or not session.unsure:
                _mark(calls, before)
            return self._lose(calls, error)
        except (asyncpg.PostgresError, KokugenError, UnicodeError) as error:
            _mark(calls, before)
            await self._rescue(session)
            return await self._refuse(session, calls, error, until_s)
        _settle(answers)
        return True

    async def _run(self, session: Session, calls: list[Call]) -> list[Answer]:
        action, scope = calls[0].action, self._bind(session)
        if not action.merges:
            return [(calls[0].reply, await action.run(scope, *calls[0].arguments))]
        answers = iter(await action.run(scope, [row for call in calls for row in call.rows]))
        return [(call.reply, _dealt(list(islice(answers, len(call.rows))))) for call in calls]

    def _lose(self, calls: list[Call], error: BaseException) -> bool:
        """Answer those whose answer was lost, but those that may simply be sent again."""
        over = [call for call in calls if call.until_s <= self._loop.time() or not self._may_repeat(call)]
        _settle([(call.reply, self._late(call, self._explained(error))) for call in over])
        return len(over) == len(calls)

    @staticmethod
    def _may_repeat(call: Call) -> bool:
        return call.action.repeatable or call.action.reads or not call.sent

    async def _refuse(self, session: Session, calls: list[Call], error: Exception, until_s: float) -> bool:
        """Answer what the server refused; one bad call must not fail the others of its batch."""
        if isinstance(error, AGAIN) and self._loop.time() < until_s:
            return False
        if len(calls) == 1 or session.closed:
            _settle([(call.reply, self._explained(error)) for call in calls])
            return True
        for call in calls:
            await self._alone(session, call, until_s)
        return all(call.reply.done() for call in calls)

    async def _alone(self, session: Session, call: Call, until_s: float) -> None:
        """Send one call by itself, until it is answered or the session is gone."""
        while not session.closed:
            if await self._attempt(session, [call], until_s):
                return
            await asyncio.sleep(AGAIN_S)

    @staticmethod
    async def _rescue(session: Session) -> None:
        try:
            await session.rescue()
        except (*LOST, asyncpg.PostgresError):
            session.drop()

    # -- Time

    def _look(self) -> None:
        """Answer the calls whose time is over, now and again for as long as there are any calls."""
        now_s = self._loop.time()
        late = [call for batch in self._under_way for call in batch if call.until_s <= now_s]
        while self._queue and self._queue[0].until_s <= now_s:
            late.append(self._queue.popleft())
        _settle([(call.reply, self._late(call, None)) for call in late])
        self._looking = self._loop.call_later(LOOK_S, self._look) if self._under_way else None

    def _late(self, call: Call, error: KokugenError | None) -> KokugenError:
        """Return what a call is answered with that was not answered in time, or was cut off."""
        if call.sent and not call.action.reads:
            return UnknownOutcomeError(call.action.what, call.task_ids)
        return error or RepositoryUnavailableError(f"the store {self._url} did not answer in time: {call.action.what}")

    def _explained(self, error: BaseException) -> KokugenError:
        if isinstance(error, KokugenError):
            return error
        told = explain(error, self._url)
        told.__cause__ = error
        return told


def _measure(call: Call) -> tuple[int, int]:
    size = call.action.size
    return len(call.rows), sum(map(size, call.rows)) if size else 0


def _dealt(answers: list[Any]) -> Any:
    """Return the answers of one call, or the first that is an error."""
    return next((answer for answer in answers if isinstance(answer, BaseException)), answers)


def _settle(answers: list[Answer]) -> None:
    """Answer calls, but those that ran out of time meanwhile."""
    resolve_all([(reply, answer) for reply, answer in answers if not reply.done()])


def _mark(calls: list[Call], sent: list[bool]) -> None:
    for call, flag in zip(calls, sent, strict=True):
        call.sent = flag
