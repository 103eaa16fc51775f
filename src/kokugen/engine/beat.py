"""The beat: it extends the leases of runs, hears of cancellations, and tells runs whose lease is no more to be trusted.

The engine calls both steps now and again; they ask the task storage, and never wait for it longer than `rpc_s`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence

from kokugen.clock import Clock
from kokugen.errors import UnknownOutcomeError
from kokugen.repository.rows import Beaten, Lease
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

    async def beat(self) -> None:
        """Extend the leases of runs older than a beat, hear of cancellations, and try again to write outcomes.

        Raises RepositoryError where the store does not answer.
        """
        settings = self._settings
        sent_s = self._clock.boot_s()
        old = sent_s + settings.ttl_s - settings.margin_s - settings.beat_s / 2
        leases = [lease for lease, run in self._runs.items() if run.trusted_until_s < old]
        leases += self._storage.pending_leases()
        kept = {Lease(one.id, one.claim): one for one in await self._extend(leases)}
        for lease in leases:
            run = self._runs.get(lease)
            if run is None:
                continue
            if lease not in kept:
                run.ask_to_stop(Interrupt.LEASE_LOST)
                continue
            if kept[lease].extended:
                run.trusted_until_s = sent_s + settings.ttl_s - settings.margin_s
            if kept[lease].cancel_requested:
                self._drop(lease.id, lease.claim, None)
        await self._storage.flush()

    async def _extend(self, leases: Sequence[Lease]) -> list[Beaten]:
        try:
            async with asyncio.timeout(self._settings.rpc_s):
                return await self._storage.beat(leases)
        except TimeoutError as error:
            raise UnknownOutcomeError("beating") from error

    async def mistrust(self) -> None:
        """Ask runs to stop that were not extended for so long that another node may soon take them over."""
        now_s = self._clock.boot_s()
        for run in self._runs.values():
            if run.trusted_until_s <= now_s:
                run.ask_to_stop(Interrupt.LEASE_LOST)
