"""Runs that completed themselves in a transaction of the work's: what the engine learns of how that ended."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence

from kokugen.dispatcher.protocol import Ending, Outcome
from kokugen.errors import RepositoryError
from kokugen.repository.rows import Lease
from kokugen.run import Interrupt, Run
from kokugen.task_storage.leasing import LeasedTasks
from kokugen.task_storage.settlement import Settlement

logger = logging.getLogger("kokugen")

Settled = tuple[Outcome, Settlement]


async def as_decided(storage: LeasedTasks, settled: list[Settled]) -> list[Settled]:
    """Return how runs ended, as it is to be told: one whose completion was committed has not failed.

    Whether it was is read after its outcome was offered. Where the store does not answer, work that returned counts as
    committed, and work that raised does not.
    """
    completing = [outcome.run for outcome, _ in settled if outcome.run.completing]
    if not completing:
        return settled
    undecided = set(storage.pending_leases())  # the transaction is open still, or the store away
    done = undecided | await _completed(storage, completing, else_=_returned(settled))
    return [_decided(one, done) for one in settled]


def _returned(settled: list[Settled]) -> set[Lease]:
    ended = [outcome for outcome, _ in settled if outcome.ending is Ending.RETURNED]
    return {Lease(one.run.task.id, one.run.claim) for one in ended}


def _decided(one: Settled, done: set[Lease]) -> Settled:
    outcome, settlement = one
    if Lease(outcome.run.task.id, outcome.run.claim) not in done:
        return one
    if outcome.ending is not Ending.RETURNED:
        logger.warning("%r is Done by its own completion, after which its work ended so: %s", outcome.run, outcome.text)
    return outcome, Settlement(settlement.row)


async def stop_superseded(storage: LeasedTasks, runs: Iterable[Run]) -> None:
    """Tell runs that their lease is lost, but not those that lost it by their own completion."""
    gone = list(runs)
    completing = [run for run in gone if run.completing]
    undecided = {Lease(run.task.id, run.claim) for run in completing}
    done = await _completed(storage, completing, else_=undecided) if completing else set()
    for run in gone:
        if Lease(run.task.id, run.claim) not in done:
            run.ask_to_stop(Interrupt.LEASE_LOST)


async def _completed(storage: LeasedTasks, runs: Sequence[Run], *, else_: set[Lease]) -> set[Lease]:
    """Return the runs that are Done by their own completion; where the store does not answer, `else_`."""
    try:
        return await storage.completed(runs)
    except RepositoryError as error:
        logger.warning("cannot read how %d completions ended: %s", len(runs), error)
        return else_
