"""What a repository promises: the seed's small protocols, which anyone can implement, and the engine's.

The engine's methods all return a `Reply`: `await` it in a coroutine, or `result()` it in a thread. Each call is one
atomic change; a call that raises changed nothing, except `UnknownOutcomeError`, which says that it may have.
`kokugen.testing` has the suite that every implementation passes.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from typing import Protocol, runtime_checkable

from kokugen.reply import Reply
from kokugen.repository.limit_rows import Admission, GateStatus, LimitRule
from kokugen.repository.rows import (
    Added,
    Beaten,
    CancelAnswer,
    CancelRequest,
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
from kokugen.task import Attempt, NodeInfo, TaskInfo, TaskQuery, TaskState, UpdateDiff

STOP_ASKED = -(1 << 62)
"""The hint that runs may have been asked to stop: a time before all times that a task can be due."""
ENDED = STOP_ASKED + 1
"""The hint that tasks may have ended."""
AWAITED = STOP_ASKED + 2
"""What a process says to others that waits for tasks to end: it is no hint that a listener hears."""


@runtime_checkable
class Repository(Protocol):
    """The seed's repository: what a task storage needs at least. `async def` methods fit, and so do `Reply`s."""

    def insert(self, info: TaskInfo) -> Awaitable[str]:
        """Store a task and return its id. `id` and `last_modified` of `info` are ignored and made anew."""
        ...

    def get_updated_since(self, since: datetime) -> Awaitable[Sequence[TaskInfo]]:
        """Return the tasks modified at or after `since`, ordered by `last_modified`, then id; possibly a first part.

        A part ends only between two different `last_modified`, or holds at least one that is later than `since`.
        """
        ...

    def get_by_id(self, task_id: str) -> Awaitable[TaskInfo]:
        """Return the task. Raises NoEntryError where there is none."""
        ...

    def mark_as_done(self, task_id: str) -> Awaitable[bool]:
        """Mark as Done and return True; False, and no change, unless it was Initialized or Working.

        Raises NoEntryError where there is no such task.
        """
        ...

    def mark_as_cancelled(self, task_id: str) -> Awaitable[bool]:
        """As `mark_as_done`, to Cancelled."""
        ...

    def mark_as_failed(self, task_id: str) -> Awaitable[bool]:
        """As `mark_as_done`, to Failed: workers failed to do this task."""
        ...


@runtime_checkable
class StateUpdater(Protocol):
    """Compare and swap of a state."""

    def update_state(self, task_id: str, old: TaskState, new: TaskState) -> Awaitable[bool]:
        """Change the state to `new` if it is `old`, and return whether it was.

        Raises NoEntryError, and NotUpdatableStateError where `old` is terminal or `new` cannot follow it.
        """
        ...


@runtime_checkable
class Updater(Protocol):
    """Change of a waiting task's fields."""

    def update(self, task_id: str, diff: UpdateDiff) -> Awaitable[None]:
        """Change the fields that `diff` gives. Raises NoEntryError, and NotUpdatableStateError unless Initialized."""
        ...


@runtime_checkable
class RepositoryUpdater(Repository, StateUpdater, Protocol):
    """What several nodes on one store need at least: the seed's repository with compare and swap."""


class ClaimRepository(Protocol):
    """The life of a task, in batches (PROTOCOL T1–T11, T13)."""

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        """Add tasks, durably once answered; one answer a task, in order. Each task stands alone.

        Adding an id again is answered EXISTED and changes nothing, so an unanswered call may be repeated.
        """
        ...

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        """Take due tasks for a node, those that come first by `due_at + rank * ageing_us`. They are Working after it.

        Of equals the higher priority goes first, then the smaller id.
        Each gets fence+1, attempt+1, beat 0 and the request's nonce as its claim. Tasks on hold, past their start
        deadline or of other queues are not taken; up to 100 past their start deadline become Cancelled (`expired`),
        those on hold once they are released. Of works that are to be strict they run at most once from then on.
        """
        ...

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        """Record how runs ended; one answer a row, in order. Only the row whose claim is given is changed.

        A waiting state becomes Cancelled instead where a cancel was requested, and its reason is the request's.
        Raises InvalidEntryError, with nothing written, where a row would end as Working.
        """
        ...

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        """Extend leases: beat+1, and nothing else. Those that are not this claim's any more are not in the answer.

        With `ttl_s` watchers wait only so long from now on: for an owner that is about to end.
        """
        ...

    def report(self, rows: Sequence[Report]) -> Reply[None]:
        """Write what runs say of their progress where the claim is still the row's. Its revision does not grow.

        A row that another transaction holds locked may be left out.
        """
        ...

    def watch(self, node_id: str) -> Reply[list[Observed]]:
        """Return the runs of all other nodes that hold a lease."""
        ...

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        """Take runs from their owners, those alone whose claim and beat are still as observed (T6, T7).

        Cancel requested: Cancelled. At most once, or lost `max_lost` times now: Failed. Else Initialized, lost+1,
        attempt-1: a crash never uses up an attempt. Reason `lost`.
        """
        ...

    def held(self, node_id: str, claim: str) -> Reply[ClaimAnswer]:
        """Return the runs that the node has under this claim: the answer of a claim whose answer was lost."""
        ...

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        """Cancel tasks (T8, T9); one answer an id, in order."""
        ...

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        """Change a waiting task and return its new revision.

        Raises NoEntryError, NotUpdatableStateError unless Initialized, StaleRevisionError where `rev` is another.
        """
        ...


