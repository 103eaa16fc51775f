"""The life of a task in memory: added, claimed, kept, finished, recovered, cancelled, changed.

The engine calls it in batches; what one task may do is in `table`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from kokugen.errors import (
    InvalidEntryError,
    KokugenError,
    NoEntryError,
    NotUpdatableStateError,
    StaleRevisionError,
)
from kokugen.reply import Reply
from kokugen.repository.memory.record import Record, claimed_of
from kokugen.repository.memory.store import MemoryStore
from kokugen.repository.rows import (
    Added,
    AddResult,
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
    Revision,
    is_told,
    may_wait,
)
from kokugen.task import Mode, TaskState, replace

_WAITING = TaskState.INITIALIZED.value
_WORKING = TaskState.WORKING.value
_CANCELLED = TaskState.CANCELLED.value


class MemoryClaims(MemoryStore):
    """The `ClaimRepository` in memory."""

    def add(self, tasks: Sequence[NewTask]) -> Reply[list[Added]]:
        with self._lock:
            now = self._clock.wall_us()
            answers = list(self._table.add_all(tasks, now))
            passed = self._pass_gates(now)
        if self._hints:
            pairs = zip(tasks, answers, strict=True)
            self._hint(passed + [task.due_at for task, answer in pairs if answer.result == AddResult.ADDED])
        return Reply.of(answers)

    def claim(self, request: ClaimRequest) -> Reply[ClaimAnswer]:
        wanted = request.slots + request.buffer
        with self._lock:
            now = self._clock.wall_us()
            self._expire(now)
            waiting = self._table.waiting
            lanes = waiting.lanes(request.queues, request.only, request.skip, now + request.ahead_us)
            due = waiting.take(lanes, request.ageing_us)
            taken, passed = _choose(request, map(self._table.records.__getitem__, due), now)
            next_due = waiting.next_due(lanes)
            for record in passed:
                self._table.put_back(record, now)
            for record in taken:
                self._table.start(record, request.node_id, request.nonce, now)
                record.ttl_s = request.ttl_s
                if record.asked.work_id in request.strict:
                    record.asked = replace(record.asked, mode=int(Mode.AT_MOST_ONCE))
            tasks = [claimed_of(record) for record in taken]
        more = len(tasks) >= wanted
        return Reply.of(ClaimAnswer(claim=request.nonce, tasks=tasks, next_due=next_due, more=more, now=now))

    def finish(self, rows: Sequence[Finish]) -> Reply[list[Finished]]:
        if any(row.state == _WORKING for row in rows):
            return Reply.failed(InvalidEntryError("a run cannot end as Working: name the state after it"))
        with self._lock:
            now = self._clock.wall_us()
            answers = [self._finish(row, now) for row in rows]
            passed = self._pass_gates(now)
        self._hint(passed + [row.due_at or now for row in rows if may_wait(row)])
        self._tell_end()
        return Reply.of(answers)

    def _finish(self, row: Finish, now: int) -> Finished:
        record = self._table.records.get(row.id)
        if record is None:
            return Finished.FENCED
        if record.claim != row.claim:
            return Finished.APPLIED if record.final_claim == row.claim else Finished.FENCED
        record.started_at = row.started_at
        if is_told(row):
            self._table.remember(record, row.outcome, now, row.error)
        record.final_claim, record.error, record.result = row.claim, row.error, row.result
        self._settle(record, row, now)
        return Finished.APPLIED

    def _settle(self, record: Record, row: Finish, now: int) -> None:
        """Move a finished run's task on; a cancel that was requested comes before another start."""
        requested = record.cancel_requested
        if requested and (row.state == _WAITING or (row.state == _CANCELLED and row.reason is None)):
            self._table.end(record, _CANCELLED, now)
            return
        record.reason = row.reason
        if row.state != _WAITING:
            self._table.end(record, row.state, now)
            return
        record.attempt -= row.attempt_back
        record.hold = row.hold
        self._table.wait(record, row.due_at, now)

    def beat(self, leases: Sequence[Lease], *, ttl_s: float | None = None) -> Reply[list[Beaten]]:
        beaten = []
        with self._lock:
            for lease in leases:
                if (record := self._run(lease.id, lease.claim)) is not None:
                    record.beat += 1
                    record.ttl_s = record.ttl_s if ttl_s is None else ttl_s
                    beaten.append(Beaten(lease.id, lease.claim, record.cancel_requested))
        return Reply.of(beaten)

    def report(self, rows: Sequence[Report]) -> Reply[None]:
        with self._lock:
            for row in rows:
                if (record := self._run(row.id, row.claim)) is not None:
                    record.progress = row.progress
        return Reply.of(None)

    def _run(self, task_id: str, claim: str) -> Record | None:
        record = self._table.by_state[_WORKING].get(task_id)
        return record if record is not None and record.claim == claim else None

    def watch(self, node_id: str) -> Reply[list[Observed]]:
        with self._lock:
            working = list(self._table.by_state[_WORKING].values())
            return Reply.of([_observed(record) for record in working if _is_leased(record, node_id)])

    def recover(self, observed: Sequence[Observed]) -> Reply[list[Recovered]]:
        recovered, due = [], []
        with self._lock:
            now = self._clock.wall_us()
            for seen in observed:
                record = self._run(seen.id, seen.claim)
                if record is not None and record.beat == seen.beat:
                    self._table.lose(record, now)
                    recovered.append(Recovered(record.id, TaskState(record.state)))
                    due.append(record.due_at)
            due += self._pass_gates(now)
        self._hint(due)
        return Reply.of(recovered)

    def held(self, node_id: str, claim: str) -> Reply[ClaimAnswer]:
        with self._lock:
            now = self._clock.wall_us()
            working = self._table.by_state[_WORKING].values()
            held = [claimed_of(run) for run in working if run.claim == claim and run.owner == node_id]
        return Reply.of(ClaimAnswer(claim=claim, tasks=held, next_due=None, more=False, now=now))

    def cancel(self, request: CancelRequest) -> Reply[list[CancelAnswer]]:
        with self._lock:
            now = self._clock.wall_us()
            asked = sorted(enumerate(request.ids), key=lambda pair: -self._table.depth(pair[1]))
            answers = {place: self._cancel(task_id, request, now) for place, task_id in asked}
            passed = self._pass_gates(now)
        self._hint(passed)
        self._tell_end()
        return Reply.of([answers[place] for place in range(len(asked))])

    def _cancel(self, task_id: str, request: CancelRequest, now: int) -> CancelAnswer:
        record = self._table.records.get(task_id)
        if record is None:
            return CancelAnswer(task_id, CancelResult.MISSING)
        state, owner, claim = TaskState(record.state), record.owner, record.claim
        if state.terminal:
            return CancelAnswer(task_id, CancelResult.REFUSED, state)
        record.reason = request.reason
        if state == _WORKING and not request.force:
            record.cancel_requested = True
            self._table.touch(record, now)
            return CancelAnswer(task_id, CancelResult.REQUESTED, state, owner, claim)
        if state == _WORKING:
            self._table.remember(record, "cancelled", now)
        self._table.end(record, _CANCELLED, now)
        return CancelAnswer(task_id, CancelResult.CANCELLED, TaskState.CANCELLED, owner, claim)

    def revise(self, task_id: str, revision: Revision) -> Reply[int]:
        with self._lock:
            record = self._table.records.get(task_id)
            if record is None:
                return Reply.failed(NoEntryError(task_id))
            if (refusal := _refusal(record, revision)) is not None:
                return Reply.failed(refusal)
            hold = self._table.hold_after_release(record) if revision.release else revision.hold or record.hold
            asked = replace(record.asked, **_changes(revision))
            now = self._clock.wall_us()
            self._table.change(record, asked, revision.due_at, hold, now)
            rev, due = record.rev, record.due_at
            self._pass_gates(now)
        self._hint([due])
        return Reply.of(rev)


