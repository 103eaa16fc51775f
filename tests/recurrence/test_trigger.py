"""What every trigger promises, whatever its kind."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta, timezone
from itertools import islice, pairwise
from zoneinfo import ZoneInfo

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import kokugen.recurrence as public
from kokugen.errors import KokugenError, TriggerError
from kokugen.recurrence import After, Cron, Every, RRule, Trigger, dump_spec, from_spec, load_spec, to_spec
from tests.recurrence.samples import TRIGGERS

each = pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
instants = st.datetimes(datetime(2025, 12, 1), datetime(2027, 3, 1), timezones=st.just(UTC))  # noqa: DTZ001
DAY = timedelta(days=1)
START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2027, 1, 1, tzinfo=UTC)


def every_time(trigger: Trigger) -> list[datetime]:
    return list(trigger.between(START, END))


@each
def test_times_are_in_order_in_utc_and_in_the_range(trigger: Trigger) -> None:
    times = every_time(trigger)
    assert times
    assert all(one < other for one, other in pairwise(times))
    assert all(START <= when < END and when.tzinfo is UTC for when in times)


@each
def test_next_walks_the_same_times_as_between(trigger: Trigger) -> None:
    expected = every_time(trigger)[:500]
    walked: list[datetime] = []
    at = trigger.next(START - timedelta(microseconds=1))
    while at is not None and len(walked) < len(expected):
        walked.append(at)
        at = trigger.next(at)
    assert walked == expected


@each
def test_prev_walks_the_same_times_backwards(trigger: Trigger) -> None:
    expected = every_time(trigger)[::-1][:500]
    walked: list[datetime] = []
    at = trigger.prev(END)
    while at is not None and len(walked) < len(expected):
        walked.append(at)
        at = trigger.prev(at)
    assert walked == expected


@each
def test_a_count_is_that_of_the_times(trigger: Trigger) -> None:
    assert trigger.count_between(START, END) == len(every_time(trigger))


@each
@given(data=st.data())
@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_at_any_instant_next_prev_and_count_agree(trigger: Trigger, data: st.DataObject) -> None:
    at, end = data.draw(instants), data.draw(instants)
    following, preceding = trigger.next(at), trigger.prev(at)
    assert following is None or (following > at and trigger.prev(following) in {preceding, at})
    assert preceding is None or (preceding < at and trigger.next(preceding) in {following, at})
    start, end = sorted((at, min(end, at + timedelta(days=40))))
    assert trigger.count_between(start, end) == len(list(trigger.between(start, end)))


@each
@given(data=st.data())
@settings(max_examples=10, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_range_falls_into_its_parts(trigger: Trigger, data: st.DataObject) -> None:
    start, middle, end = sorted(data.draw(instants) for _ in range(3))
    whole = trigger.count_between(start, end)
    assert whole == trigger.count_between(start, middle) + trigger.count_between(middle, end)


@each
def test_the_bounds_of_between_are_the_first_inside_and_the_last_outside(trigger: Trigger) -> None:
    first, second = islice(trigger.between(START, START + timedelta(days=4000)), 2)
    assert list(trigger.between(first, second)) == [first]
    assert list(trigger.between(first, second + timedelta(microseconds=1))) == [first, second]
    assert list(trigger.between(second, first)) == []
    assert trigger.count_between(second, first) == 0


@each
def test_a_spec_is_read_as_what_was_written(trigger: Trigger) -> None:
    again = load_spec(dump_spec(trigger))
    assert again == trigger
    assert hash(again) == hash(trigger)
    assert from_spec(to_spec(trigger)) == trigger
    assert dump_spec(again) == dump_spec(trigger)


@each
def test_a_repr_reads_as_the_call_that_makes_it(trigger: Trigger) -> None:
    names = {name: getattr(public, name) for name in public.__all__} | {"datetime": dt}
    assert eval(repr(trigger), names) == trigger


@each
def test_a_trigger_cannot_be_changed(trigger: Trigger) -> None:
    with pytest.raises(AttributeError):
        trigger.tz = "UTC"  # type: ignore[attr-defined]


@each
def test_a_naive_time_is_refused_with_a_hint(trigger: Trigger) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001
    asks: list[Callable[[datetime], object]] = [
        trigger.next,
        trigger.prev,
        lambda at: trigger.between(at, END),
        lambda at: trigger.count_between(START, at),
    ]
    for ask in asks:
        with pytest.raises(TriggerError, match="2026-01-01T00:00:00 has no time zone: give an aware datetime"):
            ask(naive)
        with pytest.raises(TriggerError, match="is not a datetime"):
            ask("2026-01-01")  # type: ignore[arg-type]


@each
def test_the_zone_of_what_is_asked_does_not_matter(trigger: Trigger) -> None:
    at = datetime(2026, 10, 25, 0, 30, tzinfo=UTC)
    for zone in (ZoneInfo("Europe/Berlin"), ZoneInfo("Asia/Kathmandu"), timezone(timedelta(hours=-3))):
        assert trigger.next(at.astimezone(zone)) == trigger.next(at)
        assert trigger.prev(at.astimezone(zone)) == trigger.prev(at)


@each
def test_outside_of_the_years_1970_to_8999_nothing_occurs(trigger: Trigger) -> None:
    ages, future = datetime(1, 1, 1, tzinfo=UTC), datetime(9999, 1, 1, tzinfo=UTC)
    first, last = trigger.next(ages), trigger.prev(future)
    assert first is None or first.year >= 1970
    assert last is None or last.year < 9000
    assert trigger.next(future) is None
    assert trigger.prev(ages) is None
    assert trigger.prev(datetime(1970, 1, 1, tzinfo=UTC)) is None
    assert trigger.next(datetime(8999, 12, 31, 23, 59, 59, 999_999, tzinfo=UTC)) is None


def test_what_is_missed_in_31_million_seconds_is_decided_without_walking() -> None:
    year = (datetime(2025, 11, 24, tzinfo=UTC), datetime(2026, 11, 19, tzinfo=UTC))
    second = Cron("* * * * * *", tz="Europe/Berlin")
    seconds = round((year[1] - year[0]).total_seconds())
    assert second.count_between(*year) == Every(timedelta(seconds=1)).count_between(*year) == seconds == 31_104_000
    assert second.prev(year[1]) == year[1] - timedelta(seconds=1)


# -- Fixed delay


def test_a_fixed_delay_counts_from_the_end_of_the_last_run() -> None:
    trigger = After(timedelta(minutes=5))
    assert trigger.after_completion
    assert trigger.next(START) == START + timedelta(minutes=5)
    assert trigger.prev(START) is None
    assert load_spec(dump_spec(trigger)) == trigger


def test_a_fixed_delay_has_no_times_before_its_runs_have_ended() -> None:
    trigger = After(timedelta(minutes=5))
    with pytest.raises(TriggerError, match="before its runs have ended"):
        trigger.between(START, END)
    with pytest.raises(TriggerError, match="before its runs have ended"):
        trigger.count_between(START, END)
    with pytest.raises(TriggerError, match="cannot be combined"):
        trigger | Cron("@daily")


def test_all_others_have_times_of_their_own() -> None:
    assert not any(trigger.after_completion for trigger in TRIGGERS)


# -- Fixed rate


def test_a_fixed_rate_without_a_start_is_at_whole_periods() -> None:
    at = datetime(2026, 5, 5, 10, 7, 1, tzinfo=UTC)
    assert Every(timedelta(minutes=15)).next(at) == datetime(2026, 5, 5, 10, 15, tzinfo=UTC)
    assert Every(timedelta(days=1)).prev(at) == datetime(2026, 5, 5, tzinfo=UTC)


def test_a_fixed_rate_begins_at_its_start() -> None:
    start = datetime(2026, 5, 5, 10, 7, tzinfo=ZoneInfo("Asia/Tokyo"))
    trigger = Every(timedelta(minutes=15), start=start)
    assert trigger.next(datetime(1999, 1, 1, tzinfo=UTC)) == start
    assert trigger.prev(start) is None
    assert trigger.next(start) == start + timedelta(minutes=15)


def test_a_fixed_rate_goes_through_a_change_of_clocks_by_real_time() -> None:
    midnight = datetime(2026, 10, 25, tzinfo=ZoneInfo("Europe/Berlin"))
    times = list(Every(timedelta(hours=1), start=midnight).between(midnight, midnight + timedelta(days=1)))
    assert len(times) == 25


@pytest.mark.parametrize("period", [timedelta(0), timedelta(microseconds=999), -timedelta(days=1), 5])
def test_a_period_too_short_is_refused(period: timedelta) -> None:
    for kind in (Every, After):
        with pytest.raises(TriggerError, match="at least a millisecond"):
            kind(period)


def test_a_start_outside_of_the_known_years_is_refused() -> None:
    with pytest.raises(TriggerError, match="1970 to 8999"):
        Every(timedelta(days=1), start=datetime(1969, 12, 31, tzinfo=UTC))


def test_every_error_is_of_kokugen_and_a_value_error() -> None:
    with pytest.raises(ValueError, match="there is no time zone") as caught:
        Cron("@daily", tz="Europe/Berlim")
    assert isinstance(caught.value, KokugenError)
    with pytest.raises(TriggerError, match="gap: 'sometimes' is not one of 'after', 'skip'"):
        Cron("@daily", gap="sometimes")  # type: ignore[arg-type]
    with pytest.raises(TriggerError, match="fold: 'third' is not one of"):
        RRule("FREQ=DAILY", datetime(2026, 1, 1), fold="third")  # type: ignore[arg-type]  # noqa: DTZ001


def test_threads_that_share_a_trigger_do_not_disturb_each_other() -> None:
    """It keeps where it was asked last, to be quick: each of these is asked somewhere else."""
    trigger = Cron("30 2 * * *", tz="Europe/Berlin")
    starts = [datetime(year, 1, 1, tzinfo=UTC) for year in range(2000, 2032)]
    expected = [
        list(islice(Cron("30 2 * * *", tz="Europe/Berlin").between(at, END + 20_000 * DAY), 60)) for at in starts
    ]

    def walk(at: datetime) -> list[datetime]:
        return list(islice(trigger.between(at, END + 20_000 * DAY), 60))

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(walk, starts * 4)) == expected * 4
