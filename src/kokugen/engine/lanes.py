"""All lanes of an engine: one a dispatcher where the registry lists its works, so that a claim asks for what fits.

Else there is one for all, and what does not fit is given back. Each place has one more, for the tasks that name it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence

from kokugen.clock import SECOND_US, duration_us
from kokugen.dispatcher.protocol import Dispatcher
from kokugen.engine.lane import Lane, Load, Party
from kokugen.engine.timer import Timer
from kokugen.offers import Offers
from kokugen.options import stored_options
from kokugen.registry.protocol import ListedWorkRegistry, Work, WorkRegistry
from kokugen.registry.work import as_work
from kokugen.repository.rows import Claimed
from kokugen.run import Run, Signal
from kokugen.settings import Settings
from kokugen.task import queue_at

logger = logging.getLogger("kokugen")


class Lanes:
    """Makes the lanes, and tells each which works it claims.

    What names a place waits in its queue's part for that place, from which only the place's own lane claims. What was
    scheduled without the code waits with the rest, and goes where its work is declared to run.
    """

    def __init__(
        self,
        dispatchers: Sequence[Dispatcher],
        registry: WorkRegistry,
        settings: Settings,
        *,
        queues: tuple[str, ...],
        places: Sequence[Dispatcher],
    ) -> None:
        self._registry = registry
        self._refused: set[str] = set()
        self._listed = registry if isinstance(registry, ListedWorkRegistry) else None
        self._shared: frozenset[str] | None = None
        self._told: frozenset[str] | None = None
        self._known: list[str] | None = None
        self._settings = settings
        self._places = frozenset(places)
        loads = {one: Load() for one in (*dispatchers, *places)}
        if self._listed is None:
            self._lanes = [self._lane([*dispatchers, *places], queues, Load())]
        else:
            self._lanes = [self._lane([one], queues, load) for one, load in loads.items()]
        self._placed = [
            self._lane([one], tuple(queue_at(queue, one.name) for queue in queues), loads[one]) for one in places
        ]
        self._lanes += self._placed

    def _lane(self, dispatchers: Sequence[Dispatcher], queues: tuple[str, ...], load: Load) -> Lane:
        settings = self._settings
        return Lane(
            dispatchers,
            Timer(ahead_us=int(settings.ahead_s * SECOND_US)),
            queues=queues,
            load=load,
            alone=dispatchers[0] in self._places,
            buffer_s=settings.buffer_s,
            buffer_max=settings.buffer_max,
        )

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
            lane.serve(
                frozenset(
                    work_id for work_id, work in works.items() if work is not None and self.place_of(work, (lane,))
                )
            )

    def offers(self, namespace: str) -> Offers:
        """Return what this engine says that it runs."""
        ids = None if self._listed is None else self._listed.work_ids()
        if ids != self._told or self._known is None:
            works = {work_id: self.load(work_id) for work_id in ids or ()}
            party = tuple(self._lanes)
            self._known = sorted(one for one, work in works.items() if work is not None and self.place_of(work, party))
            self._told = None if None in works.values() else ids  # what cannot be loaded now may be later
        queues = {queue for lane in self._lanes for queue in lane.queues}
        return Offers(
            namespace=namespace, queues=tuple(sorted(queues)), works=None if ids is None else tuple(self._known)
        )

    def place_of(self, work: Work, party: Party) -> tuple[Lane, Dispatcher] | None:
        """Return the dispatcher among these lanes that runs this work, with its lane.

        Of tasks that name a place it is the place's, whatever is declared.
        """
        for lane in party:
            for dispatcher in lane.dispatchers:
                if lane in self._placed or self._suits(dispatcher, work):
                    return lane, dispatcher
        return None

    def runs(self, work_id: str) -> bool:
        """Return whether tasks of this work that name no place are run here."""
        work = self.load(work_id)
        return work is not None and any(self._suits(one, work) for lane in self._lanes for one in lane.dispatchers)

    def _suits(self, dispatcher: Dispatcher, work: Work) -> bool:
        """Return whether work runs there by its declaration: at its place, else by its kind."""
        on = work.declared.on
        if on is not None:
            return dispatcher.name == on
        return dispatcher not in self._places and dispatcher.accepts(is_async=work.is_async)

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
