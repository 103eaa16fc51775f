"""Every order in which two nodes can deal with two tasks, up to a number of steps: what chance may never draw.

The store is the real one in memory, what a node remembers of others' runs the real `Sightings`. A request and its
answer are steps of their own, between which anything else may happen, and either may be lost; a node may die at any of
them. Time passes by ticks. What only differs by how long ago it came about is the same state, so there is an end.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Sequence
from typing import Any

from msgspec import Struct

from kokugen.repository.memory import MemoryRepository
from kokugen.repository.memory.record import Record
from kokugen.repository.rows import CancelRequest, ClaimRequest, Finish, Finished, Lease, NewTask, Observed
from kokugen.task import Mode, TaskState, replace
from kokugen.task_storage.sightings import Sightings
from kokugen.testing import ManualClock

TTL, MARGIN = 2, 1
"""In ticks."""
NAMES = ("a", "b")
CLOCK = ManualClock()
NOW_US = CLOCK.wall_us()
WORKING = int(TaskState.WORKING)


class Message(Struct, frozen=True):
    """A request under way, or, once `answer` is there, its answer; sent `age` ticks ago."""

    kind: str
    about: Any
    age: int = 0
    arrived: bool = False
    answer: Any = None


class HeldRun(Struct, frozen=True):
    """A run as its node knows it: `left` ticks of trust, and how far its work is: claimed, called, ended."""

    lease: Lease
    mode: int
    left: int
    stage: str = "claimed"


class Node(Struct, frozen=True):
    """What a node knows. It has two lines to the store, one of them for beats alone."""

    alive: bool = True
    run: HeldRun | None = None
    line: Message | None = None
    beat: Message | None = None
    seen: tuple[tuple[Lease, tuple[int, int]], ...] = ()
    """Others' runs: the beat that was seen, and for how many ticks."""


Key = tuple[Any, ...]
"""What tells a row from another."""


class State(Struct, frozen=True):
    """All that there is. `called` has every lease whose work was called."""

    rows: tuple[Key, ...]
    nodes: tuple[Node, ...]
    called: frozenset[Lease] = frozenset()
    cancels: int = 1
    deaths: int = 1


Step = tuple[str, State]


class BrokenOrderError(AssertionError):
    """An order of steps breaks a promise."""


class Store:
    """The memory repository, made anew from the rows of a state."""

    def __init__(self, rows: tuple[Record, ...]) -> None:
        self.repository = MemoryRepository(clock=CLOCK)
        self.table = self.repository._table
        for row in rows:
            record = replace(row)
            self.table.records[record.id] = self.table.by_state[record.state][record.id] = record
            if record.state == TaskState.INITIALIZED:
                self.table._enrol(record, NOW_US)

    def rows(self) -> tuple[Record, ...]:
        return tuple(self.table.records.values())


