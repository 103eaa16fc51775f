"""A repository whose calls fail as those of a real store do: refused, or done and never answered.

It wraps any repository. A test says which calls fail, one by one (`fail`), by a plan (`RandomFaults`), or all of them
(`down`). Code that loses nothing and does nothing twice on top of it has understood `UnknownOutcomeError`.
"""

from __future__ import annotations

from collections import Counter, deque
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime
from enum import Enum
from random import Random
from typing import TypeVar, cast

from kokugen.errors import RepositoryUnavailableError, UnknownOutcomeError
from kokugen.reply import Reply
from kokugen.repository.joining import Joined, join
from kokugen.repository.limit_rows import Admission, GateStatus, LimitRule
from kokugen.repository.protocol import DurableRepository, LimitRepository, ScheduleRepository
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

T = TypeVar("T")


class Fault(Enum):
    """How a call fails."""

    REFUSED = "refused"
    """RepositoryUnavailableError: nothing was changed."""
    UNANSWERED = "unanswered"
    """UnknownOutcomeError: it was done, and the answer was lost."""


Plan = Callable[[str], Fault | None]
"""Says how a call of the method of this name fails, None: it does not."""


class RandomFaults:
    """Lets calls fail by chance, the same ones for the same seed; `only` these methods, where they are named."""

    def __init__(
        self, random: Random, *, refused: float = 0.1, unanswered: float = 0.1, only: Sequence[str] = ()
    ) -> None:
        self._random = random
        self._refused = refused
        self._unanswered = unanswered
        self._only = frozenset(only)

    def __call__(self, verb: str) -> Fault | None:
        if self._only and verb not in self._only:
            return None
        drawn = self._random.random()
        if drawn < self._refused:
            return Fault.REFUSED
        return Fault.UNANSWERED if drawn < self._refused + self._unanswered else None


