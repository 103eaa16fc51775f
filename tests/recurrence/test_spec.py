"""A trigger as plain data: strict when it is read, small, and never code."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kokugen.errors import LimitExceededError, TriggerError, UnknownCalendarError
from kokugen.recurrence import (
    AnyOf,
    BusinessDays,
    Calendar,
    Cron,
    Days,
    Every,
    Instants,
    Named,
    Trigger,
    dump_calendar,
    dump_spec,
    from_spec,
    load_calendar,
    load_spec,
    to_spec,
)
from kokugen.recurrence.spec import SPEC_BYTES_MAX
from tests.recurrence.samples import CALENDARS, TRIGGERS

MORNING = Cron("0 9 * * mon-fri", tz="Asia/Tokyo")


def test_a_spec_is_data_that_a_person_can_read() -> None:
    assert to_spec(MORNING) == {"type": "cron", "expression": "0 9 * * mon-fri", "tz": "Asia/Tokyo"}
    assert to_spec(Every(timedelta(minutes=5))) == {"type": "every", "period": "PT300S"}
    assert to_spec(MORNING - Named("holidays")) == {
        "type": "outside",
        "trigger": to_spec(MORNING),
        "calendar": {"type": "named", "name": "holidays"},
    }


def test_a_microsecond_is_not_lost() -> None:
    exact = Every(timedelta(days=400, microseconds=1), start=datetime(2026, 1, 1, 0, 0, 0, 999_999, tzinfo=UTC))
    assert load_spec(dump_spec(exact)) == exact


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ({}, "missing required field `type`"),
        ({"type": "corn"}, "Invalid value 'corn'"),
        ({"type": "cron"}, "missing required field `expression`"),
        ({"type": "cron", "expression": 5}, "Expected `str`, got `int` - at `\\$.expression`"),
        ({"type": "cron", "expression": "@daily", "zone": "UTC"}, "unknown field `zone`"),
        ({"type": "cron", "expression": "@daily", "gap": "no"}, "Invalid enum value 'no' - at `\\$.gap`"),
        ({"type": "cron", "expression": "@daily", "tz": "Mars"}, "there is no time zone 'Mars'"),
        ({"type": "cron", "expression": "61 * * * *"}, "column 1: '61' is not a minute"),
        ({"type": "every", "period": 5}, "Expected `duration`"),
        ({"type": "every", "period": "PT0S"}, "at least a millisecond"),
        ({"type": "every", "period": "PT1S", "start": "2026-01-01T00:00:00"}, "has no time zone"),
        ({"type": "any_of", "triggers": []}, "one trigger or more"),
        ({"type": "any_of", "triggers": [{"type": "every", "period": 1}]}, "at `\\$.triggers\\[0\\].period`"),
        ({"type": "any_of", "triggers": [{"type": "after", "delay": "PT1S"}]}, "cannot be combined"),
        ({"type": "during", "trigger": {"type": "cron", "expression": "@daily"}, "calendar": {"type": "cron"}}, "cron"),
        ({"type": "instants", "times": ["2026-01-01"]}, "at `\\$.times\\[0\\]`"),
        ({"type": "days", "dates": []}, "Invalid value 'days'"),
        ([], "Expected `object`"),
        (None, "Expected `object`"),
        ({"type": "cron", "expression": object()}, "not plain data"),
    ],
)
def test_what_is_not_a_spec_is_refused_with_its_place(spec: Any, message: str) -> None:
    with pytest.raises(TriggerError, match=message):
        from_spec(spec)


@pytest.mark.parametrize("text", ["", "{", "null", b"\xff\xfe", "[" * 1000, '{"type":"cron","expression":"@daily"}x'])
def test_what_is_not_json_is_refused(text: str | bytes) -> None:
    with pytest.raises(TriggerError, match="trigger spec"):
        load_spec(text)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda one: st.lists(one) | st.dictionaries(st.text(), one),
        max_leaves=8,
    )
)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_data_at_all_breaks_the_reader(value: Any) -> None:
    with pytest.raises((TriggerError, LimitExceededError)):
        load_spec(json.dumps(value))


def test_a_spec_has_a_kibibyte_at_most_both_ways() -> None:
    times = tuple(datetime(2026, 1, 1, tzinfo=UTC) + timedelta(days=number) for number in range(45))
    with pytest.raises(LimitExceededError, match="longer than the 1024"):
        dump_spec(Instants(times))
    assert len(dump_spec(Instants(times[:40]))) <= SPEC_BYTES_MAX
    with pytest.raises(LimitExceededError, match="more than the 1024"):
        load_spec(" " * 1025)
    assert load_spec(dump_spec(MORNING).ljust(1024)) == MORNING


def test_triggers_in_triggers_are_bounded_by_the_size_alone() -> None:
    nested = MORNING
    for _ in range(25):
        nested = AnyOf((nested,))  # type: ignore[assignment]
    assert load_spec(dump_spec(nested)) == nested


@pytest.mark.parametrize("calendar", CALENDARS, ids=repr)
def test_a_calendar_is_read_as_what_was_written(calendar: Any) -> None:
    assert load_calendar(dump_calendar(calendar)) == calendar


def test_a_calendar_may_be_larger_than_a_trigger() -> None:
    many = Days(tuple(date(2026, 1, 1) + timedelta(days=3 * number) for number in range(2000)))
    assert load_calendar(dump_calendar(many)) == many
    with pytest.raises(LimitExceededError, match="65536"):
        load_calendar(" " * 65_537)
    with pytest.raises(TriggerError, match="calendar spec"):
        load_calendar(dump_spec(MORNING))


# -- Names of calendars


def test_a_named_calendar_is_put_in_by_bind_wherever_it_is_named() -> None:
    holidays = Days((date(2026, 1, 2),), tz="Asia/Tokyo")
    named = MORNING & BusinessDays(tz="Asia/Tokyo", holidays=Named("jp"))
    spelt_out = MORNING & BusinessDays(tz="Asia/Tokyo", holidays=holidays)
    assert named.bind({"jp": holidays, "de": Days(())}) == spelt_out
    assert AnyOf((named, MORNING)).bind({"jp": holidays}) == AnyOf((spelt_out, MORNING))
    assert len(dump_spec(named)) < len(dump_spec(spelt_out))


def test_a_calendar_that_nobody_gave_is_an_error_that_names_it() -> None:
    named = MORNING - Named("jp")
    with pytest.raises(UnknownCalendarError, match="there is no calendar 'jp' here") as caught:
        named.next(datetime(2026, 1, 1, tzinfo=UTC))
    assert caught.value.name == "jp"
    with pytest.raises(LookupError, match="jp"):
        named.bind({"de": Days(())})


@pytest.mark.parametrize("trigger", TRIGGERS, ids=repr)
def test_what_names_no_calendar_is_itself_when_bound(trigger: Any) -> None:
    assert trigger.bind({}) is trigger


# What stores hold: these texts must be read for ever, as what they are.
STORED = (
    '{"type":"cron","expression":"H 9 * * mon-fri","key":"report","tz":"Asia/Tokyo","gap":"skip","fold":"both"}',
    '{"type":"every","period":"PT6000S","start":"2026-02-01T08:00:00Z"}',
    '{"type":"after","delay":"PT300S"}',
    '{"type":"calendar_interval","start":"2026-01-31","months":1,"at":"09:30:00","overflow":"skip","tz":"Asia/Tokyo"}',
    '{"type":"rrule","rule":"FREQ=DAILY;COUNT=9","start":"2026-01-01T02:30:00","exdates":["2026-01-02T02:30:00"]}',
    '{"type":"nth_day","nth":-1,"of":{"type":"business_days","tz":"Asia/Tokyo"},"at":"17:00:00","months":"1-6"}',
    '{"type":"instants","times":["2026-03-31T22:00:00Z","2026-05-01T01:02:03.000004Z"]}',
    '{"type":"any_of","triggers":[{"type":"cron","expression":"@daily"},{"type":"every","period":"PT32400S"}]}',
    '{"type":"all_of","triggers":[{"type":"cron","expression":"@daily"},{"type":"every","period":"PT32400S"}]}',
    '{"type":"without","trigger":{"type":"cron","expression":"@daily"},"excluded":{"type":"every","period":"PT9S"}}',
    '{"type":"during","trigger":{"type":"cron","expression":"@daily"},"calendar":{"type":"named","name":"office"}}',
    '{"type":"outside","trigger":{"type":"every","period":"PT9S"},"calendar":{"type":"weekly","weekdays":"fri"}}',
)
STORED_CALENDARS = (
    '{"type":"windows","windows":[["2026-03-01T00:00:00Z","2026-03-04T12:00:00Z"]]}',
    '{"type":"days","dates":["2026-01-01","2026-04-03"],"tz":"Europe/Berlin"}',
    '{"type":"weekly","weekdays":"fri","start":"22:00:00","end":"06:00:00","tz":"America/New_York"}',
    '{"type":"business_days","holidays":{"type":"named","name":"jp"},"weekdays":"sun-thu","tz":"Asia/Tokyo"}',
    '{"type":"joined","calendars":[{"type":"named","name":"a"},{"type":"named","name":"b"}],"need":"all"}',
    '{"type":"complement","calendar":{"type":"named","name":"a"}}',
)


@pytest.mark.parametrize("text", STORED)
def test_what_an_earlier_release_stored_is_read_and_written_alike(text: str) -> None:
    assert dump_spec(load_spec(text)) == text


@pytest.mark.parametrize("text", STORED_CALENDARS)
def test_a_calendar_that_an_earlier_release_stored_is_too(text: str) -> None:
    assert dump_calendar(load_calendar(text)) == text


def test_every_kind_is_among_them() -> None:
    triggers, calendars = Trigger.__subclasses__(), Calendar.__subclasses__()
    kinds = {kind for base in (*triggers, *calendars) for kind in (base, *base.__subclasses__())}
    own = {kind for kind in kinds if kind.__module__.startswith("kokugen.")}  # tests have kinds of their own
    tags = {kind.__struct_config__.tag for kind in own} - {"WallTrigger", "WallCalendar"}
    assert {json.loads(text)["type"] for text in (*STORED, *STORED_CALENDARS)} | {"named"} == tags
