"""The judge: what work wrote down of its runs, against what the store says, against what was asked.

It shares no code with the engine or the repository. The witness (`ground.py`) adds every change of state that was ever
committed, whoever made it.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from enum import StrEnum
from itertools import pairwise

from msgspec import Struct

from kokugen import TaskInfo, TaskState
from kokugen.task import Attempt, Mode
from tests.faults.ground import Step
from tests.faults.journal import CUT, END, ERROR, START, Entry

WAITING, WORKING = int(TaskState.INITIALIZED), int(TaskState.WORKING)
ENDS = {int(state) for state in TaskState if state.terminal}
STEPS = {(WAITING, WORKING), (WORKING, WAITING), (WAITING, int(TaskState.CANCELLED))} | {(WORKING, end) for end in ENDS}
YIELDED = {"lost", "released"}
"""What the history says of a run that another one may follow."""

Runs = Mapping[tuple[str, int], Entry]


class Kind(StrEnum):
    """Which promise was broken."""

    LOST = "lost"
    DOUBLED = "doubled"
    EARLY = "early"
    OVERLAPPING = "overlapping"
    UNEXPLAINED = "unexplained"
    SLOW = "slow"
    """It kept every other promise, and not the time that it was to take."""


class Verdict(Struct, frozen=True):
    """One broken promise, in words."""

    kind: Kind
    words: str


class Case(Struct, frozen=True, kw_only=True):
    """All that is known in the end, with the boot clock's time of what was done to processes."""

    asked: Mapping[str, int]
    """The ids that scheduling answered with, and when each was to run, in microseconds."""
    entries: Sequence[Entry]
    tasks: Mapping[str, TaskInfo]
    history: Mapping[str, Sequence[Attempt]]
    steps: Sequence[Step]
    killed: Mapping[int, int] = {}
    paused: Mapping[int, Sequence[int]] = {}
    cancelled: Mapping[str, int] = {}
    """The tasks whose cancellation was answered, and when."""
    requested: Mapping[str, int] = {}
    """The tasks that were running then, and were asked to stop."""
    ahead_us: int = 0
    """How far the clock of a process may have been set ahead amid the wait for a task that was claimed for it."""


def judge(case: Case) -> list[Verdict]:
    """Every broken promise; none at best."""
    runs: dict[str, list[Entry]] = defaultdict(list)
    over = {(entry.task_id, entry.fence): entry for entry in case.entries if entry.event in (END, CUT)}
    for entry in case.entries:
        if entry.event == START:
            runs[entry.task_id].append(entry)
    told = [*_strangers(case, runs), *_forbidden(case.steps)]
    for task_id in case.asked:
        info = case.tasks.get(task_id)
        if info is None:
            told.append(Verdict(Kind.LOST, f"{task_id}: acknowledged, and not in the store"))
            continue
        mine = sorted(runs.get(task_id, ()), key=lambda run: run.fence)
        told += _lost(info, mine, over, case)
        told += _doubled(info, mine, case.history.get(task_id, ()))
        told += _early(info, mine, case)
        told += _overlaps(mine, over, case)
    return told


def _strangers(case: Case, runs: Mapping[str, Sequence[Entry]]) -> Iterator[Verdict]:
    for entry in case.entries:
        if entry.event == ERROR:
            yield Verdict(Kind.UNEXPLAINED, f"process {entry.pid}: its event loop logged an error")
    for task_id in runs.keys() - case.asked.keys():
        yield Verdict(Kind.UNEXPLAINED, f"{task_id}: ran, and was never asked for")
    for task_id in case.tasks.keys() - case.asked.keys():
        yield Verdict(Kind.UNEXPLAINED, f"{task_id}: stored, and never asked for")


