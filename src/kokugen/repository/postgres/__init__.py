"""The repository in a PostgreSQL database, shared by any number of nodes on any number of machines. Uses asyncpg.

`session` and `pool` connect, `migration` makes the tables, `lane` turns calls into statements, which are files of their
own in `statements`; `tasks`, `runs`, `changes` and `reading` say which, and `hints` wakes other nodes. `guest` works in
transactions of users, on whose connections `links` asks.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from kokugen.clock import Clock, SystemClock
from kokugen.errors import KokugenError
from kokugen.ids import IdSource, system_random
from kokugen.reply import Reply
from kokugen.repository.joining import Joined
from kokugen.repository.postgres import actions
from kokugen.repository.postgres.address import Address, parse
from kokugen.repository.postgres.drift import Drift
from kokugen.repository.postgres.guest import guest_of
from kokugen.repository.postgres.hints import Hint, Hints
from kokugen.repository.postgres.lane import Action
from kokugen.repository.postgres.look import version_of
from kokugen.repository.postgres.migration import newest_version
from kokugen.repository.postgres.store import Store
from kokugen.repository.protocol import AWAITED, ENDED, STOP_ASKED
from kokugen.repository.rows import (
    Added,
    Beaten,
    CancelAnswer,
    CancelRequest,
    CancelResult,
    ClaimAnswer,
    ClaimRequest,
    Finish,
    Finished,
    Lease,
    NewTask,
    Observed,
    Recovered,
    Report,
    Retention,
    Revision,
    StoreHealth,
    may_wait,
)
from kokugen.repository.schedule_rows import (
    AuditRow,
    Changed,
    Ledger,
    LedgerQuery,
    ScheduleChange,
    ScheduleQuery,
    ScheduleRow,
)
from kokugen.repository.seed_methods import SeedMethods
from kokugen.repository.versions import Schema
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery, TaskState

T = TypeVar("T")

_abandoned: list[object] = []
"""Connections of a parent process: they are the parent's, and closing them in a forked child would end them."""


