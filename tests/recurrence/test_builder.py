from __future__ import annotations

from datetime import UTC, datetime

import pytest

from kokugen.errors import InvalidEntryError
from kokugen.recurrence.builder import CronRowBuilder
from kokugen.recurrence.row import CronRow

BUILDER = CronRowBuilder().command("report", "daily")
NOW = datetime(2024, 4, 1, tzinfo=UTC)


def test_each_way_of_saying_it_makes_its_row() -> None:
    assert BUILDER.yearly([4], [2], [3], [15]).build() == CronRow(
        month=(4,), day=(2,), hour=(3,), minute=(15,), command=("report", "daily")
    )
    assert BUILDER.monthly([2], [3], [15]).build().next(NOW) == datetime(2024, 4, 2, 3, 15, tzinfo=UTC)
    assert BUILDER.weekly([0], [3], [15]).build().next(NOW) == datetime(2024, 4, 7, 3, 15, tzinfo=UTC)
    assert BUILDER.daily([3], [15]).build().next(NOW) == datetime(2024, 4, 1, 3, 15, tzinfo=UTC)
    assert BUILDER.hourly([23]).build().next(NOW) == datetime(2024, 4, 1, 0, 23, tzinfo=UTC)
    assert BUILDER.reboot().build() == CronRow(command=("report", "daily"))


def test_a_field_can_be_said_alone_and_without_values_allows_all() -> None:
    row = BUILDER.weekday(1).month(4).day(1).hour(5).minute().second(7).build()
    assert row.next(NOW) == datetime(2024, 4, 1, 5, 0, 7, tzinfo=UTC)
    assert row.minute == ()


def test_a_preset_starts_the_times_anew() -> None:
    assert BUILDER.day(31).second(5).daily([3], [0]).build() == CronRow(
        hour=(3,), minute=(0,), command=("report", "daily")
    )


def test_a_builder_is_not_changed_by_what_is_built_from_it() -> None:
    base = BUILDER.hourly([5])
    base.hour(3)
    assert base.build().hour is None


def test_a_value_out_of_range_is_refused() -> None:
    with pytest.raises(InvalidEntryError, match="hour 24"):
        BUILDER.hour(24)
