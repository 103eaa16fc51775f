"""Hints that tasks have come: told here at once, and to other processes by NOTIFY. A poll is always beside them.

A notification is sent by a statement of its own once the tasks are committed, not more than one at a time: NOTIFY takes
a lock of the whole server at its commit. Listening needs a connection of its own, which a pooler cannot lend.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import asyncpg

from kokugen.clock import Clock
from kokugen.errors import KokugenError
from kokugen.repository.ends import Ends
from kokugen.repository.postgres.address import Address
from kokugen.repository.postgres.pool import Pool
from kokugen.repository.postgres.session import Session

SOON_US = 1_500_000
"""What is due later than this is found by every node's own poll in time."""
DEBOUNCE_S = 0.005
CHECK_S = 30.0
SEND_S = 2.0

BROKEN = (OSError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)

_NUMBER = re.compile(r"-?[0-9]{1,19}")

Hint = Callable[[int], object]


class Hints:
    """Who wants to know, and how others are told. Everything but `tell` and `hear` belongs to the loop."""

    def __init__(self, address: Address, namespace: str, name: str, clock: Clock) -> None:
        self.heard_by: list[Hint] = []
        self._channel = channel(address.schema)
        self._namespace = namespace
        self._name = name
        self._now_us = clock.wall_us
        self.ends = Ends(clock)
        self._dues: dict[int, int] = {}
        self._telling: asyncio.Task[None] | None = None

    def hear(self, due_us: int) -> None:
        """Tell those of this process."""
        for hint in tuple(self.heard_by):
            hint(due_us)

    # -- To others

    def tell(self, loop: asyncio.AbstractEventLoop, pool: Pool, due_us: int) -> None:
        """Tell other processes, if they could not know in time by themselves."""
        if due_us >= self._now_us() + SOON_US or loop.is_closed():
            return
        if _is_running(loop):
            self._gather(pool, due_us)
        else:
            with suppress(RuntimeError):  # closed just now: they poll
                loop.call_soon_threadsafe(self._gather, pool, due_us)

    def _gather(self, pool: Pool, due_us: int) -> None:
        kind = min(due_us, 0)  # below zero are no times: each says something else, and takes nothing from what is due
        self._dues[kind] = min(self._dues.get(kind, due_us), due_us)
        if self._telling is None:
            self._telling = asyncio.create_task(self._notify(pool))

    async def _notify(self, pool: Pool) -> None:
        try:
            while self._dues:
                dues, self._dues = self._dues, {}
                for due_us in dues.values():
                    await self._send(pool, due_us)
                await asyncio.sleep(DEBOUNCE_S)
        finally:
            self._telling = None

    async def _send(self, pool: Pool, due_us: int) -> None:
        told = payload(self._name, due_us, self._namespace)
        until_s = asyncio.get_running_loop().time() + SEND_S
        try:
            session = await pool.take(until_s)
        except KokugenError:
            return  # it is only a hint
        try:
            with session.within(until_s):
                await session.row("notify", {"channel": self._channel, "payload": told})
        except BROKEN:
            session.drop()
        finally:
            pool.give(session)

    async def told(self) -> None:
        """Wait until others were told, or could not be."""
        if self._telling is not None:
            await self._telling

    # -- From others

    async def listen(self, pool: Pool, until: asyncio.Event) -> None:
        """Listen until then; what came while the connection was lost is made good by one hint of an unknown time."""
        again = False
        while not until.is_set():
            try:
                session = await pool.take(asyncio.get_running_loop().time() + CHECK_S)
            except KokugenError:
                continue
            try:
                await self._attend(session, until, again=again)
            except BROKEN:
                pass
            finally:
                again = True
                session.drop()
                pool.give(session)

    async def _attend(self, session: Session, until: asyncio.Event, *, again: bool) -> None:
        """Listen, and ask now and again whether the other end is still there; raises once it is not."""
        now_s = asyncio.get_running_loop().time
        over = asyncio.Event()
        session.link.add_termination_listener(lambda _: over.set())
        with session.within(now_s() + SEND_S):
            await session.link.add_listener(self._channel, self._on_notification)
        if again:
            self.hear(0)
        while not until.is_set():
            await _first_of(over, until)
            with session.within(now_s() + SEND_S):
                await session.link.execute("SELECT 1")

    def _on_notification(self, _link: Any, _pid: int, _channel: str, payload: str) -> None:
        name, _, rest = payload.partition(" ")
        due, _, namespace = rest.partition(" ")
        for_us = name != self._name and namespace == self._namespace and _NUMBER.fullmatch(due)
        if for_us and not self.ends.heard(int(due)):
            self.hear(int(due))


def channel(schema: str) -> str:
    """Return the channel of the stores in a schema."""
    return f"kokugen:{schema}"


def payload(name: str, due_us: int, namespace: str) -> str:
    """Return what is sent to others; `name` tells the process that need not hear it, for it knows already."""
    return f"{name} {due_us} {namespace}"


def _is_running(loop: asyncio.AbstractEventLoop) -> bool:
    """Return whether this is called on the loop, as answers are."""
    try:
        return asyncio.get_running_loop() is loop
    except RuntimeError:
        return False


async def _first_of(*events: asyncio.Event) -> None:
    """Wait until one of them is set, or it is time to look."""
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    await asyncio.wait(waits, timeout=CHECK_S, return_when=asyncio.FIRST_COMPLETED)
    for wait in waits:
        wait.cancel()
