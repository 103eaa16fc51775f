"""What a repository does, told as simply as it can be: a dict of tasks, and a loop for every question.

`test_model` drives a repository and this side by side, and compares all that can be seen after each step.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from kokugen.clock import from_us, to_us
from kokugen.codec import decode_params
from kokugen.errors import KokugenError, NoEntryError, NotUpdatableStateError, StaleRevisionError
from kokugen.repository.rows import AddResult, CancelResult, ClaimRequest, Finish, Finished, NewTask, Revision
from kokugen.task import Attempt, Mode, Priority, TaskInfo, TaskState, replace

WAITING, WORKING = TaskState.INITIALIZED, TaskState.WORKING
DONE, CANCELLED, FAILED = TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED


class Entry:
    """One task: what is shown of it, and the keys that are not."""

    def __init__(self, info: TaskInfo) -> None:
        self.info = info
        self.claim: str | None = None
        self.final_claim: str | None = None
        self.beat = 0
        self.leased = False
        self.attempts: list[Attempt] = []

    @property
    def state(self) -> TaskState:
        return self.info.state

    @property
    def due_us(self) -> int:
        assert self.info.due_at is not None
        return to_us(self.info.due_at)

    def set(self, now: int, **changes: Any) -> None:
        """Change what is shown, at this time."""
        self.info = replace(self.info, **changes, last_modified=from_us(now))


class Model:
    """The tasks of one namespace."""

    def __init__(self) -> None:
        self.entries: dict[str, Entry] = {}

    def live_holder(self, unique: str | None) -> str | None:
        """Return the live task with this unique key."""
        live = (e.info.id for e in self.entries.values() if not e.state.terminal and e.info.unique == unique)
        return None if unique is None else next(live, None)

    def add(self, task: NewTask, now: int) -> tuple[str, AddResult]:
        if task.id in self.entries:
            return task.id, AddResult.EXISTED
        if holder := self.live_holder(task.unique_key):
            return holder, AddResult.DUPLICATE
        self.entries[task.id] = Entry(
            TaskInfo(
                id=task.id,
                work_id=task.work_id,
                due_at=from_us(task.due_at),
                scheduled_time=from_us(task.scheduled_time),
                param=decode_params(task.param),
                queue=task.queue,
                priority=Priority(-task.rank),
                mode=Mode(task.mode),
                max_lost=task.max_lost,
                start_deadline=None if task.start_deadline is None else from_us(task.start_deadline),
                unique=task.unique_key,
                created_at=from_us(now),
                last_modified=from_us(now),
            )
        )
        return task.id, AddResult.ADDED

    # -- Claims

    def claim(self, request: ClaimRequest, now: int) -> tuple[list[str], int | None]:
        """Claim, and return the ids in order and when the next task is due."""
        for entry in self.entries.values():
            if self._may_wait(entry) and self._too_late(entry, now):
                self.end(entry, CANCELLED, now, reason="expired")
        waiting = [e for e in self.entries.values() if self._may_wait(e) and self._wanted(e, request)]
        waiting.sort(key=lambda e: (e.due_us - e.info.priority * request.ageing_us, -e.info.priority, e.info.id))
        due = [e for e in waiting if e.due_us <= now + request.ahead_us]
        taken = self._choose(due, request)
        for entry in taken:
            self._start(entry, request.node_id, request.nonce, now)
            entry.leased = True
            if entry.info.work_id in request.strict:
                entry.info = replace(entry.info, mode=Mode.AT_MOST_ONCE)
        later = [e.due_us for e in waiting if e.due_us > now + request.ahead_us]
        return [entry.info.id for entry in taken], min(later, default=None)

    @staticmethod
    def _may_wait(entry: Entry) -> bool:
        return entry.state == WAITING and entry.info.hold is None

    @staticmethod
    def _too_late(entry: Entry, now: int) -> bool:
        return entry.info.start_deadline is not None and to_us(entry.info.start_deadline) <= now

    @staticmethod
    def _wanted(entry: Entry, request: ClaimRequest) -> bool:
        work_id = entry.info.work_id
        known = request.only is None or work_id in request.only
        return entry.info.queue in request.queues and known and work_id not in request.skip

    @staticmethod
    def _choose(due: Iterable[Entry], request: ClaimRequest) -> list[Entry]:
        taken: list[Entry] = []
        lost = 0
        for entry in due:
            slot_free = len(taken) < request.slots
            fits = len(taken) < request.slots + request.buffer
            careful = entry.info.lost > 0 or entry.info.mode == Mode.AT_MOST_ONCE
            if not fits or (careful and not slot_free) or (entry.info.lost and lost >= request.lost_max):
                continue
            lost += entry.info.lost > 0
            taken.append(entry)
        return taken

    def _start(self, entry: Entry, owner: str, claim: str, now: int) -> None:
        info = entry.info
        entry.claim, entry.beat = claim, 0
        counts = {"attempt": info.attempt + 1, "fence": info.fence + 1}
        entry.set(now, state=WORKING, owner=owner, hold=None, claimed_at=from_us(now), started_at=None, **counts)

    def start_by_id(self, entry: Entry, now: int) -> None:
        """Claim without a lease; the claim is a secret of the repository."""
        self._start(entry, "by-id", f"by-id {entry.info.fence}", now)

    def end(self, entry: Entry, state: TaskState, now: int, **changes: Any) -> None:
        """End a task."""
        self._let_go(entry)
        entry.set(now, state=state, owner=None, hold=None, finished_at=from_us(now), **changes)

    def wait(self, entry: Entry, due_us: int | None, now: int, **changes: Any) -> None:
        """Make a task wait again."""
        self._let_go(entry)
        moved = self._moved(entry, due_us)
        entry.set(now, state=WAITING, owner=None, finished_at=None, **moved, **changes)

    @staticmethod
    def _let_go(entry: Entry) -> None:
        entry.claim, entry.leased = None, False

    @staticmethod
    def _moved(entry: Entry, due_us: int | None) -> dict[str, Any]:
        if due_us is None:
            return {}
        due_at, deadline = from_us(due_us), entry.info.start_deadline
        assert entry.info.due_at is not None
        return {"due_at": due_at, "start_deadline": deadline and deadline + (due_at - entry.info.due_at)}

    def remember(self, entry: Entry, outcome: str, now: int, row: Finish | None = None) -> None:
        """Write an attempt into the history."""
        info = entry.info
        started = from_us(row.started_at) if row and row.started_at is not None else None
        entry.attempts.append(
            Attempt(
                fence=info.fence,
                attempt=info.attempt,
                outcome=outcome,
                node=info.owner,
                claimed_at=info.claimed_at,
                started_at=started,
                finished_at=from_us(now),
                error=row.error if row else None,
            )
        )

    def finish(self, row: Finish, now: int) -> Finished:
        entry = self.entries.get(row.id)
        if entry is None:
            return Finished.FENCED
        if entry.claim != row.claim:
            return Finished.APPLIED if entry.final_claim == row.claim else Finished.FENCED
        if row.outcome != "done":
            self.remember(entry, row.outcome, now, row)
        entry.final_claim = row.claim
        state, reason = TaskState(row.state), row.reason
        if entry.info.cancel_requested and state in {WAITING, CANCELLED}:
            reason = row.reason if state == CANCELLED and row.reason else entry.info.reason
            state = CANCELLED
        started = None if row.started_at is None else from_us(row.started_at)
        told = {"reason": reason, "error": row.error, "result": row.result, "started_at": started}
        if state == WAITING:
            self.wait(entry, row.due_at, now, **told, hold=row.hold, attempt=entry.info.attempt - row.attempt_back)
        else:
            self.end(entry, state, now, **told)
        return Finished.APPLIED

    def lose(self, entry: Entry, now: int) -> None:
        """Take a run from its dead owner."""
        self.remember(entry, "lost", now)
        info, lost = entry.info, entry.info.lost + 1
        if info.cancel_requested:
            self.end(entry, CANCELLED, now, lost=lost)
        elif info.mode == Mode.AT_MOST_ONCE or lost >= info.max_lost:
            self.end(entry, FAILED, now, lost=lost, reason="lost")
        else:
            self.wait(entry, None, now, lost=lost, reason="lost", attempt=info.attempt - 1)

    # -- Steering

    def cancel(self, task_id: str, reason: str, force: bool, now: int) -> CancelResult:
        entry = self.entries.get(task_id)
        if entry is None:
            return CancelResult.MISSING
        if entry.state.terminal:
            return CancelResult.REFUSED
        if entry.state == WORKING and not force:
            entry.set(now, cancel_requested=True, reason=reason)
            return CancelResult.REQUESTED
        if entry.state == WORKING:
            self.remember(entry, "cancelled", now)
        self.end(entry, CANCELLED, now, reason=reason)
        return CancelResult.CANCELLED

    def revise(self, task_id: str, change: Revision, rev: int, now: int) -> type[KokugenError] | None:
        """Change a waiting task whose revision is `rev`; return the class of the refusal."""
        entry = self.entries.get(task_id)
        if entry is None:
            return NoEntryError
        if entry.state != WAITING:
            return NotUpdatableStateError
        if change.rev is not None and change.rev != rev:
            return StaleRevisionError
        hold = None if change.release else change.hold or entry.info.hold
        priority = entry.info.priority if change.rank is None else Priority(-change.rank)
        changes = {"hold": hold, "priority": priority, "work_id": change.work_id or entry.info.work_id}
        entry.set(now, **changes, **self._moved(entry, change.due_at))
        return None

    def revive(self, task_id: str, due_us: int, now: int) -> bool:
        entry = self.entries.get(task_id)
        if entry is None or not entry.state.terminal or self.live_holder(entry.info.unique):
            return False
        gone = dict.fromkeys(("reason", "error", "result", "hold", "claimed_at", "started_at"))
        self.wait(entry, due_us, now, attempt=0, lost=0, cancel_requested=False, **gone)
        return True

    def prune(self, before: dict[TaskState, int]) -> int:
        old = [
            task_id
            for task_id, entry in self.entries.items()
            if entry.info.finished_at and to_us(entry.info.finished_at) < before[entry.state]
        ]
        for task_id in old:
            del self.entries[task_id]
        return len(old)

    def swap(self, task_id: str, old: frozenset[TaskState], new: TaskState, now: int) -> bool | None:
        """Change a state by id alone; None where there is no such task."""
        entry = self.entries.get(task_id)
        if entry is None:
            return None
        if entry.state not in old:
            return False
        if new == WORKING:
            self.start_by_id(entry, now)
            return True
        reason = None
        if new == WAITING and entry.info.cancel_requested:
            new, reason = CANCELLED, entry.info.reason
        if entry.state == WORKING and new != DONE:
            self.remember(entry, {WAITING: "released", CANCELLED: "cancelled", FAILED: "failed"}[new], now)
        if new == WAITING:
            self.wait(entry, None, now, reason=None, attempt=entry.info.attempt - 1)
        else:
            self.end(entry, new, now, reason=reason)
        return True
