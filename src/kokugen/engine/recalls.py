"""Taking back what was claimed and has not started, so that it can be moved: the face asks, the engine writes it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from threading import Lock

from kokugen.dispatcher.protocol import Deliver, Ending, Outcome
from kokugen.errors import SchedulerStateError, UnknownOutcomeError
from kokugen.reply import Reply
from kokugen.repository.rows import Lease
from kokugen.run import Run


class Recalls:
    """The runs that are being taken back, each with the one who waits until that is written."""

    def __init__(self, runs: Mapping[Lease, Run], deliver: Deliver) -> None:
        self._runs = runs
        self._deliver = deliver
        self._waiting: dict[Lease, Reply[None]] = {}
        self._lock = Lock()

    def recall(self, task_id: str, due_us: int) -> Reply[None] | None:
        """Take back a run that has not started, and have its task due then; None: it has started, or is not here.

        Any thread may ask. It is answered once the task waits again.
        """
        found = next((lease for lease in list(self._runs) if lease.id == task_id), None)
        run = None if found is None else self._runs.get(found)
        if found is None or run is None or not run.begin():
            return None
        reply: Reply[None] = Reply()
        with self._lock:
            self._waiting[found] = reply
        self._deliver(Outcome(run=run, ending=Ending.NOT_STARTED, due_us=due_us))
        return reply

    def written(self, outcomes: Iterable[Outcome], unwritten: Callable[[], Iterable[Lease]]) -> None:
        """Answer those whose outcome is among these; it may be written later still where the store did not answer."""
        if not self._waiting:
            return
        open_ = set(unwritten())
        for outcome in outcomes:
            lease = Lease(outcome.run.task.id, outcome.run.claim)
            with self._lock:
                reply = self._waiting.pop(lease, None)
            if reply is not None and lease in open_:
                reply.fail(UnknownOutcomeError("taking back", (lease.id,)))
            elif reply is not None:
                reply.resolve(None)

    def close(self) -> None:
        """Answer whoever still waits: the engine has ended."""
        with self._lock:
            replies, self._waiting = list(self._waiting.values()), {}
        for reply in replies:
            reply.fail(SchedulerStateError("the scheduler stopped while the task was being taken back: try again"))