class QueryRepository(Protocol):
    """Reading. Never blocks a writer."""

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        """Return the tasks that exist, in the order asked for."""
        ...

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        """Return those of the ids whose task is over, or that there is no task of: what a wait for them looks for."""
        ...

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        """Return up to `query.limit` tasks (at most 1,000) in order of due time, then id."""
        ...

    def count(self, query: TaskQuery) -> Reply[int]:
        """Return how many tasks fit; `after` and `limit` do not matter."""
        ...

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        """Return the attempts of a task that did not simply succeed, oldest first."""
        ...

    def health(self) -> Reply[StoreHealth]:
        """Return what the store says of itself."""
        ...


class OperatorRepository(Protocol):
    """What people and housekeeping do."""

    def revive(self, task_ids: Sequence[str], *, due_at: int | None = None, by: str | None = None) -> Reply[list[str]]:
        """Make ended tasks wait again (T12), due at `due_at` or now, attempts and losses at zero; return their ids.

        Those that are not over, or whose unique key is taken by a live task, are left as they are. The fence goes on.
        """
        ...

    def prune(self, retention: Retention) -> Reply[int]:
        """Delete up to `limit` tasks past retention, with their bodies and history; return how many (T14).

        Nodes go too that were last seen before `failed_before`, unless a run is still theirs.
        """
        ...

    def register(self, node: NodeInfo) -> Reply[None]:
        """Write down that this node is there, or (again) that it was seen now."""
        ...

    def retire(self, node_id: str) -> Reply[None]:
        """Write down that a node stopped, and nothing of it can still be running; recover its runs at once."""
        ...

    def nodes(self) -> Reply[list[NodeInfo]]:
        """Return the nodes that are known, newest first."""
        ...


class StoreRepository(Protocol):
    """The store behind it."""

    @property
    def url(self) -> str:
        """Return the address, without secrets."""
        ...

    @property
    def namespace(self) -> str:
        """Return the namespace that every statement is bound to."""
        ...

    def open(self) -> None:
        """Open the store and bring its schema up to date. Repeating it does nothing. Raises RepositoryError."""
        ...

    def close(self) -> None:
        """Write what was accepted, then release the store. Repeating it does nothing."""
        ...

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        """Call `hint(due_us)` from any thread when tasks due then may have come (0: unknown). Returns the way out.

        `STOP_ASKED` says that runs may have been asked to stop elsewhere, `ENDED` that tasks may have ended. A hint may
        be lost or false: it wakes a claim earlier than the poll would, or a beat earlier than its time, and decides
        nothing.
        """
        ...

    def ask_for_ends(self) -> None:
        """Have other processes hint of the tasks that end there, for a few seconds from now on. May do nothing."""
        ...


@runtime_checkable
class ScheduleRepository(Protocol):
    """Schedules, their ledger and their audit, beside the tasks that come of them: an ability of its own.

    At most one occurrence of a schedule, unless its overlap is `allow`, may be claimed or Working at any time; further
    ones are on hold. Whatever ends that one lets the next go, and cancels those that its overlap does not keep.
    """

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        """Swap schedules, each where its revision is still the one expected; one answer a change, in order.

        One that is refused changes nothing and keeps no other back.
        """
        ...

    def schedules(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        """Return up to `query.limit` schedules (at most 1,000) in order of their names."""
        ...

    def due_schedules(self, until_us: int, limit: int) -> Reply[list[ScheduleRow]]:
        """Return the schedules whose `wake_at` is at or before `until_us`, the earliest first. Touches no others."""
        ...

    def settle_overlaps(self, until_us: int, limit: int) -> Reply[int]:
        """Look at occurrences on hold that are due by `until_us`, of up to `limit` schedules; return how many changed.

        One before which nothing waits or runs any more may go; those overdue are dealt with as their overlap says.
        """
        ...

    def ledger(self, query: LedgerQuery) -> Reply[Ledger]:
        """Return a part of a schedule's ledger, also of one that was removed."""
        ...

    def schedule_audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        """Return the changes of the schedules of this name by someone, newest first."""
        ...

    def forget_occurrences(self, before_us: int, limit: int) -> Reply[int]:
        """Delete up to `limit` ledger rows, and ends, that are wholly before then; return how many."""
        ...


@runtime_checkable
class LimitRepository(Protocol):
    """Limits beside the tasks: an ability of its own (see `kokugen.repository.limit_rows`).

    A task that is added, or waits again, stops at the first of its gates, on hold, before any claim can see it. Whoever
    has passed a gate and is not over has one of its slots; there are never more of them than the rule says, whatever
    else happens at the same time. Among those that wait at a gate and are due the higher priority passes first, then
    the earlier due time, then the id. What ends, comes or changes through this repository lets others pass at once.
    """

    def declare_limits(self, known: Sequence[str], rules: Sequence[LimitRule]) -> Reply[None]:
        """Have these rules and, of the `known` names, no others. Tasks that wait or run already count from now on."""
        ...

    def admit(self, ahead_us: int, *, everywhere: bool = False) -> Reply[Admission]:
        """Let through who has become due, or does so within this time, and may pass; `everywhere`: all others, too.

        Those that it is too late to start are Cancelled, reason `expired`.
        """
        ...

    def gates(self) -> Reply[list[GateStatus]]:
        """Return the gates that are declared, at which a task waits, or whose slots a task has, in order of names."""
        ...


@runtime_checkable
class TimedRepository(Protocol):
    """A store with a clock of its own, by which its tasks are due."""

    @property
    def ahead_us(self) -> int:
        """Return by how much the store's clock is ahead of this machine's, as far as it is known; nought if not."""
        ...


@runtime_checkable
class DurableRepository(
    ClaimRepository,
    QueryRepository,
    OperatorRepository,
    StoreRepository,
    RepositoryUpdater,
    Updater,
    Protocol,
):
    """The full contract, which the built-in repositories implement: the seed's methods and the engine's."""
