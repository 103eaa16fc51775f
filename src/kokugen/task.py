"""The plain data of a task: its states, what is asked for (`TaskParam`), what is known of it (`TaskInfo`).

Frozen values only: a change is a new value. Datetimes here are aware and in UTC; inside, instants are integers of
microseconds (see `kokugen.clock`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from enum import IntEnum
from typing import Any, Literal

import msgspec
from msgspec import UNSET, Struct, UnsetType

from kokugen.clock import from_us
from kokugen.errors import OptionError
from kokugen.retry import Retry
from kokugen.then import Then

QUEUE_DEFAULT = "default"
NAMESPACE_DEFAULT = "default"
MAX_LOST_DEFAULT = 3
AT = "@"
"""What stands between a queue and a place; neither name can hold it."""


def queue_at(queue: str, place: str | None) -> str:
    """Return the part of a queue where tasks wait that run at this place; None: by their work's kind."""
    return queue if place is None else f"{queue}{AT}{place}"


class TaskState(IntEnum):
    """The seed's five states. Retry, lost, expired and cancel-requested are reasons, not states."""

    INITIALIZED = 0
    WORKING = 1
    DONE = 2
    CANCELLED = 3
    FAILED = 4

    @property
    def label(self) -> str:
        """Return the seed's spelling: `Initialized`, `Working`, …"""
        return self.name.capitalize()

    @property
    def terminal(self) -> bool:
        """Return whether a task in this state is over."""
        return self >= TaskState.DONE

    @classmethod
    def parse(cls, text: str) -> TaskState:
        """Return the state called `text`, in any case. Raises OptionError naming the allowed ones."""
        try:
            return cls[text.strip().upper()]
        except KeyError:
            allowed = ", ".join(state.label for state in cls)
            raise OptionError(f"there is no task state {text!r}: use one of {allowed}") from None


class Mode(IntEnum):
    """What a crash in the middle of a run means for the task."""

    AT_LEAST_ONCE = 0
    """It runs again (the default): a run that was cut off is taken over."""
    AT_MOST_ONCE = 1
    """It never runs again: a run that was cut off is Failed with reason `lost`."""


ModeName = Literal["at_least_once", "at_most_once"]


class Priority(IntEnum):
    """Four levels; among tasks that are due the higher goes first."""

    LOW = 0
    NORMAL = 1
    HIGH = 2
    URGENT = 3


class Params(Struct, frozen=True):
    """The arguments that the work is called with."""

    args: tuple[Any, ...] = ()
    kwargs: dict[str, Any] = {}

    @classmethod
    def of(cls, param: ParamLike) -> Params:
        """Return `param` as Params: a mapping is keyword arguments, a list positional ones, None no arguments."""
        if param is None:
            return cls()
        if isinstance(param, Params):
            return param
        if isinstance(param, (list, tuple)):  # first, with dict: to ask an abstract class is slow
            return cls(args=tuple(param))
        if isinstance(param, (dict, Mapping)):
            return cls(kwargs=dict(param))
        if isinstance(param, Sequence) and not isinstance(param, str | bytes):
            return cls(args=tuple(param))
        raise OptionError(
            f"param must be a mapping (keyword arguments), a list (positional) or Params, not {type(param).__name__}"
        )


ParamLike = Params | Mapping[str, Any] | Sequence[Any] | None


class TaskParam(Struct, frozen=True, kw_only=True):
    """What to schedule, in plain data: the form underneath `at` and `after`, for callers without the code.

    `id` may be chosen by the caller (a UUID): adding the same id again changes nothing and makes no second task.
    Options left at None take the work's declared value, or the default where the work is not declared here.
    """

    work_id: str
    scheduled_time: datetime
    param: ParamLike = None
    id: str | None = None
    queue: str | None = None
    priority: int | None = None
    unique: str | None = None
    tags: tuple[str, ...] | None = None
    mode: ModeName | None = None
    retry: Retry | None = None
    timeout: timedelta | None = None
    start_within: timedelta | None = None
    max_lost: int | None = None
    then: Then | tuple[Then, ...] | None = None
    on: str | None = None