def _lost(info: TaskInfo, runs: Sequence[Entry], over: Runs, case: Case) -> Iterator[Verdict]:
    end = over.get((info.id, info.fence))
    if not info.state.terminal:
        yield Verdict(Kind.LOST, f"{info.id}: {info.state.label} still")
    elif info.state is TaskState.DONE:
        if end is None or end.event != END:
            yield Verdict(Kind.LOST, f"{info.id}: Done by run {info.fence}, which did not end")
    elif not _is_meant(info, case):
        yield Verdict(Kind.LOST, f"{info.id}: {info.state.label} ({info.reason}), and nobody failed or cancelled it")
    if info.state.terminal and info.attempt != 1 and not (info.state is TaskState.CANCELLED and info.attempt == 0):
        yield Verdict(Kind.UNEXPLAINED, f"{info.id}: {info.attempt} attempts, and none of them failed")
    if any(run.fence > info.fence for run in runs):
        yield Verdict(Kind.UNEXPLAINED, f"{info.id}: a run has a later fence than {info.fence}, the task's")


def _is_meant(info: TaskInfo, case: Case) -> bool:
    if info.state is TaskState.CANCELLED:
        return info.id in case.cancelled or info.id in case.requested
    return info.mode is Mode.AT_MOST_ONCE and info.reason == "lost"


def _doubled(info: TaskInfo, runs: Sequence[Entry], history: Sequence[Attempt]) -> Iterator[Verdict]:
    """A run that is not the last one is allowed where the store says that it was lost, or given back."""
    taken_over = {attempt.fence for attempt in history if attempt.outcome == "lost"}
    yielded = {attempt.fence for attempt in history if attempt.outcome in YIELDED}
    for fence, count in Counter(run.fence for run in runs).items():
        if count > 1:
            yield Verdict(Kind.DOUBLED, f"{info.id}: {count} runs under claim {fence}")
        if fence != info.fence and fence not in yielded:
            yield Verdict(Kind.DOUBLED, f"{info.id}: run {fence} was followed by another without a takeover")
        if info.state is TaskState.DONE and fence == info.fence and fence in taken_over:
            yield Verdict(Kind.DOUBLED, f"{info.id}: run {fence} was taken over, and is recorded as Done all the same")
    if info.mode is Mode.AT_MOST_ONCE and len(runs) > 1:
        yield Verdict(Kind.DOUBLED, f"{info.id}: at most once, and {len(runs)} runs")


def _early(info: TaskInfo, runs: Sequence[Entry], case: Case) -> Iterator[Verdict]:
    """Before its time, or once it was not to start any more."""
    for run in runs:
        if run.wall_us < case.asked[info.id] - case.ahead_us:
            yield Verdict(Kind.EARLY, f"{info.id}: run {run.fence} started early")
        if run.boot_ns > case.cancelled.get(info.id, run.boot_ns):
            yield Verdict(Kind.UNEXPLAINED, f"{info.id}: run {run.fence} started after it was cancelled")
    if sum(run.boot_ns > case.requested.get(info.id, run.boot_ns) for run in runs) > 1:  # one may have been claimed
        yield Verdict(Kind.UNEXPLAINED, f"{info.id}: an attempt began after its cancellation was requested")


def _overlaps(runs: Sequence[Entry], over: Runs, case: Case) -> Iterator[Verdict]:
    for run, after in pairwise(runs):
        end = over.get((run.task_id, run.fence))
        paused = (at for at in case.paused.get(run.pid, ()) if at >= run.boot_ns)
        ends = [case.killed.get(run.pid), min(paused, default=None), None if end is None else end.boot_ns]
        over_ns = min((one for one in ends if one is not None), default=None)
        if over_ns is None or after.boot_ns < over_ns:
            words = f"{run.task_id}: run {after.fence} began while run {run.fence} was under way"
            yield Verdict(Kind.OVERLAPPING, words)


def _forbidden(steps: Iterable[Step]) -> Iterator[Verdict]:
    """What no store may ever commit: other transitions than the allowed ones, a claim twice, a fence that jumps."""
    claims: set[tuple[str, str | None]] = set()
    for step in steps:
        if (step.old, step.new) not in STEPS:
            yield Verdict(Kind.UNEXPLAINED, f"{step.task_id}: went from {step.old} to {step.new}")
        if step.new_fence - step.old_fence != (step.new == WORKING):
            words = f"{step.task_id}: its fence went from {step.old_fence} to {step.new_fence}"
            yield Verdict(Kind.UNEXPLAINED, words)
        if step.new == WORKING and (step.task_id, step.claim) in claims:
            yield Verdict(Kind.DOUBLED, f"{step.task_id}: the claim {step.claim} was made twice")
        claims.add((step.task_id, step.claim))
