"""The account of schedules sees what it is there for: one broken case of each kind."""

from __future__ import annotations

from typing import Any

import pytest

from kokugen.clock import SECOND_US
from tests.faults.account import Account, Decision, Made, Plan, Trouble, audit, lateness
from tests.faults.journal import START, Entry
from tests.faults.judge import Kind
from tests.faults.stalls import StallWatch

T = 1_000 * SECOND_US
PLAN = Plan("hourly", T, 10 * SECOND_US, 4, 2 * SECOND_US)
TIMES = list(PLAN.times)
OUTAGE = Trouble(TIMES[1] - SECOND_US, TIMES[2] + SECOND_US)


def decision(first: int, last: int, reason: str = "made", stand_in: int | None = None) -> Decision:
    return Decision("hourly", TIMES[first], TIMES[last], last - first + 1, reason, stand_in)


def case(**changes: Any) -> Account:
    """Return a case without fault: two times ran, one was missed in an outage, one stands for another."""
    found: dict[str, Any] = {
        "plans": [PLAN],
        "decisions": [decision(0, 0), decision(1, 1, "coalesced", TIMES[2]), decision(2, 3)],
        "made": [Made("hourly", TIMES[number], f"t{number}") for number in (0, 2, 3)],
        "entries": [Entry(START, f"t{number}", 1, 1, 7, TIMES[number] + 3000, 0) for number in (0, 2, 3)],
        "troubles": [OUTAGE],
    }
    return Account(**(found | changes))


def test_nothing_is_said_of_a_case_without_fault() -> None:
    assert audit(case()) == []
    assert [late for late, _ in lateness(case())] == [3000] * 3


@pytest.mark.parametrize(
    ("changes", "kind", "words"),
    [
        ({"decisions": [decision(0, 0), decision(2, 3)]}, Kind.LOST, "never decided"),
        ({"decisions": [*case().decisions, decision(3, 3, "missed")]}, Kind.DOUBLED, "decided 2 times"),
        ({"made": case().made[1:]}, Kind.LOST, "there is no task"),
        ({"made": [*case().made, Made("hourly", TIMES[3], "again")]}, Kind.DOUBLED, "2 tasks"),
        ({"made": [*case().made, Made("hourly", TIMES[1], "unasked")]}, Kind.DOUBLED, "1 tasks"),
        ({"made": [*case().made, Made("hourly", T + 1, "stray")]}, Kind.UNEXPLAINED, "no time of it"),
        ({"made": [*case().made, Made("daily", T, "stray")]}, Kind.UNEXPLAINED, "no time of it"),
        ({"troubles": []}, Kind.LOST, "nothing stood in its way"),
        ({"made": [case().made[0], case().made[2]]}, Kind.LOST, "was to stand for it"),
        ({"decisions": [decision(0, 2), decision(3, 3, "paused")]}, Kind.UNEXPLAINED, "nobody asked for that"),
        ({"decisions": [*case().decisions, decision(3, 3)]}, Kind.UNEXPLAINED, "counts 5 times of 4"),
        (
            {"entries": [Entry(START, "t0", 1, 1, 7, T + 3 * SECOND_US, 0)]},
            Kind.SLOW,
            "started 3.00 s late, and nothing stood in its way",
        ),
    ],
)
def test_each_broken_promise_is_told(changes: dict[str, Any], kind: Kind, words: str) -> None:
    told = audit(case(**changes))
    assert any(verdict.kind is kind and words in verdict.words for verdict in told), told


def test_a_start_that_trouble_delayed_is_not_held_against_anyone() -> None:
    late = [Entry(START, "t2", 1, 1, 7, TIMES[2] + 8 * SECOND_US, 0)]
    assert audit(case(entries=late)) == []


def test_only_a_machine_that_stood_still_is_trouble() -> None:
    watch = StallWatch()
    watch.note(T, T + SECOND_US // 10)
    assert watch.troubles == []
    watch.note(TIMES[3] - SECOND_US, TIMES[3] + 2 * SECOND_US)
    late = [Entry(START, "t3", 1, 1, 7, TIMES[3] + 3 * SECOND_US, 0)]
    assert audit(case(entries=late, troubles=[OUTAGE])) != []
    assert audit(case(entries=late, troubles=[OUTAGE, *watch.troubles])) == []