class FaultyRepository:
    """A `DurableRepository` that is another one, when it works. `faults` counts what failed by method and fault."""

    def __init__(self, repository: DurableRepository, plan: Plan | None = None) -> None:
        self.down = False
        """While it is set every call is refused."""
        self.plan = plan
        self.faults: Counter[tuple[str, Fault]] = Counter()
        self._inner = repository
        self._next: dict[str, deque[Fault | None]] = {}

    def fail(self, verb: str, *faults: Fault | None) -> None:
        """Let the next calls of this method fail so, one after the other; None lets one pass."""
        self._next.setdefault(verb, deque()).extend(faults)

    def _fault(self, verb: str) -> Fault | None:
        planned = self._next.get(verb)
        if self.down:
            fault: Fault | None = Fault.REFUSED
        elif planned:
            fault = planned.popleft()
        else:
            fault = self.plan(verb) if self.plan is not None else None
        if fault is not None:
            self.faults[verb, fault] += 1
        return fault

    def _ask(self, verb: str, call: Callable[[], Reply[T]]) -> Reply[T]:
        fault = self._fault(verb)
        if fault is Fault.REFUSED:
            return Reply.failed(_refusal(verb))
        answer = call()
        return answer if fault is None else answer.then(lambda value: _lose(verb, value))

    def _ask_seed(self, verb: str, call: Callable[[], Awaitable[T]]) -> Awaitable[T]:
        """As `_ask`, for the methods that a repository may also have as `async def`."""
        fault = self._fault(verb)
        if fault is Fault.REFUSED:
            return Reply.failed(_refusal(verb))
        answer = call()
        return answer if fault is None else _lost(verb, answer)

    # -- The store behind it

    @property
    def url(self) -> str:
        return self._inner.url

    @property
    def namespace(self) -> str:
        return self._inner.namespace

    def open(self) -> None:
        if self._fault("open") is not None:
            raise _refusal("open")
        self._inner.open()

    def close(self) -> None:
        self._inner.close()

    def listen(self, hint: Callable[[int], object]) -> Callable[[], None]:
        return self._inner.listen(hint)

    def ask_for_ends(self) -> None:
        self._inner.ask_for_ends()

    def within(self, connection: object) -> Joined:
        """Take part in a user's transaction as the wrapped repository does; what fails there is the user's to say."""
        return join(self._inner, connection)

    # -- The life of a task

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        return self._ask("add", lambda: self._inner.add(tasks))

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        return self._ask("claim", lambda: self._inner.claim(request))

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        return self._ask("finish", lambda: self._inner.finish(rows))

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        return self._ask("beat", lambda: self._inner.beat(leases, ttl_s=ttl_s))

    def report(self, rows: Sequence[Report]) -> Reply[None]:
        return self._ask("report", lambda: self._inner.report(rows))

    def watch(self, node_id: str) -> Reply[list[Observed]]:
        return self._ask("watch", lambda: self._inner.watch(node_id))

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        return self._ask("recover", lambda: self._inner.recover(observed))

    def held(self, node_id: str, claim: str) -> Reply[ClaimAnswer]:
        return self._ask("held", lambda: self._inner.held(node_id, claim))

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        return self._ask("cancel", lambda: self._inner.cancel(request))

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        return self._ask("revise", lambda: self._inner.revise(task_id, revision))

    # -- Reading

    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]:
        return self._ask("get", lambda: self._inner.get(task_ids))

    def over(self, task_ids: Sequence[str]) -> Reply[list[str]]:
        return self._ask("over", lambda: self._inner.over(task_ids))

    def page(self, query: TaskQuery) -> Reply[list[TaskInfo]]:
        return self._ask("page", lambda: self._inner.page(query))

    def count(self, query: TaskQuery) -> Reply[int]:
        return self._ask("count", lambda: self._inner.count(query))

    def attempts(self, task_id: str) -> Reply[list[Attempt]]:
        return self._ask("attempts", lambda: self._inner.attempts(task_id))

    def health(self) -> Reply[StoreHealth]:
        return self._ask("health", self._inner.health)

    # -- Operating

    def revive(self, task_ids: Sequence[str], *, due_at: int | None = None, by: str | None = None) -> Reply[list[str]]:
        return self._ask("revive", lambda: self._inner.revive(task_ids, due_at=due_at, by=by))

    def prune(self, retention: Retention) -> Reply[int]:
        return self._ask("prune", lambda: self._inner.prune(retention))

    def register(self, node: NodeInfo) -> Reply[None]:
        return self._ask("register", lambda: self._inner.register(node))

    def retire(self, node_id: str) -> Reply[None]:
        return self._ask("retire", lambda: self._inner.retire(node_id))

    def nodes(self) -> Reply[list[NodeInfo]]:
        return self._ask("nodes", self._inner.nodes)

    # -- Schedules, where the repository keeps any

    @property
    def _schedules(self) -> ScheduleRepository:
        return cast("ScheduleRepository", self._inner)

    @property
    def _limits(self) -> LimitRepository:
        return cast("LimitRepository", self._inner)

    def declare_limits(self, known: Sequence[str], rules: Sequence[LimitRule]) -> Reply[None]:
        return self._ask("declare_limits", lambda: self._limits.declare_limits(known, rules))

    def admit(self, ahead_us: int, *, everywhere: bool = False) -> Reply[Admission]:
        return self._ask("admit", lambda: self._limits.admit(ahead_us, everywhere=everywhere))

    def gates(self) -> Reply[list[GateStatus]]:
        return self._ask("gates", self._limits.gates)

    def change_schedules(self, changes: Sequence[ScheduleChange]) -> Reply[list[Changed]]:
        return self._ask("change_schedules", lambda: self._schedules.change_schedules(changes))

    def schedules(self, query: ScheduleQuery) -> Reply[list[ScheduleRow]]:
        return self._ask("schedules", lambda: self._schedules.schedules(query))

    def due_schedules(self, until_us: int, limit: int) -> Reply[list[ScheduleRow]]:
        return self._ask("due_schedules", lambda: self._schedules.due_schedules(until_us, limit))

    def settle_overlaps(self, until_us: int, limit: int) -> Reply[int]:
        return self._ask("settle_overlaps", lambda: self._schedules.settle_overlaps(until_us, limit))

    def ledger(self, query: LedgerQuery) -> Reply[Ledger]:
        return self._ask("ledger", lambda: self._schedules.ledger(query))

    def schedule_audit(self, name: str, limit: int = 100) -> Reply[list[AuditRow]]:
        return self._ask("schedule_audit", lambda: self._schedules.schedule_audit(name, limit))

    def forget_occurrences(self, before_us: int, limit: int) -> Reply[int]:
        return self._ask("forget_occurrences", lambda: self._schedules.forget_occurrences(before_us, limit))

    # -- The seed's

    def insert(self, info: TaskInfo) -> Awaitable[str]:
        return self._ask_seed("insert", lambda: self._inner.insert(info))

    def get_updated_since(self, since: datetime) -> Awaitable[Sequence[TaskInfo]]:
        return self._ask_seed("get_updated_since", lambda: self._inner.get_updated_since(since))

    def get_by_id(self, task_id: str) -> Awaitable[TaskInfo]:
        return self._ask_seed("get_by_id", lambda: self._inner.get_by_id(task_id))

    def mark_as_done(self, task_id: str) -> Awaitable[bool]:
        return self._ask_seed("mark_as_done", lambda: self._inner.mark_as_done(task_id))

    def mark_as_cancelled(self, task_id: str) -> Awaitable[bool]:
        return self._ask_seed("mark_as_cancelled", lambda: self._inner.mark_as_cancelled(task_id))

    def mark_as_failed(self, task_id: str) -> Awaitable[bool]:
        return self._ask_seed("mark_as_failed", lambda: self._inner.mark_as_failed(task_id))

    def update_state(self, task_id: str, old: TaskState, new: TaskState) -> Awaitable[bool]:
        return self._ask_seed("update_state", lambda: self._inner.update_state(task_id, old, new))

    def update(self, task_id: str, diff: UpdateDiff) -> Awaitable[None]:
        return self._ask_seed("update", lambda: self._inner.update(task_id, diff))


def _refusal(verb: str) -> RepositoryUnavailableError:
    return RepositoryUnavailableError(f"{verb}: refused by the test; nothing was changed")


def _lose(verb: str, _value: T) -> T:
    """Raise instead of handing on the value that was the answer."""
    raise UnknownOutcomeError(verb)


async def _lost(verb: str, answer: Awaitable[T]) -> T:
    return _lose(verb, await answer)