class TaskInfo(Struct, frozen=True, kw_only=True):
    """What the store knows of a task, at the moment it was read.

    The first six fields are the seed's. `param` is what was stored, as `Params` of plain JSON values; where it cannot
    be read it is the text as stored. A repository with the seed's methods alone need fill in no more than those.
    """

    work_id: str
    scheduled_time: datetime
    id: str = ""
    param: Any = None
    state: TaskState = TaskState.INITIALIZED
    last_modified: datetime | None = None
    namespace: str = NAMESPACE_DEFAULT
    queue: str = QUEUE_DEFAULT
    priority: Priority = Priority.NORMAL
    mode: Mode = Mode.AT_LEAST_ONCE
    tags: tuple[str, ...] = ()
    unique: str | None = None
    due_at: datetime | None = None
    start_deadline: datetime | None = None
    zone: str | None = None
    local_time: str | None = None
    hold: str | None = None
    reason: str | None = None
    error: str | None = None
    result: str | None = None
    attempt: int = 0
    max_attempts: int = 1
    lost: int = 0
    max_lost: int = MAX_LOST_DEFAULT
    fence: int = 0
    owner: str | None = None
    cancel_requested: bool = False
    rev: int = 0
    created_at: datetime | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    chain: str | None = None
    """The id of the first task of its chain; None where no task follows it, and it follows none."""
    follows: str | None = None
    """The id of the task after which it comes."""
    progress: Progress | None = None
    """What its last run said last (`Run.progress`)."""
    schedule_id: str | None = None
    schedule: str | None = None
    """The name of the schedule that it is of, as long as there is one."""
    nominal: datetime | None = None
    """Which of the times of its schedule it is."""

    @property
    def on(self) -> str | None:
        """Return the place that it names to run at, with which its `queue` ends; None: by its work's kind."""
        return self.queue.partition(AT)[2] or None


class Progress(Struct, frozen=True):
    """What a run said last of how far it is, as far as it is stored. `fraction` is 0 to 1."""

    fraction: float | None
    text: str | None
    at: datetime


def stored_progress(fence: int, fraction: float | None, text: str | None, at_us: int) -> str:
    """Return what is stored of a run's progress."""
    return msgspec.json.encode((fence, fraction, text, at_us)).decode()


def read_progress(stored: str | None, fence: int) -> Progress | None:
    """Return stored progress; None where there is none, where an earlier run said it, or where it cannot be read."""
    if stored is None:
        return None
    try:
        said_by, fraction, text, at_us = msgspec.json.decode(stored, type=tuple[int, float | None, str | None, int])
        return Progress(fraction, text, from_us(at_us)) if said_by == fence else None
    except (msgspec.MsgspecError, OverflowError):
        return None


class TaskStateSet(Struct, frozen=True):
    """One entry of a `SyncStateStore`: a task id and the state that is still to be written."""

    key: str
    value: TaskState


UpdateKey = frozenset[Literal["work_id", "param", "scheduled_time", "state"]]
"""The set of fields that an `UpdateDiff` changes."""


class UpdateDiff(Struct, frozen=True, kw_only=True):
    """A change of a stored task: only the fields that are given are changed."""

    work_id: str | UnsetType = UNSET
    param: ParamLike | UnsetType = UNSET
    scheduled_time: datetime | UnsetType = UNSET
    state: TaskState | UnsetType = UNSET

    @property
    def update_key(self) -> UpdateKey:
        """Return the names of the fields that this diff changes."""
        return frozenset(name for name in self.__struct_fields__ if getattr(self, name) is not UNSET)  # type: ignore[misc]


class Attempt(Struct, frozen=True, kw_only=True):
    """One attempt that did not simply succeed: what happened to it, where and when."""

    fence: int
    attempt: int
    outcome: str
    node: str | None = None
    claimed_at: datetime | None = None
    started_at: datetime | None = None
    finished_at: datetime | None = None
    error: str | None = None


class TaskQuery(Struct, frozen=True, kw_only=True):
    """Which tasks: every condition that is given must hold. Pages are in order of due time, then id."""

    states: frozenset[TaskState] | None = None
    work_id: str | None = None
    queue: str | None = None
    tag: str | None = None
    unique: str | None = None
    owner: str | None = None
    chain: str | None = None
    held: bool | None = None
    due_before: datetime | None = None
    due_from: datetime | None = None
    after: tuple[int, str] | None = None
    """The last task of the page before: its due time in microseconds and its id."""
    limit: int = 100


class NodeInfo(Struct, frozen=True, kw_only=True):
    """One process start that works on the store. Information, and the facts that tell a dead process at once."""

    node_id: str
    label: str
    host: str
    boot_id: str
    pid: int
    pid_namespace: str
    pid_started: int
    version: str
    started_at: int = 0
    seen_at: int = 0
    stopped_at: int | None = None
    tzdata: str = ""
    """Which time zone rules it uses (`kokugen.zones.tz_version`)."""
    offers: str = ""
    """What it runs, as JSON (`kokugen.offers.Offers`); empty where it does not say."""


def replace(value: Any, **changes: Any) -> Any:
    """Return a copy of a frozen value with some fields changed."""
    return msgspec.structs.replace(value, **changes)
