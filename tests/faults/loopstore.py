"""The SQLite repository without threads: what is queued is committed at the next turn of the running loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from queue import Empty
from unittest.mock import patch

from kokugen.reply import resolve_all
from kokugen.repository.sqlite import SQLiteRepository
from kokugen.repository.sqlite.bell import Bell
from kokugen.repository.sqlite.writer import ROWS_MAX, Writer
from tests.simulation.sqlite_place import NoThread, telling_queue


class _NoBell(Bell):
    """There is no other process."""

    def listen(self, heard: Callable[[int], object]) -> None:
        pass

    def ring(self, due_us: int) -> None:
        pass


class LoopSQLite(SQLiteRepository):
    """For one loop; `vanish` ends it."""

    _pumping = False

    def _new_bell(self) -> Bell:
        return _NoBell(self._path, "none")

    def _connected(self) -> Writer:
        module = "kokugen.repository.sqlite.writer"
        with patch.multiple(module, Thread=NoThread, SimpleQueue=partial(telling_queue, self._soon)):
            return super()._connected()

    def _soon(self) -> None:
        if not self._pumping:
            self._pumping = True
            asyncio.get_running_loop().call_soon(self._pump)

    def _pump(self) -> None:
        self._pumping = False
        if (writer := self._writer) is None:
            return
        with suppress(Empty):
            if batch := writer._queued(writer._queue.get_nowait(), ROWS_MAX):
                resolve_all(writer._answers(batch))
                writer._hint(batch)
                self._soon()

    def vanish(self) -> None:
        """Let go of the file, and of what was queued."""
        writer, self._writer = self._writer, None
        if writer is not None:
            writer._line.close()
            self._leave(self._readers)
