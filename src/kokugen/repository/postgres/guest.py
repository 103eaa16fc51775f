"""What a store does in a user's transaction, on the user's connection: add tasks, and write how a run ends.

The steps are generators: they yield what to ask, and are sent the first row of the answer. `links` knows how each
library asks; `Guest` carries the steps out on a sync connection, `AsyncGuest` on an async one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cache
from typing import Any, TypeVar
from weakref import WeakSet

from msgspec import Struct

from kokugen.clock import Clock
from kokugen.errors import RepositoryUnavailableError, TransactionError
from kokugen.repository.postgres.adding import Ask, Steps, adding
from kokugen.repository.postgres.hints import SOON_US, channel, payload
from kokugen.repository.postgres.identity import Identity
from kokugen.repository.postgres.links import ASYNC_LINKS, AsyncLink, Link, link_of
from kokugen.repository.postgres.runs import finish_names
from kokugen.repository.postgres.statement import Statement, common, compiled, source
from kokugen.repository.rows import Added, AddResult, Finish, Finished, NewTask, may_wait
from kokugen.task import TaskState

T = TypeVar("T")

ROWS = re.compile(r":(rows?)\b(::jsonb)?")
FINISHES = 3
NEVER_US = -(2**62)
"""Tasks of a user's transaction stand in no line of a limit before its commit; the next look has them do so."""
GUEST = "within"
"""What a notification from a user's transaction is signed with: no process is named so, thus all of them hear it."""


class Host(Struct, frozen=True, kw_only=True):
    """The store as its guests know it."""

    url: str
    schema: str
    namespace: str
    identity: Identity
    known: WeakSet[Any]
    """Connections that were looked at: they are to this database."""
    clock: Clock

    @property
    def names(self) -> dict[str, Any]:
        """Return the parameters that all statements have."""
        return common(self.namespace, self.clock)


class Guest:
    """On a sync connection."""

    is_async = False

    def __init__(self, host: Callable[[], Host], link: Link) -> None:
        self._host = host
        self._link = link

    def add(self, tasks: Sequence[NewTask]) -> list[Added]:
        return self._carry_out(add, tasks)

    def finish(self, row: Finish) -> Finished:
        return self._carry_out(finish, row)

    def _carry_out(self, work: Callable[..., Steps[T]], *arguments: Any) -> T:
        host, link = self._host(), self._link
        steps = _looked_at(host, link.ready(), work(host, *arguments))
        try:
            ask = next(steps)
            while True:
                ask = steps.send(link.row(load(ask.name, host.schema), ask.values))
        except StopIteration as end:
            answer: T = end.value
            return answer


class AsyncGuest:
    """On an async connection."""

    is_async = True

    def __init__(self, host: Callable[[], Host], link: AsyncLink) -> None:
        self._host = host
        self._link = link

    async def add(self, tasks: Sequence[NewTask]) -> list[Added]:
        return await self._carry_out(add, tasks)

    async def finish(self, row: Finish) -> Finished:
        return await self._carry_out(finish, row)

    async def _carry_out(self, work: Callable[..., Steps[T]], *arguments: Any) -> T:
        host, link = self._host(), self._link
        steps = _looked_at(host, await link.ready(), work(host, *arguments))
        try:
            ask = next(steps)
            while True:
                ask = steps.send(await link.row(load(ask.name, host.schema), ask.values))
        except StopIteration as end:
            answer: T = end.value
            return answer


@cache
def load(name: str, schema: str) -> Statement:
    """Return a statement whose rows are bound as text: on a user's connection a codec may be set for JSON."""
    return compiled(ROWS.sub(r":\1::text::jsonb", source(name)), schema)


def guest_of(connection: object, url: str, host: Callable[[], Host]) -> Guest | AsyncGuest:
    """Return what the store of this URL does on a connection. Raises TransactionError for one of an unknown kind."""
    link = link_of(connection, url)
    return AsyncGuest(host, link) if isinstance(link, ASYNC_LINKS) else Guest(host, link)


# -- Steps


def _looked_at(host: Host, connection: object, steps: Steps[T]) -> Steps[T]:
    """Look once whether the connection is to the store's database, then do the steps. Raises TransactionError."""
    if connection not in host.known:
        place = yield Ask("place", {"meta": host.identity.meta(host.schema)})
        cluster = (yield Ask("cluster", {})) if host.identity.is_at(place) else None
        if cluster is None or cluster[0] != host.identity.cluster_id:
            raise TransactionError(
                f"this connection is to the database {place[0]!r}, which is not the one of the store {host.url}: "
                "one transaction cannot write in both; give a connection to the store's own database"
            )
        host.known.add(connection)
    return (yield from steps)


def add(host: Host, tasks: Sequence[NewTask]) -> Steps[list[Added]]:
    """Add tasks, and have the commit wake the nodes where one of them is due soon."""
    answers = (yield from adding(host.names | {"line_up": NEVER_US}, tasks)).answers
    pairs = zip(tasks, answers, strict=True)
    due_us = min((task.due_at for task, one in pairs if one.result is AddResult.ADDED), default=None)
    if due_us is not None and due_us < host.clock.wall_us() + SOON_US:
        yield _notification(host, due_us)
    return answers


def _notification(host: Host, due_us: int) -> Ask:
    return Ask("notify", {"channel": channel(host.schema), "payload": payload(GUEST, due_us, host.namespace)})


def finish(host: Host, row: Finish) -> Steps[Finished]:
    """Write how a run ends, once. Where someone has its row locked, such as a beat, wait for that and look again."""
    for _ in range(FINISHES):
        written, _ = yield Ask("finish", finish_names(host.names, [row]))
        if written:
            if may_wait(row):
                yield _notification(host, row.due_at or 0)
            return Finished.APPLIED
        found = yield Ask("lock", host.names | {"id": row.id})
        if found is None or found[0] != row.claim:
            return Finished.APPLIED if found is not None and _is_written(found, row) else Finished.FENCED
    raise RepositoryUnavailableError(f"the run of task {row.id} cannot end just now: roll back, and try again")


def _is_written(found: Sequence[Any], row: Finish) -> bool:
    """Return whether this run surely ended so in this transaction.

    By an earlier one is no success: what the work did there is committed, and it must not commit it again here.
    """
    _, final_claim, state, is_ours = found
    return bool(final_claim == row.claim and TaskState(state) == row.state and is_ours == 1)
