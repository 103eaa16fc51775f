"""The beat: it extends the leases of runs, hears of cancellations, and tells runs whose lease is no more to be trusted.

The engine calls both steps now and again; they ask the task storage.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from kokugen.clock import Clock
from kokugen.engine.completions import stop_superseded
from kokugen.errors import RepositoryError
from kokugen.repository.rows import Lease
from kokugen.run import Interrupt, Run
from kokugen.settings import Settings
from kokugen.task_storage.leasing import LeasedTasks


class Beat:
    """Keeps the runs of one engine. `drop` stops one of them."""

    def __init__(
        self,
        storage: LeasedTasks,
        runs: Mapping[Lease, Run],
        drop: Callable[[str, str, str | None], object],
        *,
        clock: Clock,
        settings: Settings,
    ) -> None:
        self._storage = storage
        self._runs = runs
        self._drop = drop
        self._clock = clock
        self._settings = settings
        self.told = False
        """Whether it is to hear of stops, and has not begun to."""

    async def hear_of_stops(self) -> None:
        """Ask at once which of all runs were asked to stop. Where the store does not answer, the next beat asks."""
        self.told = False
        try:
            kept = await self._storage.beat(list(self._runs))
        except RepositoryError:
            return
        for one in kept:
            if one.cancel_requested:
                self._drop(one.id, one.claim, None)

    async def beat(self) -> None:
        """Extend the leases of runs that need it, and hear of cancellations.

        Raises RepositoryError where the store does not answer.
        """
        settings = self._settings
        sent_s = self._clock.boot_s()
        needed_s = sent_s + 2 * settings.beat_s + settings.rpc_s  # to outlive one beat without an answer, till the next
        leases = [lease for lease, run in self._runs.items() if run.trusted_until_s < needed_s]
        leases += self._storage.pending_leases()
        superseded: list[Run] = []
        kept = {Lease(one.id, one.claim): one for one in await self._storage.beat(leases)}
        for lease in leases:
            run = self._runs.get(lease)
            if run is None:
                continue
            if lease not in kept:
                superseded.append(run)
                continue
            if kept[lease].extended:
                run.trusted_until_s = sent_s + settings.ttl_s - settings.margin_s
            if kept[lease].cancel_requested:
                self._drop(lease.id, lease.claim, None)
        await stop_superseded(self._storage, superseded)
        await self._storage.announce()

    def mistrust(self) -> None:
        """Ask runs to stop that were not extended for so long that another node may soon take them over.

        A run that completes itself is not among them: its transaction holds the row locked, and nobody takes it over.
        """
        now_s = self._clock.boot_s()
        for run in self._runs.values():
            if run.trusted_until_s <= now_s and not run.completing:
                run.ask_to_stop(Interrupt.LEASE_LOST)
