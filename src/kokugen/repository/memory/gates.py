"""The gates of limits among the tasks in memory: which a task has to pass, who waits at them and who has their slots.

`TaskTable` tells it of every task that comes, stops, passes or goes; the lock is held.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from functools import partial

from kokugen.repository.admission import Candidate, Gate, decide
from kokugen.repository.limit_rows import (
    KEY,
    KEYS,
    LIMIT_HOLD,
    ONE_AT_A_TIME,
    QUEUE,
    WORK,
    Admission,
    GateStatus,
    LimitRule,
    next_gate,
    queue_gate,
    statuses,
)
from kokugen.repository.memory.heap import Lane, WaitingTasks
from kokugen.repository.memory.record import Record
from kokugen.repository.rows import NO_AGEING_US
from kokugen.task import TaskState

_WAITING = TaskState.INITIALIZED.value


class Gates:
    """Of one namespace. `let_go(record, gate, start, now)` moves a task on to its next gate, or lets claims have it."""

    __slots__ = ("_let_go", "_records", "_rules", "_slots", "_spent", "_touched", "_waiting")

    def __init__(
        self, records: dict[str, Record], let_go: Callable[[Record, str | None, int | None, int], object]
    ) -> None:
        self._records = records
        self._let_go = let_go
        self._rules: dict[str, LimitRule] = {}
        self._spent: dict[str, int] = {}
        self._waiting = WaitingTasks()
        self._slots: dict[str, dict[str, Record]] = {}
        self._touched: dict[str, None] = {}

    # -- Told by the table

    def came(self, record: Record) -> None:
        """Have a new task stop at its first gate, if it has any."""
        asked = record.asked
        if asked.limit_key is None and not self._rules:
            return
        work, queue = WORK + asked.work_id, queue_gate(asked.queue)
        record.gates = (
            None if asked.limit_key is None else KEY + asked.limit_key,
            work if work in self._rules else None,
            queue if queue in self._rules else None,
        )
        if record.limited:
            self.stop(record)

    def stop(self, record: Record) -> None:
        """Have a task begin before its first gate; its slots are free."""
        self._leave_slots(record)
        record.gate = next(gate for gate in record.gates if gate is not None)
        record.hold = record.hold or LIMIT_HOLD

    def enrol(self, record: Record, now: int) -> None:
        """Have a task on hold wait at its gate."""
        if record.hold == LIMIT_HOLD and record.gate is not None:
            self._waiting.put((record.gate, ""), record.asked.rank, record.due_at, record.id, now)
            self._touched[record.gate] = None

    def withdraw(self, record: Record) -> None:
        """Have a task wait at its gate no longer."""
        if record.gate is not None:
            self._waiting.drop((record.gate, ""), record.id)

    def left(self, record: Record) -> None:
        """Take note that a task is over, or gone."""
        if record.limited:
            self._leave_slots(record)

    def passed(self, record: Record, gate: str | None) -> None:
        """Take note that a task has a slot of the gate where it waited, and goes on to this one."""
        assert record.gate is not None
        self._slots.setdefault(record.gate, {})[record.id] = record
        record.gate = gate
        record.hold = None if gate is None else LIMIT_HOLD

    def _leave_slots(self, record: Record) -> None:
        for gate in record.gates:
            slots = self._slots.get(gate, {}) if gate is not None else {}
            if gate is not None and slots.pop(record.id, None) is not None:
                self._touched[gate] = None
                if not slots:
                    del self._slots[gate]

    # -- Passing

    def settle(self, until: int, now: int) -> int:
        """Let tasks pass where anything changed since the last time; return how many may be claimed now."""
        touched, self._touched = self._touched, {}
        return self._through(touched, until, now).admitted if touched else 0

    def admit(self, until: int, now: int, *, everywhere: bool) -> Admission:
        """Let tasks pass at the gates of what has become due, or at all."""
        lanes = self._waiting.named()
        names = [gate for (gate, _), lane in lanes if everywhere or _ripens(lane, until)]
        admission = self._through(names, until, now)
        first = [lane.later.top() for _, lane in self._waiting.named()]
        next_due = min([entry[0] for entry in first if entry is not None], default=None)
        return Admission(admission.admitted, admission.token_us, next_due, now)

    def _through(self, names: Iterable[str], until: int, now: int) -> Admission:
        left, admitted, tokens = dict.fromkeys(names), 0, list[int]()
        for kind in (KEY, WORK, QUEUE):
            for gate in [name for name in left if name.startswith(kind)]:
                passed, token_us = self._pass(gate, until, now)
                admitted += sum(behind is None for behind in passed)
                left |= dict.fromkeys(behind for behind in passed if behind is not None)
                tokens += [] if token_us is None else [token_us]
        return Admission(admitted, min(tokens, default=None))

    def _pass(self, name: str, until: int, now: int) -> tuple[list[str | None], int | None]:
        """Let tasks through one gate; return where they came to, and when there is a token for the next one."""
        slots = self._slots.get(name, {}).values()
        gate = Gate(name, len(slots), sum(one.state == _WAITING for one in slots), self._spent.get(name))
        looked_at: list[Record] = []
        passage = decide(gate, self._candidates(name, until, looked_at), partial(self._rule, name), now, until)
        passed = {candidate.id for candidate in passage.passed}
        for record in looked_at:
            if record.id not in passed:
                self._waiting.put((name, ""), record.asked.rank, record.due_at, record.id, now)
        if passage.spent_until is not None:
            self._spent[name] = passage.spent_until
        behind = [next_gate(name, one.work, one.queue) for one in passage.passed]
        for candidate, gate_behind, start in zip(passage.passed, behind, passage.starts, strict=True):
            self._let_go(self._records[candidate.id], gate_behind, start, now)
        return behind, passage.token_us

    def _candidates(self, name: str, until: int, looked_at: list[Record]) -> Iterator[Candidate[str]]:
        lanes = self._waiting.lanes((name,), None, frozenset(), until)
        for task_id in self._waiting.take(lanes, NO_AGEING_US):
            record = self._records[task_id]
            looked_at.append(record)
            yield Candidate(record.id, record.asked.work_id, record.gates[1], record.gates[2], record.due_at)

    def _rule(self, gate: str, task: Candidate[str]) -> LimitRule | None:
        if gate.startswith(KEY):
            return self._rules.get(KEYS + task.work_id, ONE_AT_A_TIME)
        return self._rules.get(gate)

    # -- Declaring and looking

    def declare(self, known: Collection[str], rules: Sequence[LimitRule]) -> list[str]:
        """Have these rules and, of the known names, no others; return the names that had none before."""
        for name in {*known} - {rule.name for rule in rules}:
            self._rules.pop(name, None)
        new = [rule.name for rule in rules if rule.name not in self._rules]
        self._rules |= {rule.name: rule for rule in rules}
        return new

    def adopt(self, record: Record, ruled: Collection[str]) -> bool:
        """Give a task that is there already the gates that have rules now; a run has slots of them at once."""
        key, work, queue = record.gates
        found = (
            key,
            work or _ruled(WORK + record.asked.work_id, ruled),
            queue or _ruled(queue_gate(record.asked.queue), ruled),
        )
        if found == record.gates:
            return False
        self._leave_slots(record)
        record.gates = found
        if record.state != _WAITING:
            for gate in found:
                if gate is not None:
                    self._slots.setdefault(gate, {})[record.id] = record
        return True

    def status(self) -> list[GateStatus]:
        """Return the gates that are declared, at which a task waits, or whose slots a task has."""
        waiting = {}
        for (gate, _), lane in self._waiting.named():
            due = [at for at, _, _ in lane.later.entries()] + [at for heap in lane.due for at, _, _ in heap.entries()]
            if due:
                waiting[gate] = len(due), min(due)
        return statuses(self._rules.values(), waiting, {gate: len(slots) for gate, slots in self._slots.items()})


def _ripens(lane: Lane, until: int) -> bool:
    top = lane.later.top()
    return top is not None and top[0] <= until


def _ruled(name: str, ruled: Collection[str]) -> str | None:
    return name if name in ruled else None
