"""Times as people type and read them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from kokugen.cli.times import brief, chosen_time, parse_span, parse_time, relative, stamp
from kokugen.errors import ScheduledTimeError

NOON = datetime(2026, 12, 24, 12, tzinfo=UTC)


@pytest.mark.parametrize(
    ("text", "span"),
    [
        ("90s", timedelta(seconds=90)),
        ("1h30m", timedelta(minutes=90)),
        ("7d", timedelta(days=7)),
        ("2w", timedelta(days=14)),
        ("250ms", timedelta(milliseconds=250)),
        ("1.5h", timedelta(minutes=90)),
        ("0s", timedelta()),
    ],
)
def test_a_span_is_the_sum_of_its_parts(text: str, span: timedelta) -> None:
    assert parse_span(text, "--in") == span


@pytest.mark.parametrize("text", ["", "5", "m", "-5m", "5 m", "5y", "1h 30m", "½h", "5m!", "9" * 400 + "w"])
def test_what_is_not_a_span_is_refused(text: str) -> None:
    with pytest.raises(ScheduledTimeError, match="--in"):
        parse_span(text, "--in")


def test_a_local_time_is_read_in_its_zone() -> None:
    assert parse_time("2026-12-24T13:00", "Europe/Berlin") == NOON


def test_a_time_with_an_offset_needs_no_zone() -> None:
    assert parse_time("2026-12-24T13:00+01:00", None) == NOON


def test_a_time_far_from_now_is_refused_rather_than_overflowing() -> None:
    with pytest.raises(ScheduledTimeError):
        chosen_time(None, "900000w", None)


@pytest.mark.parametrize(
    ("span", "text"),
    [
        (timedelta(microseconds=1500), "1.5 ms"),
        (timedelta(seconds=1.24), "1.2 s"),
        (timedelta(seconds=90), "90 s"),
        (timedelta(minutes=5), "5 min"),
        (timedelta(hours=5), "5 h"),
        (timedelta(days=1234), "1,234 d"),
    ],
)
def test_a_span_is_told_in_its_largest_useful_unit(span: timedelta, text: str) -> None:
    assert brief(span) == text


def test_relative_times_look_both_ways() -> None:
    assert relative(NOON + timedelta(minutes=5), NOON) == "in 5 min"
    assert relative(NOON - timedelta(hours=3), NOON) == "3 h ago"


def test_a_stamp_is_in_utc_to_the_millisecond() -> None:
    assert stamp(NOON + timedelta(microseconds=7999)) == "2026-12-24 12:00:00.007Z"
    assert stamp(None) == "-"
