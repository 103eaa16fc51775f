from __future__ import annotations

from pathlib import Path

import pytest

from kokugen.errors import InvalidEntryError
from kokugen.recurrence.row import CronRow
from kokugen.recurrence.tab import load_tab

TAB = """[
  {"command": ["once"]},
  {"minute": [], "hour": [], "day": [], "month": [], "weekday": [], "command": ["every_minute"]},
  {"minute": [0, 30], "hour": null, "command": ["half_hourly", "param1", "param2"]}
]"""
ROWS = [
    CronRow(command=("once",)),
    CronRow(minute=(), hour=(), day=(), month=(), weekday=(), command=("every_minute",)),
    CronRow(minute=(0, 30), command=("half_hourly", "param1", "param2")),
]


def test_a_tab_of_the_seed_is_read_from_text_and_from_a_file(tmp_path: Path) -> None:
    file = tmp_path / "tab.json"
    file.write_text(TAB, encoding="utf-8")
    assert load_tab(TAB) == load_tab(file) == ROWS


@pytest.mark.parametrize(
    ("row", "why"),
    [
        ('{"minute": [60], "command": ["x"]}', "row 2: .*minute 60"),
        ('{"minute": "5", "command": ["x"]}', r"row 2: .*minute"),
        ('{"minutes": [5], "command": ["x"]}', "row 2: .*minutes"),
        ('{"minute": [5]}', "row 2 has no command"),
        ('{"command": [""]}', "row 2 has no command"),
        ('{"command": [5]}', "row 2: .*command"),
        ("7", "row 2: "),
    ],
)
def test_a_bad_row_is_refused_with_its_number(row: str, why: str) -> None:
    with pytest.raises(InvalidEntryError, match=why):
        load_tab(f'[{{"command": ["fine"]}}, {row}]')


@pytest.mark.parametrize("text", ["", "{}", "[", "[{]", "nonsense", "[" * 100_000])
def test_what_is_no_list_of_rows_is_refused(text: str) -> None:
    with pytest.raises(InvalidEntryError, match="cron tab"):
        load_tab(text)