def _choose(request: ClaimRequest, due: Iterator[Record], now: int) -> tuple[list[Record], list[Record]]:
    """Return as many of the due tasks as were asked for, and those before them that may not run now."""
    wanted, lost_left = request.slots + request.buffer, request.lost_max
    taken: list[Record] = []
    passed: list[Record] = []
    while len(taken) < wanted and (record := next(due, None)) is not None:
        needs_slot = record.lost > 0 or record.asked.mode != Mode.AT_LEAST_ONCE
        too_late = record.start_deadline is not None and record.start_deadline <= now
        if too_late or (needs_slot and len(taken) >= request.slots) or (record.lost and lost_left <= 0):
            passed.append(record)
            continue
        lost_left -= record.lost > 0
        taken.append(record)
    return taken, passed


def _is_leased(record: Record, watcher: str) -> bool:
    return record.ttl_s is not None and record.owner != watcher


def _observed(record: Record) -> Observed:
    assert record.claim is not None
    assert record.owner is not None
    assert record.ttl_s is not None
    return Observed(record.id, record.claim, record.beat, record.ttl_s, record.owner)


def _refusal(record: Record, revision: Revision) -> KokugenError | None:
    if record.state != _WAITING:
        return NotUpdatableStateError(record.id, TaskState(record.state), "changed")
    if revision.rev is not None and revision.rev != record.rev:
        return StaleRevisionError(record.id, record.rev, revision.rev)
    return None


def _changes(revision: Revision) -> dict[str, object]:
    """Return what changes of what was asked for. A new time comes with its zone, or with none."""
    names = ("scheduled_time", "zone", "local_time", "rank", "param", "work_id")
    given = {name: value for name in names if (value := getattr(revision, name)) is not None}
    gone = {} if revision.scheduled_time is None else {"zone": None, "local_time": None}
    return {**gone, **given}
