"""Tells the user's hooks what happened, on a thread of their own: a slow or raising hook delays and stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from queue import SimpleQueue
from threading import Lock, Thread

from msgspec import Struct

from kokugen.run import Run

logger = logging.getLogger("kokugen")


class RunEvent(Struct, frozen=True):
    """What a hook gets: the run, the text of its error if any, and how late it started, in seconds."""

    run: Run
    error: str | None = None
    late_s: float = 0.0


Hook = Callable[[RunEvent], object]


class Hooks:
    """Hooks by the name of what they wait for: `failed`, `dead`, `late`, `superseded`."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._queue: SimpleQueue[tuple[Hook, RunEvent]] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None

    def add(self, name: str, hook: Hook) -> None:
        """Call `hook` with every event of this name from now on."""
        self._hooks.setdefault(name, []).append(hook)

    def wants(self, name: str) -> bool:
        return name in self._hooks

    def tell(self, name: str, event: RunEvent) -> None:
        """Hand the event to the hooks' thread; never blocks."""
        for hook in self._hooks.get(name, ()):
            self._queue.put((hook, event))
            self._ensure_thread()

    def _ensure_thread(self) -> None:
        with self._lock:
            if self._thread is None or not self._thread.is_alive():
                self._thread = Thread(target=self._work, name="kokugen-hooks", daemon=True)
                self._thread.start()

    def _work(self) -> None:
        while True:
            hook, event = self._queue.get()
            try:
                hook(event)
            except Exception:
                logger.exception("a hook raised for task %s", event.run.task_id)
