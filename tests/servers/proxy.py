"""A network that fails on demand, between a client and a PostgreSQL server: a socket in front of the server's own."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto
from pathlib import Path
from threading import Thread


class Fault(Enum):
    """What becomes of what is sent."""

    NONE = auto()
    BLACK_HOLE = auto()
    """Nothing arrives on the other side, and nobody is told."""
    REFUSE = auto()
    """New connections are refused; the old ones are cut."""
    LOSE_ANSWERS = auto()
    """Requests arrive; at the first answer to one the connection is cut instead."""


class Proxy:
    """Forwards bytes, until it is told to fail. Every method but those that forward may be called from any thread."""

    def __init__(self, server: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kk-px-"))
        self.fault = Fault.NONE
        self._server = server
        self._loop = asyncio.new_event_loop()
        self._writers: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}"

    def fail(self, fault: Fault) -> None:
        """Fail from now on, or no more."""
        self.fault = fault
        if fault is Fault.REFUSE:
            self._loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for writer in list(self._writers):
            writer.transport.abort()

    # -- On its loop

    async def _open(self) -> None:
        self._listening = await asyncio.start_unix_server(self._serve, str(self.folder / ".s.PGSQL.5432"))

    async def _close(self) -> None:
        self._listening.close()
        self._cut()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        if self.fault is Fault.REFUSE:
            writer.transport.abort()
            return
        try:
            server_reader, server_writer = await asyncio.open_unix_connection(str(self._server))
        except OSError:  # it is down
            writer.transport.abort()
            return
        self._writers |= {writer, server_writer}
        await asyncio.gather(
            self._forward(reader, server_writer, answers=False),
            self._forward(server_reader, writer, answers=True),
            return_exceptions=True,
        )
        for one in (writer, server_writer):
            self._writers.discard(one)
            one.transport.abort()

    async def _forward(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, answers: bool) -> None:
        while data := await reader.read(65536):
            if self.fault is Fault.BLACK_HOLE:
                continue
            if self.fault is Fault.LOSE_ANSWERS and answers:
                break
            writer.write(data)
        writer.transport.abort()


@contextmanager
def failing(server: Path) -> Iterator[Proxy]:
    """Yield a proxy in front of the server with this socket."""
    proxy = Proxy(server)
    thread = Thread(target=proxy._loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(proxy._open(), proxy._loop).result(30)
    try:
        yield proxy
    finally:
        asyncio.run_coroutine_threadsafe(proxy._close(), proxy._loop).result(30)
        proxy._loop.call_soon_threadsafe(proxy._loop.stop)
        thread.join()
        proxy._loop.close()
        shutil.rmtree(proxy.folder)