class PostgresRepository(SeedMethods):
    """Tasks of one namespace in one schema. Any thread may call it; it is opened at first use, also after `close`."""

    def __init__(self, url: str, *, namespace: str = "default", clock: Clock | None = None) -> None:
        self._address: Address = parse(url)
        self._namespace = namespace
        self._clock = clock or SystemClock()
        self._ids = IdSource(self._clock, system_random())
        self._reset()

    def _reset(self) -> None:
        self._lock = Lock()
        self._pid = os.getpid()
        self._store: Store | None = None
        self._drift = Drift()
        self._hints = Hints(self._address, self._namespace, self._ids.node_id(), self._clock)

    @property
    def url(self) -> str:
        return self._address.url

    @property
    def namespace(self) -> str:
        return self._namespace

    @property
    def ahead_us(self) -> int:
        return self._drift.ahead_us

    # -- The server

    def schema(self) -> Schema:
        return Schema(version_of(self._address), newest_version())

    def open(self) -> None:
        self._opened()

    def _opened(self) -> Store:
        if self._pid != os.getpid():
            _abandoned.append(self._store)
            self._reset()
        store = self._store
        if store is None:
            with self._lock:
                store = self._store = self._store or self._connect()
        return store

    def _connect(self) -> Store:
        store = Store(self._address, self._namespace, self._clock, self._hints, self._drift)
        store.open(self._ids.task_id())
        if self._hints.heard_by:
            store.listen()
        return store

    def close(self) -> None:
        if self._pid != os.getpid():
            return
        with self._lock:
            store, self._store = self._store, None
        if store is not None:  # without the lock: its last answers may lead to calls that open it again
            store.close()

    def listen(self, hint: Hint) -> Callable[[], None]:
        store = self._opened()
        heard_by = self._hints.heard_by
        heard_by.append(hint)
        store.listen()

        def leave() -> None:
            if hint in heard_by:
                heard_by.remove(hint)
                if not heard_by:
                    store.unlisten()

        return leave

    # -- Asking

    def _ask(self, action: Action, *arguments: Any, task_ids: tuple[str, ...] = ()) -> Reply[Any]:
        try:
            return self._opened().submit(action, *arguments, task_ids=task_ids)
        except KokugenError as error:
            return Reply.failed(error)

    def _hinting(self, reply: Reply[T], due_us: int) -> Reply[T]:
        """Tell here and elsewhere, once it is answered, that tasks due then have come."""
        store = self._store

        def hint() -> None:
            if self._store is store:  # else it is being closed, and nobody is to open it again for a hint
                self._hints.hear(due_us)
            if store is not None:
                store.tell(due_us)

        reply.when_done(hint)
        return reply

    # -- The life of a task

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        if not tasks:
            return Reply.of([])
        reply = self._ask(actions.ADD, tasks, task_ids=tuple(task.id for task in tasks[:4]))
        return self._hinting(reply, min(task.due_at for task in tasks))

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        return self._ask(actions.CLAIM, request)

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        if not rows:
            return Reply.of([])
        reply = self._telling(self._ask(actions.FINISH, rows))
        waiting = [row.due_at or 0 for row in rows if may_wait(row)]
        return self._hinting(reply, min(waiting)) if waiting else reply

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        if not leases:
            return Reply.of([])
        if ttl_s is not None:
            return self._ask(actions.PART, leases, ttl_s)
        beaten: Reply[list[list[Beaten]]] = self._ask(actions.BEAT, leases)
        return beaten.then(lambda each: [one for ones in each for one in ones])

    def report(self, rows: Sequence[Report]) -> Reply[None]:
        return self._ask(actions.REPORT, rows) if rows else Reply.of(None)

    def watch(self, node_id: str) -> Reply[list[Observed]]:
        return self._ask(actions.WATCH, node_id)

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        return self._hinting(self._ask(actions.RECOVER, observed), 0) if observed else Reply.of([])

    def held(self, node_id: str, claim: str) -> Reply[ClaimAnswer]:
        return self._ask(actions.HELD, node_id, claim)

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        reply: Reply[list[CancelAnswer]] = self._ask(actions.CANCEL, request, task_ids=request.ids)
        return self._telling(reply.then(self._tell_of_stops))

    def ask_for_ends(self) -> None:
        self._opened().tell(AWAITED)

    def _telling(self, reply: Reply[T]) -> Reply[T]:
        """Tell, once it is answered, that tasks may have ended: here, and elsewhere where someone waits."""
        store, ends = self._store, self._hints.ends
        if store is not None and ends.awaited:
            reply.when_done(lambda: store.tell(ENDED))
        if self._hints.heard_by:
            reply.when_done(lambda: self._hints.hear(ENDED))
        return reply

    def _tell_of_stops(self, answers: list[CancelAnswer]) -> list[CancelAnswer]:
        """Tell elsewhere that runs were asked to stop; here whoever cancels knows."""
        store = self._store
        if store is not None and any(one.result is CancelResult.REQUESTED for one in answers):
            store.tell(STOP_ASKED)
        return answers

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        return self._hinting(self._ask(actions.REVISE, task_id, revision, task_ids=(task_id,)), revision.due_at or 0)

    def within(self, connection: object) -> Joined:
        return guest_of(connection, self.url, lambda: self._opened().host)

    # -- Reading

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        found: Reply[list[TaskInfo | None]] = self._ask(actions.GET, task_ids)
        return found.then(lambda infos: [info for info in infos if info is not None])

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        return self._ask(actions.OVER, task_ids)

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        return self._ask(actions.PAGE, query)

    def count(self, query: TaskQuery) -> Reply[int]:
        return self._ask(actions.COUNT, query)

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        return self._ask(actions.ATTEMPTS, task_id)

    def health(self) -> Reply[StoreHealth]:
        return self._ask(actions.HEALTH, self.url)

    def nodes(self) -> Reply[list[NodeInfo]]:
        return self._ask(actions.NODES)

    def _modified_since(self, since_us: int, limit: int) -> Reply[list[TaskInfo]]:
        return self._ask(actions.MODIFIED_SINCE, since_us, limit)

    # -- Operating

    def revive(self, task_ids: Sequence[str], *, due_at: int | None = None, by: str | None = None) -> Reply[list[str]]:
        reply = self._ask(actions.REVIVE, task_ids, due_at, by, task_ids=tuple(task_ids[:4]))
        return self._hinting(reply, due_at or 0)

    def prune(self, retention: Retention) -> Reply[int]:
        return self._ask(actions.PRUNE, retention)

    def register(self, node: NodeInfo) -> Reply[None]:
        return self._ask(actions.REGISTER, node)

    def retire(self, node_id: str) -> Reply[None]:
        return self._hinting(self._ask(actions.RETIRE, node_id), 0)

    # -- Schedules

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        if not changes:
            return Reply.of([])
        reply = self._ask(actions.CHANGE_SCHEDULES, changes)
        due = [task.due_at for change in changes for task in change.tasks]
        due += [0 for change in changes if change.drop_from is not None]
        return self._hinting(reply, min(due)) if due else reply

    def settle_overlaps(self, until_us: int, limit: int) -> Reply[int]:
        settled: Reply[int] = self._ask(actions.SETTLE_OVERLAPS, until_us, limit)
        return settled.then(self._tell_of_replaced)

    def _tell_of_replaced(self, changed: int) -> int:
        """Tell here and elsewhere that runs may have been asked to stop for the next occurrence."""
        if changed:
            self._hinting(Reply.of(None), STOP_ASKED)
        return changed

    def forget_occurrences(self, before_us: int, limit: int) -> Reply[int]:
        return self._ask(actions.FORGET_OCCURRENCES, before_us, limit)

    def schedules(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        return self._ask(actions.SCHEDULES, query)

    def due_schedules(self, until_us: int, limit: int) -> Reply[list[ScheduleRow]]:
        return self._ask(actions.DUE_SCHEDULES, until_us, limit)

    def ledger(self, query: LedgerQuery) -> Reply[Ledger]:
        return self._ask(actions.LEDGER, query)

    def schedule_audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        return self._ask(actions.SCHEDULE_AUDIT, name, limit)

    def _transition(
        self, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None
    ) -> Reply[TaskState]:
        return self._ask(actions.TRANSITION, task_id, old, new, reason, self._ids.nonce(), task_ids=(task_id,))
