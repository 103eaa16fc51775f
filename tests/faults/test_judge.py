"""The judge finds what it is there for: each broken promise, told in words, and nothing in a clean case."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from kokugen import TaskInfo, TaskState
from kokugen.clock import from_us
from kokugen.task import Attempt, Mode
from tests.faults.ground import Step
from tests.faults.journal import CUT, END, ERROR, LINE_BYTES, START, Entry, Journal
from tests.faults.judge import Case, Kind, judge

DUE_US = 1_000_000
LOST = Attempt(fence=1, attempt=1, outcome="lost")
RELEASED = Attempt(fence=1, attempt=1, outcome="released")


def entry(event: str, fence: int = 1, **about: Any) -> Entry:
    at_ns = {START: 10, END: 20, CUT: 20, ERROR: 30}[event] + 100 * fence
    fields: dict[str, Any] = {"task_id": "a", "attempt": 1, "pid": fence, "wall_us": DUE_US, "boot_ns": at_ns} | about
    return Entry(event=event, fence=fence, **fields)


def info(**about: Any) -> TaskInfo:
    fields: dict[str, Any] = {"id": "a", "state": TaskState.DONE, "fence": 1, "attempt": 1} | about
    return TaskInfo(work_id="step", scheduled_time=from_us(DUE_US), **fields)


def claim(fence: int, nonce: str = "") -> Step:
    return Step("a", 0, 1, nonce or f"claim {fence}", fence - 1, fence)


def end(fence: int, new: int = 2, old: int = 1) -> Step:
    return Step("a", old, new, None, fence, fence)


CLEAN = Case(
    asked={"a": DUE_US},
    entries=[entry(START), entry(END)],
    tasks={"a": info()},
    history={},
    steps=[claim(1), end(1)],
)
TAKEN_OVER = Case(
    asked={"a": DUE_US},
    entries=[entry(START), entry(START, 2), entry(END, 2)],
    tasks={"a": info(fence=2)},
    history={"a": [LOST]},
    steps=[claim(1), end(1, new=0), claim(2), end(2)],
    killed={1: 150},
)
CANCELLED = Case(
    asked={"a": DUE_US},
    entries=[entry(START), entry(CUT)],
    tasks={"a": info(state=TaskState.CANCELLED)},
    history={},
    steps=[claim(1), end(1, new=3)],
    requested={"a": 115},
)
GIVEN_BACK = msgspec.structs.replace(
    TAKEN_OVER, entries=[entry(START), entry(CUT), entry(START, 2), entry(END, 2)], history={"a": [RELEASED]}, killed={}
)
BROKEN: dict[str, tuple[Case, dict[str, Any]]] = {
    "not in the store": (CLEAN, {"tasks": {}}),
    "logged an error": (CLEAN, {"entries": [entry(START), entry(END), entry(ERROR, task_id="-")]}),
    "never asked for": (CLEAN, {"asked": {}}),
    "Initialized still": (CLEAN, {"tasks": {"a": info(state=TaskState.INITIALIZED)}}),
    "which did not end": (CLEAN, {"entries": [entry(START)]}),
    "nobody failed or cancelled it": (CLEAN, {"tasks": {"a": info(state=TaskState.CANCELLED)}}),
    "2 attempts, and none of them failed": (CLEAN, {"tasks": {"a": info(attempt=2)}}),
    "later fence than 1": (CLEAN, {"entries": [entry(START), entry(END), entry(START, 2)]}),
    "started early": (CLEAN, {"entries": [entry(START, wall_us=DUE_US - 1), entry(END)]}),
    "2 runs under claim 1": (CLEAN, {"entries": [entry(START), entry(START), entry(END)]}),
    "without a takeover": (TAKEN_OVER, {"history": {}}),
    "recorded as Done all the same": (CLEAN, {"history": {"a": [LOST]}}),
    "at most once, and 2 runs": (TAKEN_OVER, {"tasks": {"a": info(fence=2, mode=Mode.AT_MOST_ONCE)}}),
    "while run 1 was under way": (TAKEN_OVER, {"killed": {1: 250}}),
    "which did not end ": (CLEAN, {"entries": [entry(START), entry(CUT)]}),
    "started after it was cancelled": (CANCELLED, {"cancelled": {"a": 105}, "requested": {}}),
    "attempt began after its cancellation": (
        TAKEN_OVER,
        {"tasks": {"a": info(fence=2, state=TaskState.CANCELLED)}, "requested": {"a": 105}},
    ),
    "run 2 began while": (GIVEN_BACK, {"entries": [entry(START), entry(START, 2), entry(END, 2)]}),
    "went from 2 to 2": (CLEAN, {"steps": [claim(1), end(1), end(1, old=2)]}),
    "went from 2 to 3": (CLEAN, {"steps": [claim(1), end(1), end(1, old=2, new=3)]}),
    "went from 0 to 2": (CLEAN, {"steps": [end(1, old=0)]}),
    "went from 2 to -1": (CLEAN, {"steps": [claim(1), end(1), end(1, old=2, new=-1)]}),
    "fence went from 1 to 3": (CLEAN, {"steps": [claim(1), end(1, new=0), Step("a", 0, 1, "c", 1, 3)]}),
    "made twice": (TAKEN_OVER, {"steps": [claim(1, "c"), end(1, new=0), claim(2, "c"), end(2)]}),
}


@pytest.mark.parametrize("case", [CLEAN, TAKEN_OVER, CANCELLED, GIVEN_BACK])
def test_a_clean_case_is_told_to_be_clean(case: Case) -> None:
    assert judge(case) == []


@pytest.mark.parametrize("words", BROKEN)
def test_each_broken_promise_is_found(words: str) -> None:
    case, changes = BROKEN[words]
    told = judge(msgspec.structs.replace(case, **changes))
    assert any(words.strip() in one.words for one in told)
    assert {one.kind for one in told} <= set(Kind)


@pytest.mark.parametrize(
    ("words", "kind"),
    [
        ("not in the store", Kind.LOST),
        ("Initialized still", Kind.LOST),
        ("2 runs under claim 1", Kind.DOUBLED),
        ("without a takeover", Kind.DOUBLED),
        ("started early", Kind.EARLY),
        ("while run 1 was under way", Kind.OVERLAPPING),
        ("never asked for", Kind.UNEXPLAINED),
        ("went from 2 to 3", Kind.UNEXPLAINED),
    ],
)
def test_each_broken_promise_is_counted_as_what_it_is(words: str, kind: Kind) -> None:
    case, changes = BROKEN[words]
    assert kind in {one.kind for one in judge(msgspec.structs.replace(case, **changes))}


def test_a_run_of_a_process_that_was_stopped_may_overlap_the_next_one_but_not_before() -> None:
    stopped = msgspec.structs.replace(TAKEN_OVER, killed={}, paused={1: [150]})
    assert judge(stopped) == []
    assert judge(msgspec.structs.replace(stopped, paused={1: [250]}))


def test_the_journal_reads_back_what_was_written_and_notices_a_torn_line(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal")
    journal.write(START, "x" * 36, fence=10**9, attempt=10**6)
    assert len(journal) == 1
    (read,) = journal.entries()
    assert (read.event, read.task_id, read.fence, read.attempt) == (START, "x" * 36, 10**9, 10**6)
    with journal.path.open("ab") as file:
        file.write(b"start torn 1\n".ljust(LINE_BYTES // 2))
    with pytest.raises(ValueError, match="values"):
        journal.entries()
