"""All lanes of an engine: one a dispatcher where the registry lists its works, so that a claim asks for what fits.

Else there is one for all, and what does not fit is given back.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from kokugen.clock import SECOND_US, duration_us
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.engine.lane import Lane
from kokugen.engine.timer import Timer
from kokugen.registry.protocol import ListedWorkRegistry, Work, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal
from kokugen.settings import Settings
from kokugen.task_storage.settlement import stored_options

logger = logging.getLogger("kokugen")


class Lanes:
    """Makes the lanes, and tells each which works it claims."""

    def __init__(self, dispatchers: Sequence[Dispatcher], registry: WorkRegistry, settings: Settings) -> None:
        self._registry = registry
        self._refused: set[str] = set()
        self._listed = registry if isinstance(registry, ListedWorkRegistry) else None
        self._shared: frozenset[str] | None = None
        groups = [dispatchers] if self._listed is None else [[one] for one in dispatchers]
        self._lanes = [_lane(group, settings) for group in groups]

    def __iter__(self) -> Iterator[Lane]:
        return iter(self._lanes)

    def after(self, lane: Lane) -> Lane:
        """Return the next lane; after the last one comes the first."""
        return self._lanes[(self._lanes.index(lane) + 1) % len(self._lanes)]

    def share_works(self) -> None:
        """Tell each lane which works it claims; works may be declared while running."""
        ids = self._listed.work_ids() if self._listed is not None else None
        if ids is None or ids == self._shared:
            return
        works = {work_id: self.load(work_id) for work_id in ids}
        self._shared = None if None in works.values() else ids
        for lane in self._lanes:
            accepts = lane.dispatchers[0].accepts
            lane.serve(
                frozenset(
                    work_id for work_id, work in works.items() if work is not None and accepts(is_async=work.is_async)
                )
            )

    def load(self, work_id: str) -> Work | None:
        """Return the work, None where it is not known here, or what the registry has is no work: others may know it."""
        try:
            found = self._registry.load(work_id)
            return None if found is None else as_work(work_id, found)
        except Exception:
            if work_id not in self._refused:
                self._refused.add(work_id)
                logger.exception("the work %r cannot be loaded, and waits for a node that can", work_id)
            return None


def _lane(dispatchers: Sequence[Dispatcher], settings: Settings) -> Lane:
    timer = Timer(ahead_us=int(settings.ahead_s * SECOND_US))
    return Lane(dispatchers, timer, buffer_s=settings.buffer_s, buffer_max=settings.buffer_max)


def make_run(
    task: Claimed, claim: str, work: Work, *, stopping: Signal, trusted_until_s: float, skew_us: int = 0
) -> Run:
    """Return the run of a task that was claimed: it starts when the task is due, by the store's clock.

    `skew_us` is by how much the clock that starts it is ahead of that one.
    """
    due_us = task.due_at + skew_us
    run = Run(task, claim, work, stopping=stopping, trusted_until_s=trusted_until_s, not_before_us=due_us)
    run.start_before_us = None if task.start_deadline is None else task.start_deadline + skew_us
    declared, own_us = work.declared.timeout, stored_options(task.options).timeout_us
    run.timeout_us = duration_us(declared) if own_us is None and declared is not None else own_us
    return run
