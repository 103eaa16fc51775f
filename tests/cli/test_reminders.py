"""The demo's file of reminders."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from kokugen.acceptance import check_time
from kokugen.cli.demo.reminders import COLUMNS, Reminder, read_reminders, shifted, shipped_file
from kokugen.errors import InvalidEntryError

START = datetime(2026, 12, 24, 12, tzinfo=UTC)
TEN_S = timedelta(seconds=10)


@pytest.fixture(scope="module")
def reminders() -> list[Reminder]:
    return read_reminders(shipped_file())


def test_the_shipped_file_has_hundreds_of_reminders_in_many_zones(reminders: list[Reminder]) -> None:
    assert len(reminders) >= 300
    assert len({str(one.when.tzinfo) for one in reminders}) >= 50
    assert {"Australia/Lord_Howe", "Asia/Kathmandu", "Pacific/Chatham"} <= {str(one.when.tzinfo) for one in reminders}


def test_some_shipped_times_exist_twice(reminders: list[Reminder]) -> None:
    twice = [one for one in reminders if one.when.utcoffset() != one.when.replace(fold=1).utcoffset()]
    assert len(twice) >= 5


def test_shifting_keeps_order_spread_and_zone(reminders: list[Reminder]) -> None:
    moved = shifted(reminders, START, TEN_S)
    before = sorted(reminders, key=lambda one: check_time(one.when)[0])
    assert [one.text for one in moved] == [one.text for one in before]
    assert [one.when.tzinfo for one in moved] == [one.when.tzinfo for one in before]
    assert (moved[0].when, moved[-1].when) == (START, START + TEN_S)
    middle = len(moved) // 2
    share = (check_time(before[middle].when)[0] - check_time(before[0].when)[0]) / (
        check_time(before[-1].when)[0] - check_time(before[0].when)[0]
    )
    assert abs((moved[middle].when - START) / TEN_S - share) < 1e-6


def test_one_reminder_can_be_shifted(reminders: list[Reminder]) -> None:
    assert shifted(reminders[:1], START, TEN_S)[0].when == START


@pytest.mark.parametrize(
    "line",
    [
        "Ann,Tea!,2026-03-29T02:30,Europe/Berlin",
        "Ann,Tea!,2026-10-25T02:30,Mars/Olympus",
        "Ann,Tea!,tomorrow,Europe/Berlin",
        "Ann,Tea!",
    ],
)
def test_a_line_that_cannot_be_read_is_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "reminders.csv"
    path.write_text(",".join(COLUMNS) + "\nBob,Run!,2026-01-01T00:00,UTC\n" + line + "\n", encoding="utf-8")
    with pytest.raises(InvalidEntryError, match="line 3"):
        read_reminders(path)


def test_another_csv_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "other.csv"
    path.write_text("name,price\n", encoding="utf-8")
    with pytest.raises(InvalidEntryError, match="who,text"):
        read_reminders(path)
