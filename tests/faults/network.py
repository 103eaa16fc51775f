"""A TCP network that fails, between clients and a PostgreSQL server: what a crew's nemesis sends its faults through.

It reads what clients ask as far as it must to know when a statement that writes is on its way, so that a connection can
be cut between the request of a commit and its answer: then nobody but the server knows whether it happened.
"""

from __future__ import annotations

import asyncio
import re
import struct
from collections import Counter, deque
from collections.abc import Coroutine, Iterator
from contextlib import contextmanager, suppress
from enum import StrEnum
from pathlib import Path
from random import Random
from threading import Thread
from typing import Any

CHUNK = 65536
WRITES = re.compile(rb"\b(INSERT|UPDATE|DELETE|COMMIT)\b", re.IGNORECASE)
READY = re.compile(rb"Z\x00\x00\x00\x05[ITE]$")

Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Fault(StrEnum):
    """What befalls a network; each is counted once it has happened."""

    DROP = "drop"
    """Connections are cut."""
    REFUSE = "refuse"
    """New connections are cut at once, for a while."""
    BLACK_HOLE = "black hole"
    """Nothing arrives on the other side any more, and nobody is told."""
    DELAY = "delay"
    """What is sent arrives late, even where its sender has given up meanwhile."""
    CUT_IN_COMMIT = "cut in commit"
    """A statement that writes arrives, and the connection is cut at once."""
    CUT_AFTER_COMMIT = "cut after commit"
    """A statement that writes arrives and is committed, and its answer is cut off."""


IN_COMMIT = (Fault.CUT_IN_COMMIT, Fault.CUT_AFTER_COMMIT)


class Requests:
    """What a client asks, message by message; tells when a request that writes is complete."""

    def __init__(self) -> None:
        self._left = b""
        self._greeted = False
        self._writing: dict[bytes, bool] = {}
        self._bound = False

    def feed(self, data: bytes) -> bool:
        """Return whether one was completed."""
        self._left += data
        completed = False
        while message := self._next():
            completed |= self._read(message[:1], message[5:])
        return completed

    def _next(self) -> bytes:
        """Take the next whole message, with a type even where it has none: the first one."""
        left = self._left if self._greeted else b"\0" + self._left
        if len(left) < 5:
            return b""
        size = 1 + struct.unpack_from("!i", left, 1)[0]
        if len(left) < size:
            return b""
        self._left, self._greeted = left[size:], True
        return left[:size]

    def _read(self, kind: bytes, body: bytes) -> bool:
        if kind == b"P":
            name, sql = body.split(b"\0", 2)[:2]
            self._writing[name] = WRITES.search(sql) is not None
        elif kind == b"B":
            self._bound |= self._writing.get(body.split(b"\0", 2)[1], False)
        elif kind == b"Q":
            return WRITES.search(body) is not None
        elif kind == b"S":
            bound, self._bound = self._bound, False
            return bound
        return False


class Connection:
    """One connection through the network, and what befell it."""

    def __init__(self, network: Network, client: Link, server: Link) -> None:
        self._network = network
        self._client = client
        self._server = server
        self._requests = Requests()
        self._open = asyncio.Event()
        self._open.set()
        self._hole = False
        self._answer_lost = False

    async def serve(self) -> None:
        both = [asyncio.create_task(self._ask()), asyncio.create_task(self._answer())]
        try:
            await asyncio.gather(*both, return_exceptions=True)
        finally:
            self.cut()

    def cut(self) -> None:
        for _, writer in (self._client, self._server):
            writer.transport.abort()

    def swallow(self) -> None:
        self._hole = True

    def delay(self, span_s: float) -> None:
        self._open.clear()
        asyncio.get_running_loop().call_later(span_s, self._open.set)

    async def _ask(self) -> None:
        (reader, _), (_, writer) = self._client, self._server
        try:
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if self._hole:
                    continue
                fault = self._network.due_fault() if self._requests.feed(data) else None
                writer.write(data)
                self._answer_lost |= fault is Fault.CUT_AFTER_COMMIT
                if fault is Fault.CUT_IN_COMMIT:
                    self._client[1].transport.abort()
                    break
        finally:
            writer.close()  # what was written goes out first

    async def _answer(self) -> None:
        (reader, _), (_, writer) = self._server, self._client
        try:
            while data := await reader.read(CHUNK):
                await self._open.wait()
                if self._answer_lost and READY.search(data):
                    break
                if not self._hole and not self._answer_lost:
                    writer.write(data)
        finally:
            if not self._hole:
                writer.transport.abort()


class Network:
    """Forwards bytes until a fault befalls it. `inflict` may be called from any thread."""

    def __init__(self, server: Path, random: Random) -> None:
        self.happened: Counter[Fault] = Counter()
        self._server = server
        self._random = random
        self._loop = asyncio.new_event_loop()
        self._thread = Thread(target=self._loop.run_forever, name="network", daemon=True)
        self._connections: list[Connection] = []
        self._tasks: set[asyncio.Task[None]] = set()
        self._armed: deque[Fault] = deque()
        self._refusing = self._refused = False
        self.url = ""

    def inflict(self, fault: Fault, span_s: float, *, everywhere: bool) -> None:
        """Have a fault befall one connection, or all; `span_s` is how long one lasts that ends."""
        self._loop.call_soon_threadsafe(self._inflict, fault, span_s, everywhere)

    def _inflict(self, fault: Fault, span_s: float, everywhere: bool) -> None:
        if fault in IN_COMMIT:
            self._armed.append(fault)
            return
        if fault is Fault.REFUSE:
            self._refusing, self._refused = True, False
            self._loop.call_later(span_s, self._accept)
        count = len(self._connections) if everywhere else min(1, len(self._connections))
        for one in self._random.sample(self._connections, count):
            if fault is Fault.DELAY:
                one.delay(span_s)
            elif fault is Fault.BLACK_HOLE:
                one.swallow()
            else:  # to be refused, one must come anew
                one.cut()
        if count and fault is not Fault.REFUSE:
            self.happened[fault] += 1

    def _accept(self) -> None:
        self._refusing = False

    def due_fault(self) -> Fault | None:
        """Return what is to befall the statement that goes out now."""
        if not self._armed:
            return None
        fault = self._armed.popleft()
        self.happened[fault] += 1
        return fault

    # -- On its loop

    def open(self) -> None:
        self._thread.start()
        self._run(self._listen())

    def close(self) -> None:
        self._run(self._hang_up())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(30)

    async def _listen(self) -> None:
        self._listening = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._listening.sockets[0].getsockname()[1]
        self.url = f"postgresql://postgres@127.0.0.1:{port}/postgres?sslmode=disable"

    async def _hang_up(self) -> None:
        self._listening.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, *client: Any) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self._refusing:
            self.happened[Fault.REFUSE] += not self._refused
            self._refused = True
            client[1].transport.abort()
            return
        try:
            server = await asyncio.open_unix_connection(str(self._server))
        except OSError:  # it is down
            client[1].transport.abort()
            return
        connection = Connection(self, client, server)
        self._connections.append(connection)
        with suppress(asyncio.CancelledError):
            await connection.serve()
        self._connections.remove(connection)


@contextmanager
def failing_network(server: Path, random: Random) -> Iterator[Network]:
    """Yield a network in front of the server with this socket."""
    network = Network(server, random)
    network.open()
    try:
        yield network
    finally:
        network.close()
