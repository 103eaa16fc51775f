"""Tells the user's hooks what happened, on a thread of their own: a slow or raising hook delays and stops nothing."""

from __future__ import annotations

import logging
from collections.abc import Callable
from inspect import iscoroutinefunction
from queue import SimpleQueue
from threading import Lock, Thread

from msgspec import Struct

from kokugen.clock import SECOND_US
from kokugen.dispatcher.protocol import Outcome
from kokugen.errors import OptionError
from kokugen.options import shortened
from kokugen.repository.rows import Lease
from kokugen.run import Run
from kokugen.task_storage.settlement import Settlement

logger = logging.getLogger("kokugen")


class RunEvent(Struct, frozen=True):
    """What a hook gets: the run, the text of its error if any, and how late it started, in seconds."""

    run: Run
    error: str | None = None
    late_s: float = 0.0


Hook = Callable[[RunEvent], object]


class Hooks:
    """Hooks by the name of what they wait for: `failed`, `dead`, `late`, `quarantined`, `superseded`."""

    def __init__(self) -> None:
        self._hooks: dict[str, list[Hook]] = {}
        self._queue: SimpleQueue[tuple[Hook, RunEvent] | None] = SimpleQueue()
        self._lock = Lock()
        self._thread: Thread | None = None

    def add(self, name: str, hook: Hook) -> None:
        """Call `hook` with every event of this name from now on. Raises OptionError if it cannot be called so."""
        if not callable(hook):
            raise OptionError(f"the hook {shortened(hook)} cannot be called: give a function that takes the event")
        if iscoroutinefunction(hook):
            raise OptionError(f"the hook {shortened(hook)} is async, and a thread of its own calls it: make it `def`")
        self._hooks.setdefault(name, []).append(hook)

    def learn(self, other: Hooks) -> None:
        """Call the hooks that another has now, too."""
        for name, hooks in other._hooks.items():
            self._hooks.setdefault(name, []).extend(hooks)

    def wants(self, name: str) -> bool:
        return name in self._hooks

    def tell(self, name: str, event: RunEvent) -> None:
        """Hand the event to the hooks' thread; never blocks."""
        for hook in self._hooks.get(name, ()):
            with self._lock:
                self._alive_queue().put((hook, event))

    def tell_ends(self, settled: list[tuple[Outcome, Settlement]], refused: set[Lease], late_s: float) -> None:
        """Tell what became of runs that are over; `late_s` is how late a start may be without a word."""
        for outcome, settlement in settled:
            run = outcome.run
            if refused and Lease(run.task.id, run.claim) in refused:
                self.tell_refused(outcome)
                continue
            if settlement.row.hold is not None:
                logger.warning("%r is quarantined: %s", run, outcome.text)
                self.tell("quarantined", RunEvent(run, outcome.text))
            if settlement.failed:
                self.tell("failed", RunEvent(run, outcome.text))
            if settlement.dead:
                self.tell("dead", RunEvent(run, outcome.text))
            if self.wants("late"):
                self._tell_if_late(run, late_s)

    def tell_refused(self, outcome: Outcome) -> None:
        """Tell of a run whose outcome was refused."""
        logger.warning("the outcome of %r is refused: its task was taken over, or ended by force", outcome.run)
        self.tell("superseded", RunEvent(outcome.run, outcome.text))

    def _tell_if_late(self, run: Run, allowed_s: float) -> None:
        late_s = (run.started_us - run.not_before_us) / SECOND_US
        if run.started_us and late_s > allowed_s:
            self.tell("late", RunEvent(run, None, late_s))

    def close(self) -> None:
        """Let the thread go once it has told what it was handed; does not wait for it. `tell` starts another one."""
        with self._lock:
            if self._thread is not None:
                self._thread = None
                self._queue.put(None)

    def _alive_queue(self) -> SimpleQueue[tuple[Hook, RunEvent] | None]:
        """Return the queue of the thread, which is started where there is none, as in a forked child."""
        if self._thread is None or not self._thread.is_alive():
            self._queue = SimpleQueue()
            self._thread = Thread(target=_tell_all, args=(self._queue,), name="kokugen-hooks", daemon=True)
            self._thread.start()
        return self._queue


def _tell_all(queue: SimpleQueue[tuple[Hook, RunEvent] | None]) -> None:
    while (told := queue.get()) is not None:
        hook, event = told
        try:
            hook(event)
        except BaseException:
            logger.exception("a hook raised for task %r", event.run.task_id)
