"""What travels between the engine and a repository: narrow frozen rows, instants in microseconds.

They are arrays on the wire (`array_like`): a whole batch is encoded, bound and decoded in one C call each, and the
order of the fields is the order of the columns. Those that come in thousands hold plain values alone, so the garbage
collector need not look at them (`gc=False`).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

from msgspec import Struct, structs

from kokugen.codec import with_argument
from kokugen.task import MAX_LOST_DEFAULT, QUEUE_DEFAULT, Mode, OnDuplicate, Priority, TaskState

ATTEMPTS_KEPT = 100
"""How many attempts, the latest, a store remembers of one task."""


class NewTask(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A task to add (T1). `param` is JSON text (see `kokugen.codec`), `rank` the negated priority level."""

    id: str
    work_id: str
    due_at: int
    scheduled_time: int
    param: str = "{}"
    queue: str = QUEUE_DEFAULT
    rank: int = -Priority.NORMAL
    mode: int = Mode.AT_LEAST_ONCE
    max_attempts: int = 1
    max_lost: int = MAX_LOST_DEFAULT
    start_deadline: int | None = None
    """From when on it is too late to start. Wherever `due_at` changes, this moves along with it."""
    unique_key: str | None = None
    tags: str | None = None
    """JSON array of strings, or None."""
    options: str | None = None
    """JSON object of what this task alone has (`kokugen.options.StoredOptions`), or None."""
    zone: str | None = None
    local_time: str | None = None
    limit_key: str | None = None
    """Tasks with the same key have a limit in common."""
    on_duplicate: int = OnDuplicate.REFUSE
    """What becomes of it where a live task of the same work and queue has its unique key. It is not stored."""


CHAIN_HOLD = "chain"
"""The hold of a task that waits for the end of another."""
NOT_REACHED = "not reached"
"""The reason of a task that was to follow another, which ended otherwise, or was cancelled."""


class ChainedTask(NewTask, frozen=True, kw_only=True, array_like=True, gc=False):
    """A task that others follow, or that follows another; it is added behind the first of its chain, in one call.

    The first has `chain` alone, which is its own id. Those behind it are added if it is, and with it. Each waits on
    hold until the one that it `follows` ends as `follows_on` says, and is due `follows_delay` microseconds later; where
    that ends otherwise, or is cancelled, it is Cancelled, and so are those that follow it.
    """

    hold: str | None = None
    chain: str
    follows: str | None = None
    follows_on: int | None = None
    """The bits of `kokugen.then.AFTER`."""
    follows_delay: int | None = None
    follows_arg: str | None = None
    """The keyword argument that is given the result of the one before, null where there is none."""


def follows(task: NewTask) -> bool:
    """Return whether a task is added only with the one before it."""
    return isinstance(task, ChainedTask) and task.follows is not None


class AddResult(IntEnum):
    """What became of one task to add."""

    ADDED = 0
    EXISTED = 1
    """A task with this id is there already: the earlier, unanswered call won. Nothing was changed."""
    DUPLICATE = 2
    """Another live task has the unique key: nothing was added."""
    REPLACED = 3
    """The waiting task that has the unique key took what was asked for; a running one would have given its key away."""


class Added(Struct, frozen=True, array_like=True, gc=False):
    """The answer for one task to add; `id` is the existing task's where the unique key is taken."""

    id: str
    result: AddResult


NO_AGEING_US = 10**18
"""A level of priority is worth more than all times that there are: no lower one ever goes first."""


class ClaimRequest(Struct, frozen=True, kw_only=True):
    """Ask for due tasks (T2): up to `slots` of any kind, and up to `buffer` more that may wait for a slot.

    Only tasks that may run again (mode 0, never lost) go into the buffer, and at most `lost_max` tasks that were lost
    before are handed out at all, so that a poison task dies alone.
    """

    node_id: str
    nonce: str
    slots: int
    buffer: int = 0
    lost_max: int = 1
    queues: tuple[str, ...] = (QUEUE_DEFAULT,)
    only: frozenset[str] | None = None
    """The work ids to claim; None: all but `skip`."""
    skip: frozenset[str] = frozenset()
    """Work ids known to be missing here."""
    strict: frozenset[str] = frozenset()
    """Work ids whose tasks run at most once from this claim on, whatever they were stored as."""
    ahead_us: int = 20_000
    ageing_us: int = 600_000_000
    """By how much earlier a task has to be due to go before one of the next higher priority, at most `NO_AGEING_US`."""
    ttl_s: float = 30.0


class Link(Struct, frozen=True, array_like=True, gc=False):
    """What a run is told of its task's chain."""

    chain: str
    follows: str | None = None
    argument: str | None = None
    given: str | None = None
    """The JSON text of that argument's value."""


