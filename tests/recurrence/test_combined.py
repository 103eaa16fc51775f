"""Triggers of triggers: as sets of times they are what their names say, however many times there are."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import combinations

import pytest

from kokugen.errors import TriggerError
from kokugen.recurrence import AllOf, AnyOf, Cron, Every, Instants, Trigger, Without
from tests.recurrence.samples import TRIGGERS

START = datetime(2026, 3, 28, tzinfo=UTC)
END = START + timedelta(days=3)
FEW = [one for one in TRIGGERS if 0 < one.count_between(START, END) < 400]
PAIRS = list(combinations(FEW, 2))
SECOND = Cron("* * * * * *")
YEAR = (datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC))


def times(trigger: Trigger) -> list[datetime]:
    return list(trigger.between(START, END))


def backwards(trigger: Trigger) -> list[datetime]:
    found, at = [], trigger.prev(END)
    while at is not None and at >= START:
        found.append(at)
        at = trigger.prev(at)
    return found[::-1]


@pytest.mark.parametrize(("one", "other"), PAIRS[::3], ids=lambda one: repr(one)[:50])
def test_what_is_combined_is_what_sets_would_be(one: Trigger, other: Trigger) -> None:
    mine, its = set(times(one)), set(times(other))
    for combined, expected in ((one | other, mine | its), (one - other, mine - its)):
        assert times(combined) == sorted(expected)
        assert backwards(combined) == sorted(expected)
        assert combined.count_between(START, END) == len(expected)


@pytest.mark.parametrize("one", FEW, ids=lambda one: repr(one)[:50])
def test_what_two_have_in_common_is_what_sets_have(one: Trigger) -> None:
    other = AnyOf((Every(timedelta(minutes=20)), Cron("17 * * * *")))
    expected = sorted(set(times(one)) & set(times(other)))
    if all(when.microsecond == 0 for when in times(one)):
        assert times(one & other) == expected
        assert (one & other).count_between(START, END) == len(expected)


def test_dense_triggers_without_a_common_time_are_searched_to_the_end() -> None:
    never = Cron("*/2 * * * * *") & Cron("1-59/2 * * * * *")
    assert never.next(START) is None
    assert never.prev(datetime(1975, 1, 1, tzinfo=UTC)) is None
    assert never.count_between(*YEAR) == 0
    assert (SECOND - SECOND).next(datetime(8990, 1, 1, tzinfo=UTC)) is None


def test_a_rare_common_time_of_dense_triggers_is_found() -> None:
    rare = SECOND & Cron("0 0 29 2 *") & Cron("*/7 * * * *")
    assert rare.next(START) == datetime(2028, 2, 29, tzinfo=UTC)
    assert rare.prev(START) == datetime(2024, 2, 29, tzinfo=UTC)
    primes = Every(timedelta(seconds=9973)) & Every(timedelta(seconds=10_007))
    found = primes.next(START)
    assert found is not None
    assert round(found.timestamp()) % (9973 * 10_007) == 0


def test_each_second_but_one_is_counted_without_walking() -> None:
    seconds = SECOND.count_between(*YEAR)
    assert (SECOND - Cron("30 * * * * *")).count_between(*YEAR) == seconds * 59 // 60
    assert (SECOND & Cron("30 * * * * *", tz="Europe/Berlin")).count_between(*YEAR) == seconds // 60
    assert (SECOND | Every(timedelta(seconds=1))).count_between(*YEAR) == seconds


def test_what_is_excluded_for_hours_is_passed_over() -> None:
    trigger = SECOND - Cron("* * 0-22 * * *")
    assert trigger.next(datetime(2026, 1, 1, tzinfo=UTC)) == datetime(2026, 1, 1, 23, tzinfo=UTC)
    assert trigger.prev(datetime(2026, 1, 1, 22, tzinfo=UTC)) == datetime(2025, 12, 31, 23, 59, 59, tzinfo=UTC)


def test_parts_of_a_second_are_walked_and_given_up_with_an_error_at_last() -> None:
    apart = Every(timedelta(milliseconds=2)) & Every(timedelta(milliseconds=2), start=START + timedelta(milliseconds=1))
    with pytest.raises(TriggerError, match="it is too rare"):
        apart.next(START)
    meeting = Every(timedelta(milliseconds=1500)) & Every(timedelta(milliseconds=2500))
    assert meeting.next(START) == START + timedelta(seconds=7.5)
    assert meeting.count_between(START, START + timedelta(minutes=1)) == 8


def test_a_start_far_in_the_future_is_found_from_the_distant_past() -> None:
    start = datetime(2200, 1, 1, tzinfo=UTC)
    late = Every(timedelta(days=1), start=start)
    assert (late & Cron("0 0 * * *")).next(datetime(1970, 1, 1, tzinfo=UTC)) == start
    assert (late - Instants((start,))).next(datetime(1970, 1, 1, tzinfo=UTC)) == start + timedelta(days=1)


@pytest.mark.parametrize("kind", [AnyOf, AllOf])
def test_nothing_cannot_be_combined(kind: type[AnyOf | AllOf]) -> None:
    with pytest.raises(TriggerError, match="one trigger or more"):
        kind(())
    with pytest.raises(TriggerError, match="5 is not a trigger"):
        kind((5,))  # type: ignore[arg-type]
    with pytest.raises(TriggerError, match="give a tuple"):
        kind([SECOND])  # type: ignore[arg-type]
    with pytest.raises(TriggerError, match="is not a calendar"):
        SECOND & 5  # type: ignore[operator]
    with pytest.raises(TypeError):
        SECOND | 5  # type: ignore[operator]
    assert Without(SECOND, SECOND).count_between(*YEAR) == 0
