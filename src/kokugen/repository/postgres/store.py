"""One opened store: its event loop, its connections and its lanes, from `open` to `close`."""

from __future__ import annotations

import asyncio
from typing import Any
from weakref import WeakSet

import asyncpg

from kokugen.clock import Clock
from kokugen.errors import RepositoryUnavailableError
from kokugen.ids import system_random
from kokugen.reply import Reply
from kokugen.repository.postgres.address import Address
from kokugen.repository.postgres.background import Background
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.failures import explain
from kokugen.repository.postgres.guest import Host
from kokugen.repository.postgres.hints import Hints
from kokugen.repository.postgres.identity import Identity, identify
from kokugen.repository.postgres.lane import Action, Call, Lane, Scope
from kokugen.repository.postgres.migration import migrate
from kokugen.repository.postgres.pool import Pool
from kokugen.repository.postgres.session import Kind, Session
from kokugen.repository.postgres.unsettled import Unsettled

READ_S = 30.0
TIDY_S = 30.0
CLOSE_S = 3.0
CONNECTIONS = {"work": 4, "keep": 1, "read": 2, "listen": 1}
"""How many connections of each kind there are at most: those that keep leases have one that no one else holds up."""

LANES = {"add": 2, "claim": 2, "finish": 1, "keep": 1, "steer": 2, "plan": 1, "look": 1, "read": 2}
"""How many statements of each lane are under way at once."""


class Store:
    """Answers calls until it is closed. `submit` may be called from any thread."""

    def __init__(self, address: Address, namespace: str, clock: Clock, hints: Hints, drift: Drift) -> None:
        self._address = address
        self._namespace = namespace
        self._clock = clock
        self._hints = hints
        self._drift = drift
        self.host: Host
        """What guests need to know of it, once it is open."""
        self._unsettled = Unsettled()
        self._closed = False
        self._background = Background()
        self._random = system_random()
        self._pools = {kind: self._pool(kind, most) for kind, most in CONNECTIONS.items()}
        self._lanes = {name: self._lane(name, width) for name, width in LANES.items()}
        self._tidying: asyncio.Task[None] | None = None
        self._listeners: set[asyncio.Task[None]] = set()
        self._listening: asyncio.Event | None = None

    def _pool(self, kind: str, most: int) -> Pool:
        limit_s = max(READ_S, self._address.timeout_s) if kind == "read" else self._address.timeout_s
        return Pool(self._address, Kind(limit_s=limit_s, pinned=kind != "read"), most, self._random)

    def _lane(self, name: str, width: int) -> Lane:
        pool = self._pools[name if name in self._pools else "work"]
        return Lane(self._background.loop, pool, self._bind, url=self._address.url, width=width)

    def _bind(self, session: Session) -> Scope:
        """Return what a statement is bound to."""
        return Scope(
            session=session,
            schema=self._address.schema,
            namespace=self._namespace,
            clock=self._clock,
            drift=self._drift,
            unsettled=self._unsettled,
            admitted=self._admitted,
        )

    # -- From any thread

    def open(self, cluster_id: str) -> None:
        """Connect once and bring the schema up to date. Raises RepositoryError, and then it is closed."""
        try:
            self._background.run(self._open(cluster_id))
        except BaseException:
            self.close()
            raise

    def submit(self, action: Action, *arguments: Any, task_ids: tuple[str, ...] = ()) -> Reply[Any]:
        """Queue a call."""
        if self._closed:
            return Reply.failed(RepositoryUnavailableError(f"the store {self._address.url} was closed: open it again"))
        reply: Reply[Any] = Reply()
        timeout_s = max(READ_S, self._address.timeout_s) if action.lane == "read" else self._address.timeout_s
        until_s = self._background.loop.time() + timeout_s
        call = Call(reply=reply, action=action, arguments=arguments, until_s=until_s, task_ids=task_ids)
        self._lanes[action.lane].submit(call)
        return reply

    def tell(self, due_us: int) -> None:
        """Tell other processes that tasks due then have come."""
        self._hints.tell(self._background.loop, self._pools["work"], due_us)

    def _admitted(self) -> None:
        if not self._closed:
            self._hints.hear(0)
            self.tell(0)

    def listen(self) -> None:
        """Hear from other processes from now on, where connections can be listened on."""
        if not self._address.pooled:
            self._background.loop.call_soon_threadsafe(self._begin_to_listen)

    def unlisten(self) -> None:
        """Hear from other processes no more."""
        if not self._closed:
            self._background.loop.call_soon_threadsafe(self._end_listening)

    def close(self) -> None:
        """Write what was accepted, then hang up."""
        self._closed = True
        try:
            self._background.run(self._close())
        finally:
            self._background.stop()
            for lane in self._lanes.values():
                lane.refuse()

    # -- On the loop

    async def _open(self, cluster_id: str) -> None:
        pool = self._pools["work"]
        session = await pool.probe()
        try:
            await migrate(session.link, self._address, cluster_id)
            self.host = self._known_as(await identify(session, self._address.schema))
        except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
            session.drop()
            raise explain(error, self._address.url) from error
        finally:
            pool.give(session)
        self._tidying = asyncio.create_task(self._tidy())

    def _known_as(self, identity: Identity) -> Host:
        return Host(
            url=self._address.url,
            schema=self._address.schema,
            namespace=self._namespace,
            identity=identity,
            known=WeakSet(),
            clock=self._clock,
        )

    def _begin_to_listen(self) -> None:
        if self._listening is None:
            self._listening = asyncio.Event()
            listener = asyncio.create_task(self._hints.listen(self._pools["listen"], self._listening))
            self._listeners.add(listener)
            listener.add_done_callback(self._listeners.discard)

    def _end_listening(self) -> None:
        if self._listening is not None:
            self._listening.set()
            self._listening = None

    async def _tidy(self) -> None:
        while True:
            await asyncio.sleep(TIDY_S)
            for pool in self._pools.values():
                await pool.trim()

    async def _close(self) -> None:
        await asyncio.gather(*(lane.drain() for lane in self._lanes.values()))
        await self._hints.told()
        self._end_listening()
        if self._listeners:
            await asyncio.wait(self._listeners, timeout=CLOSE_S)
        if self._tidying is not None:
            self._tidying.cancel()
        for pool in self._pools.values():
            await pool.close()
