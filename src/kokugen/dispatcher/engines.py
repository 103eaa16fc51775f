"""What places have in common whose runs are in the hands of another engine, and may outlive their node.

Such an engine knows a run by a key that is made of its task's id, attempt and fence: the claim wrote these into the
store before the engine hears of the run. So whoever takes a lost task over knows the keys of its earlier runs, finds
what the engine has of them, and never runs it twice beside each other.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from uuid import NAMESPACE_OID, UUID, uuid5

from msgspec import Struct

from kokugen.errors import WorkerDiedError
from kokugen.run import Interrupt, Run

UNREACHED_S = 5
"""When to ask again for an engine that cannot be reached."""


class RunKey(Struct, frozen=True):
    """The key of a run: by which an engine knows it."""

    scope: str
    task_id: str
    attempt: int
    fence: int

    @property
    def uuid(self) -> UUID:
        """Return the key as a UUID."""
        return uuid5(NAMESPACE_OID, "\0".join((self.scope, self.task_id, str(self.attempt), str(self.fence))))


def key_of(run: Run, scope: str) -> RunKey:
    """Return the key of this run. `scope` tells stores apart that share an engine."""
    return RunKey(scope, run.task_id, run.attempt, run.fence)


def earlier_keys(run: Run, scope: str) -> Iterator[RunKey]:
    """Yield the keys of the runs of this attempt that may have been lost, the latest first."""
    least = max(1, run.fence - run.task.lost)
    return (RunKey(scope, run.task_id, run.attempt, fence) for fence in range(run.fence - 1, least - 1, -1))


def stopped(run: Run, by: str) -> BaseException:
    """Return what to raise for a run that was stopped where it was, or never began there."""
    if run.interrupt is Interrupt.TIMEOUT:
        return TimeoutError(f"its time was over, and {by} stopped it")
    if run.interrupt is not None:
        return asyncio.CancelledError(f"{by} stopped it, as it was asked to")
    return WorkerDiedError(f"{by} lost the run of work {run.work_id!r} before it was over")
