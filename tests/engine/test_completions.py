"""Runs that complete themselves in a transaction: the engine keeps its hands off until that has decided."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from random import Random

import pytest

from kokugen.errors import RepositoryUnavailableError
from kokugen.ids import IdSource
from kokugen.reply import Reply
from kokugen.repository.memory import MemoryRepository
from kokugen.repository.rows import Added, Beaten, CancelRequest, Finish, Finished, Lease, NewTask, Observed, Recovered
from kokugen.run import Interrupt, Run
from kokugen.task import TaskState
from kokugen.task_storage.completion import Completer
from tests.engine.node import Lab, Node, later, virtually

TTL_S, BEAT_S = 30.0, 10.0


class Transaction:
    """A user's transaction on the store; whatever it wrote is locked until it ends."""

    is_async = False

    def __init__(self, store: LockingStore) -> None:
        self._store = store
        self._rows: list[Finish] = []

    def add(self, tasks: Sequence[NewTask]) -> list[Added]:
        raise NotImplementedError

    def finish(self, row: Finish) -> Finished:
        self._rows.append(row)
        self._store.locked.add(Lease(row.id, row.claim))
        return Finished.APPLIED

    def commit(self) -> None:
        rows = list(self._rows)
        self.rollback()
        self._store.finish(rows).peek()

    def rollback(self) -> None:
        self._store.locked.difference_update({Lease(row.id, row.claim) for row in self._rows})
        self._rows.clear()


class LockingStore(MemoryRepository):
    """A store in memory that takes part in transactions, and skips what one of them has locked as PostgreSQL does."""

    def __init__(self, lab: Lab) -> None:
        super().__init__(clock=lab.clock, ids=IdSource(lab.clock, Random(0)))
        self.locked: set[Lease] = set()

    def within(self, connection: object) -> Transaction:
        assert isinstance(connection, Transaction)
        return connection

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        waiting = [Beaten(one.id, one.claim, False, extended=False) for one in leases if one in self.locked]
        return super().beat([one for one in leases if one not in self.locked]).then(lambda kept: [*kept, *waiting])

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        return super().recover([one for one in observed if Lease(one.id, one.claim) not in self.locked])

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        if any(Lease(row.id, row.claim) in self.locked for row in rows):
            return Reply.failed(RepositoryUnavailableError("another transaction holds its row"))
        return super().finish(rows)


class Bench:
    """One node on a locking store, whose one task opens a transaction and completes its run in it."""

    def __init__(self, lab: Lab, *, stubborn: bool = False) -> None:
        self.lab = lab
        self.stubborn = stubborn
        self.store = lab.store = LockingStore(lab)
        self.transaction = Transaction(self.store)
        self.returns = asyncio.Event()

    async def begin(self) -> Node:
        """Return the node once the run is completed, and nothing is committed."""

        @self.lab.works.work
        async def complete() -> None:
            run = self.lab.ledger.start()
            run.completer = Completer(self.store)
            run.complete(self.transaction)
            while not self.returns.is_set():
                try:
                    await self.returns.wait()
                except asyncio.CancelledError:
                    if not self.stubborn:
                        raise

        node = await self.lab.node()
        self.task_id = self.lab.add("complete")
        await later(1)
        return node

    @property
    def run(self) -> Run:
        return self.lab.ledger.runs[0]


def test_a_run_is_not_mistrusted_while_its_completion_is_open() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        owner, other = await bench.begin(), await lab.node()
        await later(10 * TTL_S)
        assert (bench.run.interrupt, lab.info(bench.task_id).fence) == (None, 1)
        bench.transaction.commit()
        bench.returns.set()
        await later(1)
        assert (lab.state(bench.task_id), lab.outcomes(bench.task_id)) == (TaskState.DONE, [])
        assert {"failed", "superseded"}.isdisjoint(owner.hooks.names())
        await owner.stop()
        await other.stop()

    virtually(main)


def test_a_run_may_go_on_after_its_completion_was_committed() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        node = await bench.begin()
        bench.transaction.commit()
        await later(3 * TTL_S)
        assert (bench.run.interrupt, node.running) == (None, 1)
        bench.returns.set()
        await later(1)
        assert (lab.info(bench.task_id).fence, lab.outcomes(bench.task_id)) == (1, [])
        assert {"failed", "superseded"}.isdisjoint(node.hooks.names())
        await node.stop()

    virtually(main)


def test_a_run_that_was_rolled_back_and_taken_over_is_told_so() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        node = await bench.begin()
        bench.transaction.rollback()
        lab.store.recover(lab.store.watch("another").peek()).peek()
        await later(BEAT_S + 1)
        assert bench.run.interrupt is Interrupt.LEASE_LOST
        assert "superseded" in node.hooks.names()
        bench.returns.set()
        await node.stop()

    virtually(main)


def test_a_run_that_was_rolled_back_keeps_its_lease_by_beats() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        owner, other = await bench.begin(), await lab.node()
        bench.transaction.rollback()
        await later(3 * TTL_S)
        assert (bench.run.interrupt, lab.info(bench.task_id).fence, owner.running) == (None, 1, 1)
        bench.returns.set()
        await later(1)
        info = lab.info(bench.task_id)
        assert (info.state, "was rolled back" in (info.error or "")) == (TaskState.FAILED, True)
        assert owner.hooks.names().count("dead") == 1
        await owner.stop()
        await other.stop()

    virtually(main)


def test_a_run_that_was_cancelled_and_rolled_back_ends_cancelled() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab, stubborn=True)
        node = await bench.begin()
        lab.store.cancel(CancelRequest(ids=(bench.task_id,))).peek()
        node.engine.drop(bench.task_id, bench.run.claim, None)
        bench.transaction.rollback()
        bench.returns.set()
        await later(1)
        assert lab.state(bench.task_id) is TaskState.CANCELLED
        await node.stop()

    virtually(main)


@pytest.mark.parametrize("commits", [True, False])
def test_work_may_return_before_its_transaction_ends(commits: bool) -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        owner, other = await bench.begin(), await lab.node()
        bench.returns.set()
        await later(TTL_S / 2)
        assert (lab.state(bench.task_id), owner.hooks.names().count("failed")) == (TaskState.WORKING, 0)
        bench.transaction.commit() if commits else bench.transaction.rollback()
        await later(BEAT_S + 1)
        info = lab.info(bench.task_id)
        assert (info.state, info.fence) == (TaskState.DONE if commits else TaskState.FAILED, 1)
        await owner.stop()
        await other.stop()

    virtually(main)


def test_where_nobody_can_say_how_it_ended_work_that_returned_has_not_failed() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        node = await bench.begin()
        bench.transaction.commit()
        node.line.silent.add("get")
        bench.returns.set()
        await later(10)
        assert {"failed", "dead"}.isdisjoint(node.hooks.names())
        assert lab.state(bench.task_id) is TaskState.DONE
        await node.stop()

    virtually(main)


def test_a_node_that_stops_still_tells_how_its_runs_ended() -> None:
    async def main(lab: Lab) -> None:
        bench = Bench(lab)
        node = await bench.begin()
        bench.transaction.rollback()
        node.line.slow_s["get"] = 2.0
        bench.returns.set()
        await later(1)
        assert lab.state(bench.task_id) is TaskState.FAILED
        await node.stop()
        assert "dead" in node.hooks.names()

    virtually(main)
