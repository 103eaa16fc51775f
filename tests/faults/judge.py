"""The judge: what work wrote down of its runs, against what the store says, against what was asked.

It shares no code with the engine or the repository. A witness, two triggers in the file itself, adds every change of
state that was ever committed, whoever made it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from itertools import pairwise
from pathlib import Path

import apsw
import msgspec
from msgspec import Struct

from kokugen import TaskInfo, TaskState
from kokugen.task import Attempt, Mode
from tests.faults.journal import END, START, Entry

WITNESS = """
    CREATE TABLE witness (
      n INTEGER PRIMARY KEY, id TEXT, old INTEGER, new INTEGER, claim TEXT, old_fence INTEGER, new_fence INTEGER
    ) STRICT;
    CREATE TRIGGER witness_change AFTER UPDATE ON task WHEN old.state <> new.state OR old.fence <> new.fence BEGIN
      INSERT INTO witness (id, old, new, claim, old_fence, new_fence)
      VALUES (new.id, old.state, new.state, new.claim, old.fence, new.fence);
    END;
    CREATE TRIGGER witness_removal AFTER DELETE ON task BEGIN
      INSERT INTO witness (id, old, new, claim, old_fence, new_fence)
      VALUES (old.id, old.state, -1, NULL, old.fence, old.fence);
    END;
"""
WAITING, WORKING = int(TaskState.INITIALIZED), int(TaskState.WORKING)
ENDS = {int(state) for state in TaskState if state.terminal}
STEPS = {(WAITING, WORKING), (WORKING, WAITING), (WAITING, int(TaskState.CANCELLED))} | {(WORKING, end) for end in ENDS}


class Step(Struct, frozen=True):
    """One change of state as the witness saw it; `claim` is the one after it."""

    task_id: str
    old: int
    new: int
    claim: str | None
    old_fence: int
    new_fence: int


@contextmanager
def opened(path: Path, busy_ms: int = 30_000) -> Iterator[apsw.Connection]:
    """A connection of our own to the store."""
    db = apsw.Connection(str(path))
    db.set_busy_timeout(busy_ms)
    try:
        yield db
    finally:
        db.close()


def call_witness(path: Path) -> None:
    """Have the store write down every change of state from now on."""
    with opened(path) as db:
        db.execute(WITNESS)


def testimony(path: Path) -> list[Step]:
    names = ("task_id", "old", "new", "claim", "old_fence", "new_fence")
    with opened(path) as db:
        rows = db.execute("SELECT id, old, new, claim, old_fence, new_fence FROM witness ORDER BY n").fetchall()
    return msgspec.convert([dict(zip(names, row, strict=True)) for row in rows], list[Step])


class Case(Struct, frozen=True, kw_only=True):
    """All that is known in the end. `killed` and `paused` say when that was done to a process, on the boot clock."""

    asked: Mapping[str, int]
    """The ids that scheduling answered with, and when each was to run, in microseconds."""
    entries: Sequence[Entry]
    tasks: Mapping[str, TaskInfo]
    history: Mapping[str, Sequence[Attempt]]
    steps: Sequence[Step]
    killed: Mapping[int, int] = {}
    paused: Mapping[int, int] = {}


def judge(case: Case) -> list[str]:
    """Every broken promise, in words; none at best."""
    runs: dict[str, list[Entry]] = defaultdict(list)
    ends = {(entry.task_id, entry.fence): entry for entry in case.entries if entry.event == END}
    for entry in case.entries:
        if entry.event == START:
            runs[entry.task_id].append(entry)
    told = [*_strangers(case, runs), *_forbidden(case.steps)]
    for task_id, due_us in case.asked.items():
        info = case.tasks.get(task_id)
        if info is None:
            told.append(f"{task_id}: acknowledged, and not in the store")
            continue
        mine = sorted(runs.get(task_id, ()), key=lambda run: run.fence)
        told += _lost(info, mine, ends)
        told += _doubled(info, mine, case.history.get(task_id, ()))
        told += (f"{task_id}: run {run.fence} started early" for run in mine if run.wall_us < due_us)
        told += _overlaps(mine, ends, case)
    return told


def _strangers(case: Case, runs: Mapping[str, Sequence[Entry]]) -> Iterator[str]:
    yield from (f"{task_id}: ran, and was never asked for" for task_id in runs.keys() - case.asked.keys())
    yield from (f"{task_id}: stored, and never asked for" for task_id in case.tasks.keys() - case.asked.keys())


def _lost(info: TaskInfo, runs: Sequence[Entry], ends: Mapping[tuple[str, int], Entry]) -> Iterator[str]:
    if not info.state.terminal:
        yield f"{info.id}: {info.state.label} still"
    elif info.state is TaskState.DONE:
        if (info.id, info.fence) not in ends:
            yield f"{info.id}: Done by run {info.fence}, which did not end"
    elif info.mode is Mode.AT_LEAST_ONCE or info.reason != "lost":
        yield f"{info.id}: {info.state.label} ({info.reason}), and nobody failed or cancelled it"
    if info.state.terminal and info.attempt != 1:
        yield f"{info.id}: {info.attempt} attempts, and none of them failed"
    if any(run.fence > info.fence for run in runs):
        yield f"{info.id}: a run has a later fence than {info.fence}, the task's"


def _doubled(info: TaskInfo, runs: Sequence[Entry], history: Sequence[Attempt]) -> Iterator[str]:
    """A run that is not the last one is allowed where the store says that it was lost."""
    taken_over = {attempt.fence for attempt in history if attempt.outcome == "lost"}
    for fence, count in Counter(run.fence for run in runs).items():
        if count > 1:
            yield f"{info.id}: {count} runs under claim {fence}"
        if fence != info.fence and fence not in taken_over:
            yield f"{info.id}: run {fence} was followed by another without a takeover"
        if info.state is TaskState.DONE and fence == info.fence and fence in taken_over:
            yield f"{info.id}: run {fence} was taken over, and is recorded as Done all the same"
    if info.mode is Mode.AT_MOST_ONCE and len(runs) > 1:
        yield f"{info.id}: at most once, and {len(runs)} runs"


def _overlaps(runs: Sequence[Entry], ends: Mapping[tuple[str, int], Entry], case: Case) -> Iterator[str]:
    for run, after in pairwise(runs):
        end = ends.get((run.task_id, run.fence))
        over = [case.killed.get(run.pid), case.paused.get(run.pid), None if end is None else end.boot_ns]
        over_ns = min((one for one in over if one is not None), default=None)
        if over_ns is None or after.boot_ns < over_ns:
            yield f"{run.task_id}: run {after.fence} began while run {run.fence} was under way"


def _forbidden(steps: Iterable[Step]) -> Iterator[str]:
    """What no store may ever commit: other transitions than the allowed ones, a claim twice, a fence that jumps."""
    claims: set[tuple[str, str | None]] = set()
    for step in steps:
        if (step.old, step.new) not in STEPS:
            yield f"{step.task_id}: went from {step.old} to {step.new}"
        if step.new_fence - step.old_fence != (step.new == WORKING):
            yield f"{step.task_id}: its fence went from {step.old_fence} to {step.new_fence}"
        if step.new == WORKING and (step.task_id, step.claim) in claims:
            yield f"{step.task_id}: the claim {step.claim} was made twice"
        claims.add((step.task_id, step.claim))
