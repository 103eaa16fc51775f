"""`scheduler.within(connection)`: scheduling inside a transaction of the user's, on the user's own connection.

Accepting is the scheduler's: the same checks, options and middleware make the same rows. Only then are they written, by
the repository's own statements, and nothing here commits: with the transaction the tasks are there, or never were.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from inspect import isawaitable
from typing import Any, Generic, ParamSpec, TypeVar, cast

from kokugen.acceptance import check_delay, check_time, check_work
from kokugen.chaining import Chain, batched, firsts
from kokugen.errors import KokugenError, TransactionError
from kokugen.front import BATCH, Front
from kokugen.handle import AsyncTaskHandle, TaskHandle
from kokugen.middleware.base import ScheduleRequest, schedule_chain
from kokugen.registry.work import Work
from kokugen.reply import Reply
from kokugen.repository.joining import Joined, join
from kokugen.repository.rows import Added, NewTask
from kokugen.task import Params, TaskParam

P = ParamSpec("P")
R = TypeVar("R")
H = TypeVar("H")

ANSWER_S = 60.0


class Transaction:
    """A transaction of yours, in which to schedule. Rolled back: never scheduled. Committed: the nodes are woken.

    Made by `Scheduler.within`; use it on the thread, and as long as, you use the connection. A handle that it returns
    is of a task that others see, and that can be cancelled, once you have committed.
    """

    def __init__(self, front: Front[TaskHandle], connection: object) -> None:
        self._front = front
        self._joined = join(front.parts.repository, connection)
        if self._joined.is_async:
            raise TransactionError("this connection is async: use AsyncScheduler.within, and await what it returns")

    def at(self, when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Schedule a call of `work` at an aware instant, once the transaction is committed.

        Raises as `Scheduler.at`, TransactionError where no transaction is open, and whatever the driver raises.
        """
        return self._write([_at(when, work, args, kwargs)])[0]

    def after(self, delay: timedelta, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> TaskHandle:
        """Schedule a call of `work` after a delay from now, not from the commit. As `at`."""
        return self._write([_after(self._front, delay, work, args, kwargs)])[0]

    def schedule(self, param: TaskParam) -> TaskHandle:
        """Schedule from plain data; the work need not be declared here. As `at`."""
        return self._write([self._front.request(param)])[0]

    def schedule_many(self, params: Iterable[TaskParam]) -> list[TaskHandle]:
        """Schedule many in batches. All are checked first; a taken unique key raises after the rest was added."""
        return self._write([self._front.request(param) for param in params])

    def _write(self, requests: Sequence[ScheduleRequest]) -> list[TaskHandle]:
        accepted = Accepted(self._front, requests)
        for rows in accepted.batches():
            accepted.answered(rows, cast("list[Added]", self._joined.add(rows)))
        return [handle.result(ANSWER_S) for handle in accepted.handles]


class AsyncTransaction:
    """As `Transaction`, with `await`. Made by `AsyncScheduler.within`, of an async connection or a sync one."""

    def __init__(
        self,
        front: Front[AsyncTaskHandle],
        opened: Callable[[], Awaitable[Front[AsyncTaskHandle]]],
        connection: object,
    ) -> None:
        self._front = front
        self._opened = opened
        self._joined = join(front.parts.repository, connection)

    async def at(self, when: datetime, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle:
        """Schedule a call of `work` at an aware instant, once the transaction is committed. As `Transaction.at`."""
        return (await self._write([_at(when, work, args, kwargs)]))[0]

    async def after(self, delay: timedelta, work: Work[P, R], /, *args: P.args, **kwargs: P.kwargs) -> AsyncTaskHandle:
        """Schedule a call of `work` after a delay from now, not from the commit. As `at`."""
        return (await self._write([_after(self._front, delay, work, args, kwargs)]))[0]

    async def schedule(self, param: TaskParam) -> AsyncTaskHandle:
        """Schedule from plain data; the work need not be declared here. As `at`."""
        return (await self._write([self._front.request(param)]))[0]

    async def schedule_many(self, params: Iterable[TaskParam]) -> list[AsyncTaskHandle]:
        """Schedule many in batches. All are checked first; a taken unique key raises after the rest was added."""
        return await self._write([self._front.request(param) for param in params])

    async def _write(self, requests: Sequence[ScheduleRequest]) -> list[AsyncTaskHandle]:
        await self._opened()
        accepted = Accepted(self._front, requests)
        for rows in accepted.batches():
            accepted.answered(rows, await _answer(self._joined, rows))
        return [await handle for handle in accepted.handles]


async def _answer(joined: Joined, rows: Sequence[NewTask]) -> list[Added]:
    answers = joined.add(rows)
    return await answers if isawaitable(answers) else answers


class Accepted(Generic[H]):
    """Requests that went through the middleware, whose rows are still to be written.

    The middleware works on the answer that is to come: it is given when the row is written.
    """

    def __init__(self, front: Front[H], requests: Sequence[ScheduleRequest]) -> None:
        self._front = front
        self._chains: list[Chain] = []
        self._written: list[Reply[H]] = []
        self._next = 0
        chain = schedule_chain(front.parts.middleware, self._collect)
        self._answers: list[Reply[H]] = [chain(request) for request in requests]

    def _collect(self, request: ScheduleRequest) -> Reply[H]:
        self._chains.append(self._front.chain(request))
        self._written.append(Reply())
        return self._written[-1]

    def batches(self) -> Iterator[Sequence[NewTask]]:
        """Yield the rows to write; each batch is to be answered before the next."""
        yield from batched((chain.rows for chain in self._chains), BATCH)

    def answered(self, rows: Sequence[NewTask], answers: Sequence[Added]) -> None:
        """Give the answers to the next rows to whoever waits for them."""
        for row, answer in zip(*firsts(rows, answers), strict=True):
            chain, written = self._chains[self._next], self._written[self._next]
            self._next += 1
            chain.answered(self._front.to_follower)
            try:
                written.resolve(self._front.to_handle(row, answer))
            except KokugenError as error:
                written.fail(error)

    @property
    def handles(self) -> list[Reply[H]]:
        """Return the answer to each request, in order. They are there, unless a middleware waits for more."""
        return self._answers


def _at(when: datetime, work: Work[P, R], args: Any, kwargs: Any) -> ScheduleRequest:
    us, zone, local = check_time(when)
    return _request(work, args, kwargs, us, zone, local)


def _after(front: Front[H], delay: timedelta, work: Work[P, R], args: Any, kwargs: Any) -> ScheduleRequest:
    return _request(work, args, kwargs, front.parts.clock.wall_us() + check_delay(delay), None, None)


def _request(work: Work[P, R], args: Any, kwargs: Any, us: int, zone: str | None, local: str | None) -> ScheduleRequest:
    known = check_work(work)
    return ScheduleRequest(
        work_id=known.id,
        params=Params(args, kwargs),
        scheduled_time_us=us,
        options=known.declared,
        zone=zone,
        local_time=local,
    )