class Claimed(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """A task that was claimed: all that its run needs."""

    id: str
    work_id: str
    param: str
    queue: str
    mode: int
    scheduled_time: int
    due_at: int
    attempt: int
    max_attempts: int
    lost: int
    max_lost: int
    fence: int
    tags: str | None
    options: str | None
    start_deadline: int | None = None
    link: Link | None = None

    @property
    def chained(self) -> bool:
        """Return whether its end may let others go."""
        return self.link is not None

    @property
    def follows(self) -> str | None:
        """Return the id of the task whose end let it go."""
        return None if self.link is None else self.link.follows


def linked_param(param: str, link: Link | None) -> str:
    """Return arguments with the one that the task before gave, where it gave one."""
    if link is None or link.argument is None or link.given is None:
        return param
    return with_argument(param, link.argument, link.given)


def linked(tasks: list[Claimed]) -> list[Claimed]:
    """Return claimed tasks as the store told them, each with the argument that it was given."""
    return [
        task if task.link is None else structs.replace(task, param=linked_param(task.param, task.link))
        for task in tasks
    ]


class ClaimAnswer(Struct, frozen=True, kw_only=True):
    """What a claim took, and when to ask again."""

    claim: str
    tasks: list[Claimed]
    next_due: int | None
    """The due time of the earliest waiting task of the served queues that was not due yet; None: there is none."""
    more: bool
    """Whether as many as asked for were found, so that more may be due now."""
    now: int


class Finish(Struct, frozen=True, kw_only=True, array_like=True, gc=False):
    """How a run ends (T3, T4, T5, T9, T10): the new state of the row whose claim is `claim`."""

    id: str
    claim: str
    state: int
    outcome: str
    """done, retry, snooze, failed, cancelled, released, undecodable, unknown: what the history says of the attempt.

    It says nothing of one that is done, or released before it started.
    """
    due_at: int | None = None
    """Only for `state` Initialized: when it may start next; None keeps it."""
    attempt_back: int = 0
    """1 where the attempt does not count (snooze, release)."""
    started_at: int | None = None
    hold: str | None = None
    reason: str | None = None
    error: str | None = None
    result: str | None = None
    chained: bool = False
    """Whether its end may let others go, which then are due."""


def is_told(row: Finish) -> bool:
    """Return whether the history tells of this attempt."""
    return row.outcome != "done" and (row.outcome != "released" or row.started_at is not None)


def may_wait(row: Finish) -> bool:
    """Return whether a task waits after this: the run's own, again, or one that follows it."""
    return row.chained or row.state == TaskState.INITIALIZED


class Finished(IntEnum):
    """What became of one finish."""

    APPLIED = 0
    """Written now, or found written: the earlier, unanswered commit won."""
    FENCED = 1
    """The row's claim is another: the outcome is refused and nothing was changed."""


class Lease(Struct, frozen=True, array_like=True, gc=False):
    """A run: the key of everything that its owner may do."""

    id: str
    claim: str


class Report(Struct, frozen=True, array_like=True, gc=False):
    """What a run says of its progress (`kokugen.task.stored_progress`)."""

    id: str
    claim: str
    progress: str


class Beaten(Struct, frozen=True, array_like=True, gc=False):
    """A lease that was extended by a beat. A lease that is not in the answer is lost."""

    id: str
    claim: str
    cancel_requested: bool
    extended: bool = True
    """False where another transaction holds the row locked: it is still the claim's, but nobody sees this beat."""


class Observed(Struct, frozen=True, array_like=True):
    """A run of another node as a watcher sees it. Unchanged for `ttl_s` on the watcher's boot clock = lost."""

    id: str
    claim: str
    beat: int
    ttl_s: float
    owner: str


class Recovered(Struct, frozen=True, array_like=True):
    """A run that was taken from its dead owner, and the state its task has now."""

    id: str
    state: TaskState


class CancelRequest(Struct, frozen=True, kw_only=True):
    """Cancel tasks. `force` ends Working ones at once and fences their runs; their outside effects may still happen."""

    ids: tuple[str, ...]
    reason: str | None = None
    force: bool = False
    by: str | None = None


class CancelResult(StrEnum):
    """What became of a cancellation."""

    CANCELLED = "cancelled"
    """It is Cancelled: no run of it will start."""
    REQUESTED = "requested"
    """It is running: its owner is told, no new attempt starts, and the task ends."""
    REFUSED = "refused"
    """It was over already; nothing was changed."""
    MISSING = "missing"
    """There is no such task."""


class CancelAnswer(Struct, frozen=True, array_like=True):
    """The answer for one task to cancel; `owner` and `claim` name the run that was asked to stop."""

    id: str
    result: CancelResult
    state: TaskState | None = None
    owner: str | None = None
    claim: str | None = None


class Revision(Struct, frozen=True, kw_only=True):
    """A change of a waiting task (T11). None leaves a field as it is; `rev` must be the row's where it is given.

    A new `scheduled_time` comes with its `zone` and `local_time`: where they are None, the old ones go.
    """

    due_at: int | None = None
    scheduled_time: int | None = None
    zone: str | None = None
    local_time: str | None = None
    rank: int | None = None
    param: str | None = None
    work_id: str | None = None
    hold: str | None = None
    release: bool = False
    """Take the task out of its hold."""
    rev: int | None = None
    by: str | None = None


class Retention(Struct, frozen=True, kw_only=True):
    """Tasks that ended before these instants may be deleted (T14)."""

    done_before: int
    cancelled_before: int
    failed_before: int
    limit: int = 1000


class StoreHealth(Struct, frozen=True, kw_only=True):
    """What a store says of itself."""

    url: str
    backend: str
    version: str
    schema_version: int
    durable: bool
    counts: dict[str, int]
    """How many tasks are in each state, by its label; every state is there."""
    held: int
    """How many waiting tasks are on hold."""
    overdue: int
    """How many other waiting tasks were due before now."""
    oldest_due_us: int | None = None
    """When the first of the waiting tasks that are not on hold was, or is, due."""
