"""Waiting for tasks to end, wherever they run: one look at the store for all who wait in this process.

Both faces wait through `Waits`. A thread of its own looks, soon and then less and less often, and at once when the
repository hints that tasks have ended. It is there only while someone waits, and a moment longer.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from itertools import islice
from threading import Event, Lock, Thread

from kokugen.errors import KokugenError, NoEntryError
from kokugen.parts import Parts
from kokugen.reply import Reply
from kokugen.repository.protocol import ENDED
from kokugen.task import TaskInfo

LOOK_MIN_S, LOOK_MAX_S = 0.002, 0.25
"""Between two looks, at the beginning and in the end: what no hint tells of is found so late at most."""
HEED_S = 0.01
"""No two looks are closer than this, however many hints there are."""
LISTEN_AFTER_S = 0.02
"""From which pause on it is worth it to have hints."""
ASK_S = 2.0
"""How often other processes are told that someone waits here."""
LINGER_S = 1.0
IDS_MAX = 5000
"""About how many tasks one look asks."""


class Waits:
    """Who waits for which tasks. Any thread may call it."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._reset()

    def _reset(self) -> None:
        self._pid = os.getpid()
        self._lock = Lock()
        self._waiting: dict[str, list[Reply[TaskInfo]]] = {}
        self._thread: Thread | None = None
        self._came = Event()

    def wait(self, task_id: str) -> Reply[TaskInfo]:
        """Answer with the task once it is over. Fails with NoEntryError where there is none, and where a look fails."""
        if self._pid != os.getpid():  # a forked child has its parent's waits, but not the thread that looks
            self._reset()
        reply: Reply[TaskInfo] = Reply()
        with self._lock:
            self._waiting.setdefault(task_id, []).append(reply)
            if self._thread is None:
                self._thread = Thread(target=self._look_on, name="kokugen-waits", daemon=True)
                self._thread.start()
        self._came.set()
        return reply

    def forget(self, task_id: str, reply: Reply[TaskInfo]) -> None:
        """Wait no more for this answer."""
        with self._lock:
            left = [one for one in self._waiting.get(task_id, ()) if one is not reply]
            if left:
                self._waiting[task_id] = left
            else:
                self._waiting.pop(task_id, None)

    # -- In the thread

    def _look_on(self) -> None:
        ears = _Ears(self._parts, self._came.set)
        pause_s = LOOK_MIN_S
        while self._stay():
            if self._came.is_set():
                self._came.clear()
                pause_s = LOOK_MIN_S
            found = self._look()
            pause_s = LOOK_MIN_S if found else min(LOOK_MAX_S, pause_s * 1.5)
            if pause_s >= LISTEN_AFTER_S:
                ears.open()
            if self._came.wait(pause_s):
                Event().wait(HEED_S)
        ears.close()

    def _stay(self) -> bool:
        """Return whether anybody waits, or comes within a moment; else this thread is the one no more."""
        if self._waiting or self._came.wait(LINGER_S):
            return True
        with self._lock:
            if self._waiting:
                return True
            self._thread = None
            return False

    def _look(self) -> int:
        """Answer those whose tasks are over, and return how many tasks were."""
        with self._lock:
            ids = list(islice(self._waiting, IDS_MAX))
            if len(self._waiting) > IDS_MAX:  # the others' turn is next
                for task_id in ids:
                    self._waiting[task_id] = self._waiting.pop(task_id)
        if not ids:
            return 0
        try:
            over = self._parts.repository.over(ids).result()
            infos = {info.id: info for info in self._parts.repository.get(over).result()} if over else {}
        except KokugenError as error:
            refusal = error
            self._answer(ids, lambda _: refusal)
            return 0
        self._answer(over, lambda task_id: infos.get(task_id) or NoEntryError(task_id))
        return len(over)

    def _answer(self, ids: list[str], answer: Callable[[str], TaskInfo | KokugenError]) -> None:
        with self._lock:
            waiting = {task_id: self._waiting.pop(task_id, []) for task_id in ids}
        for task_id, replies in waiting.items():
            told = answer(task_id)
            for reply in replies:
                if isinstance(told, KokugenError):
                    reply.fail(told)
                else:
                    reply.resolve(told)


class _Ears:
    """What hears of ends, here and elsewhere, once it is opened."""

    def __init__(self, parts: Parts, heard: Callable[[], object]) -> None:
        self._parts = parts
        self._heard = heard
        self._leave: Callable[[], None] | None = None
        self._asked_s = -ASK_S

    def open(self) -> None:
        """Listen, and ask other processes now and again to tell of ends."""
        if self._leave is None:
            self._leave = self._parts.repository.listen(self._hint)
        now_s = self._parts.clock.boot_s()
        if now_s >= self._asked_s + ASK_S:
            self._asked_s = now_s
            self._parts.repository.ask_for_ends()

    def _hint(self, due_us: int) -> None:
        if due_us == ENDED:
            self._heard()

    def close(self) -> None:
        """Listen no more."""
        if self._leave is not None:
            self._leave()
