"""A pooler that deals out connections by the transaction, as PgBouncer does, and never the same one twice in a row.

Whatever relies on a session finds itself in another one: prepared statements, settings, LISTEN. Like PgBouncer it
refuses start-up parameters that it would have to remember.
"""

from __future__ import annotations

import asyncio
import shutil
import struct
import tempfile
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread

SESSIONS = 4
REMEMBERED = {"user", "database", "client_encoding", "application_name"}
SSL_REQUEST, CANCEL_REQUEST = 80877103, 80877102
Link = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Pooler:
    """Listens in a folder of its own, in front of the server whose socket it is given."""

    def __init__(self, server: Path) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="kk-po-"))
        self.transactions = 0
        self._server = server
        self._sessions: deque[Link] = deque()
        self._free = asyncio.Semaphore(SESSIONS)
        self._greeting = b""
        self._links: list[asyncio.StreamWriter] = []

    @property
    def url(self) -> str:
        return f"postgresql://postgres@/postgres?host={self.folder}&pooled=true"

    async def open(self) -> None:
        for _ in range(SESSIONS):
            self._sessions.append(await self._connect())
        path = str(self.folder / ".s.PGSQL.5432")
        self._listening = await asyncio.start_unix_server(self._serve, path)

    async def close(self) -> None:
        self._listening.close()
        for writer in self._links:
            writer.close()
        await asyncio.sleep(0)

    # -- To the server

    async def _connect(self) -> Link:
        reader, writer = await asyncio.open_unix_connection(str(self._server))
        self._links.append(writer)
        parameters = b"user\0postgres\0database\0postgres\0client_encoding\0utf8\0\0"
        writer.write(struct.pack("!ii", len(parameters) + 8, 196608) + parameters)
        greeting = b""
        while True:
            kind, message = await _message(reader)
            if kind != b"K":
                greeting += message
            if kind == b"Z":
                self._greeting = greeting
                return reader, writer

    # -- From clients

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._links.append(writer)
        try:
            if await self._welcome(reader, writer):
                while await self._transaction(reader, writer):
                    self.transactions += 1
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _welcome(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        length, code = struct.unpack("!ii", await reader.readexactly(8))
        parameters = (await reader.readexactly(length - 8)).rstrip(b"\0").split(b"\0")
        if code in (SSL_REQUEST, CANCEL_REQUEST):
            return False
        unknown = {name.decode() for name in parameters[::2]} - REMEMBERED
        if unknown:
            text = f"SERROR\0VFATAL\0C08P01\0Munsupported startup parameter: {min(unknown)}\0\0".encode()
            writer.write(b"E" + struct.pack("!i", len(text) + 4) + text)
            return False
        key = b"K" + struct.pack("!iii", 12, 1, 1)
        writer.write(self._greeting[:-6] + key + self._greeting[-6:])
        return True

    async def _transaction(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Lend a session for one transaction; False at the client's goodbye."""
        kind, message = await _message(reader)
        if kind == b"X":
            return False
        async with self._free:
            session = self._sessions.popleft()
            session[1].write(message)
            asking = asyncio.create_task(self._forward(reader, session[1]))
            answering = asyncio.create_task(self._answer(session[0], writer))
            await asyncio.wait({asking, answering}, return_when=asyncio.FIRST_COMPLETED)
            is_over = answering.done() and answering.exception() is None
            asking.cancel()
            answering.cancel()
            await asyncio.gather(asking, answering, return_exceptions=True)
            if not is_over:  # the client went away amid its transaction, which must end with it
                session[1].close()
                session = await self._connect()
            self._sessions.append(session)
            return is_over

    @staticmethod
    async def _answer(session: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Pass on what the server says until its transaction is over."""
        kind, message = await _message(session)
        while not (kind == b"Z" and message[-1:] == b"I"):
            writer.write(message)
            kind, message = await _message(session)
        writer.write(message)

    @staticmethod
    async def _forward(reader: asyncio.StreamReader, session: asyncio.StreamWriter) -> None:
        while True:
            _, message = await _message(reader)
            session.write(message)


async def _message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    head = await reader.readexactly(5)
    (length,) = struct.unpack("!i", head[1:])
    return head[:1], head + await reader.readexactly(length - 4)


@contextmanager
def pooling(server: Path) -> Iterator[Pooler]:
    """Yield a pooler in front of the server with this socket."""
    loop = asyncio.new_event_loop()
    thread = Thread(target=loop.run_forever, daemon=True)
    thread.start()
    pooler = Pooler(server)
    asyncio.run_coroutine_threadsafe(pooler.open(), loop).result(30)
    try:
        yield pooler
    finally:
        asyncio.run_coroutine_threadsafe(pooler.close(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        shutil.rmtree(pooler.folder)
