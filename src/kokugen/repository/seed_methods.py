"""The seed's methods, told in terms of the engine's: every built-in repository inherits them from here.

A storage adapter or an application calls them; they call `add`, `get`, `revise` and the two primitives that a
repository adds for them, `_transition` and `_modified_since`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from datetime import datetime

import msgspec

from kokugen.clock import to_us
from kokugen.codec import decode_params, encode_params
from kokugen.errors import (
    CodecError,
    DuplicateTaskError,
    InvalidEntryError,
    KokugenError,
    NoEntryError,
    NotUpdatableStateError,
    ScheduledTimeError,
)
from kokugen.ids import IdSource
from kokugen.options import Options, check_name
from kokugen.reply import Reply
from kokugen.repository.rows import Added, AddResult, NewTask, Revision
from kokugen.retry import ATTEMPTS_MAX
from kokugen.task import Mode, ParamLike, Params, TaskInfo, TaskState, UpdateDiff

BY_ID_OWNER = "by-id"
"""The owner of a run that `update_state` claimed: it has no lease, so nobody watches it or takes it over."""

PART_MAX = 1000
"""How many tasks `get_updated_since` reads at once, unless more than that share its first instant."""

_OPEN = frozenset({TaskState.INITIALIZED, TaskState.WORKING})
_ENDS = frozenset({TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED})
_FOLLOWS = {
    TaskState.INITIALIZED: _ENDS | {TaskState.WORKING},
    TaskState.WORKING: _ENDS | {TaskState.INITIALIZED},
}


class SeedMethods(ABC):
    """The seed's `Repository`, `StateUpdater` and `Updater`, for a repository with the engine's methods."""

    _ids: IdSource

    @abstractmethod
    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]: ...

    @abstractmethod
    def get(self, task_ids: Sequence[str]) -> Reply[list[TaskInfo]]: ...

    @abstractmethod
    def revise(self, task_id: str, revision: Revision) -> Reply[int]: ...

    @abstractmethod
    def _transition(
        self, task_id: str, old: frozenset[TaskState], new: TaskState, reason: str | None
    ) -> Reply[TaskState]:
        """Change the state by id alone if it is one of `old`; return the state before, changed or not.

        Raises NoEntryError where there is no such task. The claim of a run that was under way goes,
        and does not become the final one, so that the run's own outcome is fenced; `attempts` tells how it ended
        (`released`, `cancelled`, `failed`), unless Done.

        - to Working: a claim by id, due or not, held or not: fence+1, attempt+1, beat 0, a fresh nonce as its
          claim, `BY_ID_OWNER`, no ttl, so that `watch` never shows it; the hold goes.
        - Working to Initialized: given back, attempt-1, due as before; Cancelled where that was requested.
        - to an end: `finished_at` is now, and `reason` is written.
        """
        ...

    @abstractmethod
    def _modified_since(self, since_us: int, limit: int) -> Reply[list[TaskInfo]]:
        """Return the first `limit` tasks modified at or after `since_us`, in order of last_modified, then id.

        Where all of them were modified at `since_us` itself, so that reading on from the last one would get no
        further (H7), all tasks of that instant come, and `limit` later ones.
        """
        ...

    def insert(self, info: TaskInfo) -> Reply[str]:
        """Store a new waiting task in this namespace and return its id.

        What was asked for is taken over: work, param, times, queue, priority, mode, tags, unique key, limits.
        What a store keeps of a task's life begins anew. Raises InvalidEntryError, and DuplicateTaskError.
        """
        try:
            task = self._new_task(info)
        except KokugenError as error:
            return Reply.failed(error)
        return self.add((task,)).then(lambda answers: _inserted(answers[0], info.unique))

    def _new_task(self, info: TaskInfo) -> NewTask:
        _check_entry(info)
        return NewTask(
            id=self._ids.task_id(),
            work_id=info.work_id,
            due_at=to_us(info.due_at or info.scheduled_time),
            scheduled_time=to_us(info.scheduled_time),
            param=_encoded(info.param),
            queue=info.queue,
            rank=-info.priority,
            mode=info.mode,
            max_attempts=info.max_attempts,
            max_lost=info.max_lost,
            start_deadline=to_us(info.start_deadline) if info.start_deadline else None,
            unique_key=info.unique,
            tags=msgspec.json.encode(info.tags).decode() if info.tags else None,
            zone=info.zone,
            local_time=info.local_time,
            limit_key=info.limit_key,
        )

    def get_updated_since(self, since: datetime) -> Reply[list[TaskInfo]]:
        if since.tzinfo is None:
            return Reply.failed(ScheduledTimeError(f"since={since} is naive: give it a time zone"))
        return self._modified_since(to_us(since), PART_MAX)

    def get_by_id(self, task_id: str) -> Reply[TaskInfo]:
        return self.get((task_id,)).then(lambda found: _only(found, task_id))

    def mark_as_done(self, task_id: str) -> Reply[bool]:
        return self._mark(task_id, TaskState.DONE)

    def mark_as_cancelled(self, task_id: str) -> Reply[bool]:
        return self._mark(task_id, TaskState.CANCELLED)

    def mark_as_failed(self, task_id: str) -> Reply[bool]:
        return self._mark(task_id, TaskState.FAILED)

    def _mark(self, task_id: str, state: TaskState) -> Reply[bool]:
        return self._transition(task_id, _OPEN, state, None).then(_OPEN.__contains__)

    def update_state(self, task_id: str, old: TaskState, new: TaskState) -> Reply[bool]:
        if new not in _FOLLOWS.get(old, ()):
            tried = f"changed to {TaskState(new).label}"
            return Reply.failed(NotUpdatableStateError(task_id, TaskState(old), tried))
        return self._transition(task_id, frozenset({old}), new, None).then(lambda before: before == old)

    def update(self, task_id: str, diff: UpdateDiff) -> Reply[None]:
        """Change the fields that `diff` gives. A diff that takes it out of Initialized changes nothing else.

        Raises NoEntryError, InvalidEntryError, and NotUpdatableStateError unless Initialized.
        """
        try:
            revision = _revision(diff)
        except KokugenError as error:
            return Reply.failed(error)
        if diff.state is msgspec.UNSET or diff.state == TaskState.INITIALIZED:
            return self.revise(task_id, revision).then(lambda _: None)
        if len(diff.update_key) > 1:
            tried = f"a diff takes task {task_id} out of Initialized and changes other fields"
            return Reply.failed(InvalidEntryError(f"{tried}: change those first, in a call of their own"))
        moved = self._transition(task_id, frozenset({TaskState.INITIALIZED}), diff.state, None)
        return moved.then(_was_waiting(task_id))


def readable_param(text: str) -> Params | str:
    """Return a stored param as `TaskInfo` shows it: plain values, or the text itself where it cannot be read."""
    try:
        return decode_params(text)
    except CodecError:
        return text


def _check_entry(info: TaskInfo) -> None:
    if info.state != TaskState.INITIALIZED:
        raise InvalidEntryError(f"{TaskState(info.state).label} tasks cannot be inserted: insert it Initialized")
    _check_names(work_id=info.work_id, queue=info.queue)
    _check_options(info)
    for name in ("scheduled_time", "due_at", "start_deadline"):
        _check_aware(name, getattr(info, name))


def _check_options(info: TaskInfo) -> None:
    """Raise InvalidEntryError for what no task may be given: a store would keep it, and no claim might ever find it."""
    if not 1 <= info.max_attempts <= ATTEMPTS_MAX:
        raise InvalidEntryError(f"max_attempts={info.max_attempts!r} cannot be stored: use 1 to {ATTEMPTS_MAX:,}")
    try:
        Options().merged(
            priority=info.priority,
            mode=Mode(info.mode),
            tags=info.tags,
            unique=info.unique,
            max_lost=info.max_lost,
            limit_key=info.limit_key,
        )
    except (KokugenError, ValueError) as error:
        raise InvalidEntryError(f"the task cannot be stored: {error}") from None


def _check_names(**names: str) -> None:
    for what, name in names.items():
        try:
            check_name(what, name)
        except KokugenError as error:
            raise InvalidEntryError(str(error)) from None


def _check_aware(name: str, when: object) -> None:
    if when is not None and not (isinstance(when, datetime) and when.tzinfo):
        raise InvalidEntryError(f"{name}={when!r} cannot be stored: use a datetime with a time zone")


def _encoded(param: ParamLike) -> str:
    try:
        return encode_params(Params.of(param))
    except KokugenError as error:
        raise InvalidEntryError(f"the task's param cannot be stored: {error}") from error


def _inserted(answer: Added, unique_key: str | None) -> str:
    if answer.result == AddResult.DUPLICATE:
        raise DuplicateTaskError(unique_key or "", answer.id)
    return answer.id


def _only(found: list[TaskInfo], task_id: str) -> TaskInfo:
    if not found:
        raise NoEntryError(task_id)
    return found[0]


def _revision(diff: UpdateDiff) -> Revision:
    """Return the fields of a diff but its state. A new time is in no zone: the old one would move it back."""
    changes: dict[str, str | int] = {}
    if diff.work_id is not msgspec.UNSET:
        _check_names(work_id=diff.work_id)
        changes["work_id"] = diff.work_id
    if diff.param is not msgspec.UNSET:
        changes["param"] = _encoded(diff.param)
    if diff.scheduled_time is not msgspec.UNSET:
        _check_aware("scheduled_time", diff.scheduled_time)
        changes["due_at"] = changes["scheduled_time"] = to_us(diff.scheduled_time)
    return msgspec.convert(changes, Revision)


def _was_waiting(task_id: str) -> Callable[[TaskState], None]:
    def check(before: TaskState) -> None:
        if before != TaskState.INITIALIZED:
            raise NotUpdatableStateError(task_id, before, "updated")

    return check