class Explorer:
    """Goes through all states, breadth first, so that the first broken order is a shortest one."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self.states = self.steps = 0

    def explore(self, depth_max: int, states_max: int, *, after: Sequence[str] = ()) -> int:
        """Return how many steps deep every order was tried, behind those that are given. Raises BrokenOrderError."""
        start = self._start()
        for name in after:
            start = dict(self._steps(start))[name]
        came: dict[State, tuple[State, str] | None] = {start: None}
        level, depth = deque([start]), 0
        while level and depth < depth_max and len(came) < states_max:
            following: deque[State] = deque()
            for state in level:
                for name, other in self._all_steps(state, came):
                    self.steps += 1
                    if other not in came:
                        came[other] = (state, name)
                        following.append(other)
            level, depth = following, depth + 1
        self.states = len(came)
        return depth

    def _start(self) -> State:
        store = Store(())
        store.repository.add([_task("once", Mode.AT_MOST_ONCE), _task("again", Mode.AT_LEAST_ONCE)])
        return State(self._kept(store), (Node(), Node()))

    def _all_steps(self, state: State, came: dict[State, tuple[State, str] | None]) -> Iterator[Step]:
        try:
            yield from self._steps(state)
        except BrokenOrderError as error:
            order: list[str] = []
            at: State | None = state
            while at is not None and (before := came[at]) is not None:
                at, name = before
                order.append(name)
            raise BrokenOrderError(f"{error}, after: {'; '.join(reversed(order))}") from None

    # -- The steps that there are

    def _steps(self, state: State) -> Iterator[Step]:
        yield "a tick", _tick(state)
        if state.cancels:
            for task_id in ("once", "again"):
                store = self._store(state)
                store.repository.cancel(CancelRequest(ids=(task_id,)))
                yield f"cancel {task_id}", self._after(state, store, cancels=0)
        for at, node in enumerate(state.nodes):
            if node.alive:
                for name, after in self._steps_of(state, at, node):
                    yield f"{NAMES[at]}: {name}", after
            elif node.line is not None and not node.line.arrived:  # what it had sent may still arrive
                yield f"{NAMES[at]}: late {node.line.kind}", self._arrive(state, at, node, node.line, "line")

    def _steps_of(self, state: State, at: int, node: Node) -> Iterator[Step]:
        if state.deaths:
            dead = Node(alive=False, line=node.line if node.line and not node.line.arrived else None)
            yield "dies", _with(_changed(state, deaths=0), at, dead)
        yield from self._run_steps(state, at, node)
        if node.line is None:
            yield "looks who works", self._arrive(state, at, node, Message("watch", ()), "line")
        else:
            yield from self._line_steps(state, at, node, node.line, "line")
        if node.beat is not None:
            yield from self._line_steps(state, at, node, node.beat, "beat")

    def _run_steps(self, state: State, at: int, node: Node) -> Iterator[Step]:
        run = node.run
        if run is None:
            if node.line is None:
                yield "claims", _with(state, at, replace(node, line=Message("claim", self._nonce(state, at))))
            return
        if run.stage == "claimed":
            if run.left > 0:
                yield f"calls {run.lease.id}", self._call(state, at, node, run)
            return
        if run.stage == "called":
            yield f"has done {run.lease.id}", _with(state, at, replace(node, run=replace(run, stage="ended")))
        elif node.line is None:
            yield f"finishes {run.lease.id}", _with(state, at, replace(node, line=Message("finish", run.lease)))
        if node.beat is None:
            yield "beats", _with(state, at, replace(node, beat=Message("beat", run.lease)))

    def _line_steps(self, state: State, at: int, node: Node, message: Message, line: str) -> Iterator[Step]:
        lost = _with(state, at, replace(node, **{line: None}))
        if not message.arrived:
            yield f"{message.kind} arrives", self._arrive(state, at, node, message, line)
            yield f"{message.kind} is lost", lost
        else:
            yield f"{message.kind} is answered", self._hear(lost, at, message)
            yield f"the answer to {message.kind} is lost", lost

    # -- What they do

    def _arrive(self, state: State, at: int, node: Node, message: Message, line: str) -> State:
        store = self._store(state)
        answer = getattr(self, f"_do_{message.kind}")(state, store.repository, at, message.about)
        there = replace(message, arrived=True, answer=answer) if node.alive else None
        return self._after(_with(state, at, replace(node, **{line: there})), store)

    def _do_claim(self, _state: State, store: MemoryRepository, at: int, nonce: str) -> tuple[Any, ...]:
        answer = store.claim(ClaimRequest(node_id=NAMES[at], nonce=nonce, slots=1, ahead_us=0, ttl_s=TTL)).peek()
        return tuple((Lease(task.id, nonce), task.mode) for task in answer.tasks)

    def _do_finish(self, _state: State, store: MemoryRepository, _at: int, lease: Lease) -> bool:
        row = Finish(id=lease.id, claim=lease.claim, state=TaskState.DONE, outcome="done")
        return store.finish([row]).peek() == [Finished.APPLIED]

    def _do_beat(self, _state: State, store: MemoryRepository, _at: int, lease: Lease) -> bool:
        return bool(store.beat([lease]).peek())

    def _do_watch(self, _state: State, store: MemoryRepository, at: int, _about: object) -> tuple[Observed, ...]:
        return tuple(one for one in store.watch(NAMES[at]).peek())

    def _do_recover(self, state: State, store: MemoryRepository, _at: int, observed: tuple[Observed, ...]) -> None:
        trusted = {node.run.lease for node in state.nodes if node.run is not None and node.run.left > 0}
        taken = {one.id for one in store.recover(observed).peek()}
        for lease in trusted:
            if lease.id in taken:
                raise BrokenOrderError(f"I7: {lease.id} is taken from an owner that trusts it")

    def _hear(self, state: State, at: int, message: Message) -> State:
        node, answer = state.nodes[at], message.answer
        if message.kind == "claim" and answer and node.run is None:
            ((lease, mode),) = answer
            return _with(state, at, replace(node, run=HeldRun(lease, mode, max(0, TTL - MARGIN - message.age))))
        if message.kind == "finish":
            return _with(state, at, replace(node, run=None))
        if message.kind == "beat" and node.run is not None and node.run.lease == message.about:
            left = max(node.run.left, TTL - MARGIN - message.age) if answer else 0
            return _with(state, at, replace(node, run=replace(node.run, left=left)))
        return self._look(state, at, node, answer) if message.kind == "watch" else state

    @staticmethod
    def _look(state: State, at: int, node: Node, observed: tuple[Observed, ...]) -> State:
        sightings = Sightings(CLOCK, gap_s=float("inf"))
        now_s = CLOCK.boot_s()
        sightings._seen = {lease: (beat, now_s - age) for lease, (beat, age) in node.seen}
        stale = tuple(sightings.stale(observed))
        seen = tuple((lease, (beat, round(now_s - since_s))) for lease, (beat, since_s) in sightings._seen.items())
        return _with(state, at, replace(node, seen=seen, line=Message("recover", stale) if stale else None))

    def _call(self, state: State, at: int, node: Node, run: HeldRun) -> State:
        for other in state.nodes:
            theirs = None if other is node else other.run
            if theirs is not None and theirs.lease.id == run.lease.id and theirs.stage == "called" and theirs.left > 0:
                raise BrokenOrderError(f"I7: {run.lease.id} is called while another node may trust its run of it")
        if run.mode == Mode.AT_MOST_ONCE and any(lease.id == run.lease.id for lease in state.called):
            raise BrokenOrderError(f"I5: {run.lease.id} is called again")
        if run.lease in state.called:
            raise BrokenOrderError(f"I3: {run.lease} is called twice")
        after = _with(state, at, replace(node, run=replace(run, stage="called")))
        return _changed(after, called=state.called | {run.lease})

    # -- Rows and states

    @staticmethod
    def _nonce(state: State, at: int) -> str:
        return f"{NAMES[at]}{len(state.called)}{sum(row[1] for row in state.rows)}"

    def _store(self, state: State) -> Store:
        return Store(tuple(self._records[row] for row in state.rows))

    def _kept(self, store: Store) -> tuple[Key, ...]:
        """Return the rows as what tells one from another; the records are kept beside."""
        keys: list[Key] = []
        for record in store.rows():
            key: Key = (record.id, record.fence, record.state, record.claim, record.final_claim, record.beat)
            key += (record.attempt, record.lost, record.cancel_requested)
            self._records.setdefault(key, record)
            keys.append(key)
        return tuple(keys)

    def _after(self, state: State, store: Store, **about: int) -> State:
        rows = self._kept(store)
        for before, after in zip(state.rows, rows, strict=True):
            _check_row(before, after, state.called)
        return _changed(state, rows=rows, **about)


def _check_row(before: Any, after: Any, called: frozenset[Lease]) -> None:
    """Look at what a request changed of a task."""
    was, now = TaskState(before[2]), TaskState(after[2])
    claimed = was is TaskState.INITIALIZED and now is TaskState.WORKING
    if after[1] != before[1] + claimed or (now is TaskState.WORKING) != (after[3] is not None):
        raise BrokenOrderError(f"I3: {before} became {after}")
    if was.terminal and before != after:
        raise BrokenOrderError(f"I2: {before} was over, and became {after}")
    if now is TaskState.DONE and was is not now and (after[4] != before[3] or Lease(after[0], after[4]) not in called):
        raise BrokenOrderError(f"I4: {before} became {after}, and its owner had not done it")
    if before[8] and now is TaskState.INITIALIZED:
        raise BrokenOrderError(f"I13: {before} was to be cancelled, and became {after}")


def _task(task_id: str, mode: Mode) -> NewTask:
    return NewTask(id=task_id, work_id="work", due_at=0, scheduled_time=0, mode=mode, max_lost=9)


def _with(state: State, at: int, node: Node) -> State:
    nodes = (node, state.nodes[1]) if at == 0 else (state.nodes[0], node)
    return State(state.rows, nodes, state.called, state.cancels, state.deaths)


def _changed(state: State, **about: Any) -> State:
    after: State = replace(state, **about)
    return after


def _tick(state: State) -> State:
    """Let time pass. What is old enough to make no difference grows no older."""
    return _changed(state, nodes=tuple(map(_older, state.nodes)))


def _older(node: Node) -> Node:
    run = node.run if node.run is None else replace(node.run, left=max(0, node.run.left - 1))
    line, beat = (one and replace(one, age=min(one.age + 1, TTL)) for one in (node.line, node.beat))
    seen = tuple((lease, (number, min(age + 1, TTL))) for lease, (number, age) in node.seen)
    return Node(node.alive, run, line, beat, seen)
