"""The tasks of a memory repository with their indexes, and the few ways in which a task may move (T1 to T14).

`MemoryRepository` calls it with its lock held. Every way in and out of a state is here, so that the indexes
always agree with the records.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator

from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.repository.memory.chains import Chains
from kokugen.repository.memory.gates import Gates
from kokugen.repository.memory.heap import LazyHeap, WaitingTasks
from kokugen.repository.memory.occurrences import Occurrences
from kokugen.repository.memory.record import Record, attempt_of
from kokugen.repository.rows import (
    ATTEMPTS_KEPT,
    CHAIN_HOLD,
    NOT_REACHED,
    Added,
    AddResult,
    ChainedTask,
    NewTask,
    follows,
)
from kokugen.repository.schedule_rows import OVERLAP_HOLD, ScheduledTask
from kokugen.task import Attempt, Mode, OnDuplicate, TaskState, replace
from kokugen.then import ON_DONE, ON_FAILED

_WAITING = TaskState.INITIALIZED.value
_WORKING = TaskState.WORKING.value
ENDS = {TaskState.DONE.value: ON_DONE, TaskState.FAILED.value: ON_FAILED}
"""After which ends another may follow, as the bits that it is asked with."""


_CONTENT = ("param", "rank", "mode", "max_attempts", "max_lost", "tags", "options")
_TIME = ("scheduled_time", "zone", "local_time")


def _may_replace(holder: Record, task: NewTask) -> bool:
    same = (holder.asked.work_id, holder.asked.queue) == (task.work_id, task.queue)
    return same and task.on_duplicate >= OnDuplicate.REPLACE


class TaskTable:
    """All tasks of one namespace. `by_state` has the ended ones in the order in which they ended."""

    __slots__ = (
        "_chains",
        "_deadlines",
        "_history",
        "_unique",
        "by_state",
        "gates",
        "occurrences",
        "records",
        "waiting",
    )

    def __init__(self) -> None:
        self.records: dict[str, Record] = {}
        self.by_state: tuple[dict[str, Record], ...] = tuple({} for _ in TaskState)
        self.waiting = WaitingTasks()
        self._deadlines = LazyHeap()
        self._unique: dict[str, str] = {}
        self._history: dict[str, list[Attempt]] = {}
        self._chains = Chains()
        self.occurrences = Occurrences(self._release, self.end)
        self.gates = Gates(self.records, self._pass)

    def add_all(self, tasks: Iterable[NewTask], now: int) -> Iterator[Added]:
        """Take new tasks in; those that follow come with the first of their chain, or not at all."""
        fresh = False
        for task in tasks:
            if fresh or not follows(task):
                yield (answer := self.add(task, now))
                fresh = answer.result is AddResult.ADDED
            else:
                yield Added(task.id, AddResult.EXISTED)

    def add(self, task: NewTask, now: int) -> Added:
        """Take a new task in (T1), unless its id is there or its unique key is taken."""
        if task.id in self.records:
            return Added(task.id, AddResult.EXISTED)
        if task.unique_key is not None:
            holder = self._unique.setdefault(task.unique_key, task.id)
            if holder != task.id and not self._gives_way(self.records[holder], task):
                return self._superseded(self.records[holder], task, now)
            self._unique[task.unique_key] = task.id
        hold = None
        if isinstance(task, ChainedTask):
            self._chains.add(task)
            hold = task.hold
        record = Record(task.id, task, task.due_at, task.start_deadline, now, now, hold=hold)
        self.records[task.id] = self.by_state[_WAITING][task.id] = record
        self.gates.came(record)
        self._enrol(record, now)
        return Added(task.id, AddResult.ADDED)

    def _gives_way(self, holder: Record, task: NewTask) -> bool:
        """Have a running task give its unique key to one that is to replace what waits; return whether it does."""
        if not _may_replace(holder, task) or holder.state != _WORKING:
            return False
        holder.asked = replace(holder.asked, unique_key=None)
        return True

    def _superseded(self, holder: Record, task: NewTask, now: int) -> Added:
        """Have the waiting task with the unique key take what is asked for, if that is to be."""
        if not _may_replace(holder, task):
            return Added(holder.id, AddResult.DUPLICATE)
        names = _CONTENT if task.on_duplicate == OnDuplicate.PRESERVE else _CONTENT + _TIME
        asked = replace(holder.asked, **{name: getattr(task, name) for name in names})
        due_at = holder.due_at if task.on_duplicate == OnDuplicate.PRESERVE else task.due_at
        hold = None if holder.hold == "undecodable" else holder.hold
        self.change(holder, asked, due_at, hold, now)
        if task.on_duplicate == OnDuplicate.REPLACE:
            self._deadlines.drop(holder.id)
            holder.start_deadline = task.start_deadline
            if holder.start_deadline is not None and holder.hold in {None, LIMIT_HOLD}:
                self._deadlines.push(holder.start_deadline, 0, holder.id)
        return Added(holder.id, AddResult.REPLACED)

    def add_occurrence(self, task: ScheduledTask, now: int) -> None:
        """Take in a task of a schedule, unless it is there; on hold where it may not run beside others."""
        if task.id in self.records or task.nominal in self.occurrences.by_schedule.get(task.schedule_id, {}):
            return
        hold = None if task.overlap is None else OVERLAP_HOLD
        record = Record(task.id, task, task.due_at, task.start_deadline, now, now, hold=hold)
        self.records[task.id] = self.by_state[_WAITING][task.id] = record
        self.occurrences.came(record)
        self.gates.came(record)
        self._enrol(record, now)

    def take_back(self, record: Record) -> None:
        """Delete a waiting task of a schedule (its edit, pause or removal takes it back)."""
        self.withdraw(record)
        self.remove(record)

    def _release(self, record: Record, now: int) -> None:
        self.change(record, record.asked, None, None, now)

    def _pass(self, record: Record, gate: str | None, start: int | None, now: int) -> None:
        """Move a task on that passed a gate, to the next one, or to where claims find it."""
        self.gates.passed(record, gate)
        record.due_at = max(record.due_at, start or record.due_at)
        self.touch(record, now)
        self._enrol(record, now)

    def start(self, record: Record, owner: str, claim: str, now: int) -> None:
        """Make a waiting task Working (T2). One that `waiting.take` did not take out is withdrawn first."""
        if record.start_deadline is not None:
            self._deadlines.drop(record.id)
        record.owner, record.claim, record.beat = owner, claim, 0
        record.fence += 1
        record.attempt += 1
        record.claimed_at, record.started_at, record.hold = now, None, None
        self._move(record, _WORKING, now)

    def wait(self, record: Record, due_at: int | None, now: int) -> None:
        """Make a task that was Working or over wait again (T4, T6, T10, T12)."""
        self._let_go(record)
        record.finished_at = None
        self._move(record, _WAITING, now)
        self._set_due(record, due_at)
        if record.asked.unique_key is not None:
            self._unique[record.asked.unique_key] = record.id
        if record.limited:
            self.gates.stop(record)
        self._enrol(record, now)
        self._tell_wait(record)

    def end(self, record: Record, state: int, now: int) -> None:
        """End a task that waits or is Working (T3, T5, T7, T8, T9)."""
        if record.state == _WAITING:
            self.withdraw(record)
        self._let_go(record)
        record.finished_at, record.hold = now, None
        if record.asked.unique_key is not None:
            del self._unique[record.asked.unique_key]
        self._move(record, state, now)
        self.gates.left(record)
        for follower in self._followers(record):
            if follower.state == _WAITING and follower.hold == CHAIN_HOLD:
                self._let_follow(follower, record, now)
        if isinstance(record.asked, ScheduledTask):
            self.occurrences.ended(record, now)

    def change(self, record: Record, asked: NewTask, due_at: int | None, hold: str | None, now: int) -> None:
        """Change a waiting task (T11)."""
        self.withdraw(record)
        moved = due_at is not None and due_at > record.due_at
        record.asked, record.hold = asked, hold
        self._set_due(record, due_at)
        if record.limited and (moved or (hold is None) != (record.gate is None) or hold not in {None, LIMIT_HOLD}):
            self.gates.stop(record)
        self.touch(record, now)
        self._enrol(record, now)
        self._tell_wait(record)

    def depth(self, task_id: str) -> int:
        """Return behind how many others a task waits: who is cancelled with one before is told of first."""
        record, depth = self.records.get(task_id), 0
        while record is not None and record.hold == CHAIN_HOLD and isinstance(record.asked, ChainedTask):
            record, depth = self.records.get(record.asked.follows or ""), depth + 1
        return depth

    def revive(self, record: Record, due_at: int, now: int) -> None:
        """Make a task that is over wait again (T12); with it those that it kept from being reached."""
        self.wait(record, due_at, now)
        if isinstance(record.asked, ChainedTask):
            self._rejoin(record, record.asked, now)

    def _rejoin(self, record: Record, asked: ChainedTask, now: int) -> None:
        before = None if asked.follows is None else self.records.get(asked.follows)
        if before is not None and before.state < TaskState.DONE:
            self.change(record, asked, None, CHAIN_HOLD, now)
        for follower in self._followers(record):
            if follower.state == TaskState.CANCELLED and follower.reason == NOT_REACHED:
                follower.reason = None
                self.revive(follower, follower.due_at, now)

    def adopt_gates(self, record: Record, ruled: Collection[str], now: int) -> None:
        """Have a task stop at the gates that have rules now, and count a run there."""
        if not self.gates.adopt(record, ruled) or record.state != _WAITING:
            return
        self.withdraw(record)
        self.gates.stop(record)
        self._enrol(record, now)

    def remove(self, record: Record) -> None:
        """Forget a task that is over (T14)."""
        if isinstance(record.asked, ChainedTask):
            self._chains.remove(record.asked)
        del self.records[record.id], self.by_state[record.state][record.id]
        self._history.pop(record.id, None)
        self.gates.left(record)
        if isinstance(record.asked, ScheduledTask):
            self.occurrences.went(record)

    def withdraw(self, record: Record) -> None:
        """Take a waiting task out of what may be claimed."""
        self.waiting.drop((record.asked.queue, record.asked.work_id), record.id)
        self.gates.withdraw(record)
        self._deadlines.drop(record.id)

    def put_back(self, record: Record, now: int) -> None:
        """Put back a task that `waiting.take` took out, and that is not started after all."""
        asked = record.asked
        self.waiting.put((asked.queue, asked.work_id), asked.rank, record.due_at, record.id, now)

    def touch(self, record: Record, now: int) -> None:
        """Note a change."""
        record.rev += 1
        record.modified_at = now

    def too_late(self, now: int, limit: int) -> Iterator[Record]:
        """Yield up to `limit` waiting tasks whose start deadline is past; the caller ends each at once."""
        for _ in range(limit):
            entry = self._deadlines.top()
            if entry is None or entry[0] > now:
                return
            yield self.records[entry[2]]

    def may_wait(self, record: Record) -> bool:
        """Return whether a task that is over may wait again: nothing live has its unique key, or may not overlap it."""
        if record.asked.unique_key in self._unique:
            return False
        return not isinstance(record.asked, ScheduledTask) or not self.occurrences.must_wait(record)

    def hold_after_release(self, record: Record) -> str | None:
        """Return the hold of a task that is released: an occurrence waits for its turn still."""
        if isinstance(record.asked, ScheduledTask) and self.occurrences.must_wait(record):
            return OVERLAP_HOLD
        return None

    def lose(self, record: Record, now: int) -> None:
        """Take a run from an owner that is gone (T6, T7), or end it where that was requested (T9)."""
        self.remember(record, "lost", now)
        record.lost += 1
        if record.cancel_requested:
            self.end(record, TaskState.CANCELLED, now)
            return
        record.reason = "lost"
        if record.asked.mode == Mode.AT_MOST_ONCE or record.lost >= record.asked.max_lost:
            self.end(record, TaskState.FAILED, now)
        else:
            record.attempt -= 1
            self.wait(record, None, now)

    def remember(self, record: Record, outcome: str, now: int, error: str | None = None) -> None:
        """Write down an attempt that did not simply succeed; call it while the claim is still there."""
        attempts = self._history.setdefault(record.id, [])
        attempts.append(attempt_of(record, outcome, now, error))
        del attempts[:-ATTEMPTS_KEPT]

    def attempts(self, task_id: str) -> list[Attempt]:
        """Return what was remembered, oldest first."""
        return list(self._history.get(task_id, ()))

    def of_states(self, states: Collection[TaskState] | None) -> Iterable[Record]:
        """Return the tasks in these states; None: all."""
        if states is None:
            return self.records.values()
        return (record for state in sorted(states) for record in self.by_state[state].values())

    def _followers(self, record: Record) -> list[Record]:
        """Return the tasks that follow this one."""
        if not isinstance(record.asked, ChainedTask):
            return []
        return [self.records[task_id] for task_id in self._chains.followers(record.id)]

    def _let_follow(self, follower: Record, before: Record, now: int) -> None:
        """Release a task that waited for the end of another, or cancel it where that ended otherwise."""
        asked = follower.asked
        assert isinstance(asked, ChainedTask)
        assert asked.follows_on is not None
        if not asked.follows_on & ENDS.get(before.state, 0):
            follower.reason = NOT_REACHED
            self.end(follower, TaskState.CANCELLED, now)
            return
        if asked.follows_arg is not None:
            follower.given = (before.result if before.state == TaskState.DONE else None) or "null"
        due_at = now + (asked.follows_delay or 0)
        moved = replace(asked, scheduled_time=due_at, zone=None, local_time=None)
        self.change(follower, moved, due_at, None, now)

    def _tell_wait(self, record: Record) -> None:
        if isinstance(record.asked, ScheduledTask):
            self.occurrences.waits(record)

    def _enrol(self, record: Record, now: int) -> None:
        if record.hold == LIMIT_HOLD:
            self.gates.enrol(record, now)
        elif record.hold is not None:
            return
        else:
            self.put_back(record, now)
        self._deadlines.drop(record.id)
        if record.start_deadline is not None:
            self._deadlines.push(record.start_deadline, 0, record.id)

    def _move(self, record: Record, state: int, now: int) -> None:
        by_state = self.by_state
        del by_state[record.state][record.id]
        record.state = state
        by_state[state][record.id] = record
        record.rev += 1
        record.modified_at = now

    @staticmethod
    def _let_go(record: Record) -> None:
        record.claim = record.owner = record.ttl_s = None

    @staticmethod
    def _set_due(record: Record, due_at: int | None) -> None:
        if due_at is None:
            return
        if record.start_deadline is not None:
            record.start_deadline += due_at - record.due_at
        record.due_at = due_at
