"""The dialect of cron: every row of its tables means what it says."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from itertools import islice

import pytest

from kokugen.recurrence import Cron
from tests.docs.markdown import ROOT

START, END = datetime(2026, 1, 1, tzinfo=UTC), datetime(2029, 1, 1, tzinfo=UTC)
KEY = "backup"  # its share of an hour is 9 minutes, of a day 8 hours
ROWS = {  # the form: an expression that has it, and the first times in 2026, worked out by hand
    "*": ("30 6 * * *", "01-01 06:30, 01-02 06:30"),
    "5": ("5 6 * * *", "01-01 06:05, 01-02 06:05"),
    "1,15": ("0 0 1,15 * *", "01-01 00:00, 01-15 00:00, 02-01 00:00"),
    "9-17": ("0 9-17 1 * *", "01-01 09:00, 01-01 10:00, 01-01 11:00"),
    "22-2": ("0 22-2 1 1 *", "01-01 00:00, 01-01 01:00, 01-01 02:00, 01-01 22:00, 01-01 23:00"),
    "fri-mon": ("0 0 * * fri-mon", "01-02 00:00, 01-03 00:00, 01-04 00:00, 01-05 00:00, 01-09 00:00"),
    "nov-feb": ("0 0 1 nov-feb *", "01-01 00:00, 02-01 00:00, 11-01 00:00, 12-01 00:00"),
    "*/15": ("*/15 * * * *", "01-01 00:00, 01-01 00:15, 01-01 00:30, 01-01 00:45, 01-01 01:00"),
    "9-17/2": ("0 9-17/2 * * *", "01-01 09:00, 01-01 11:00, 01-01 13:00, 01-01 15:00, 01-01 17:00, 01-02 09:00"),
    "5/15": ("5/15 * * * *", "01-01 00:05, 01-01 00:20, 01-01 00:35, 01-01 00:50, 01-01 01:05"),
    "mon": ("0 0 * * mon", "01-05 00:00, 01-12 00:00"),
    "JAN": ("0 0 31 JAN,Mar *", "01-31 00:00, 03-31 00:00, 01-31 00:00"),
    "?": ("0 0 ? 2 ?", "02-01 00:00, 02-02 00:00"),
    "L": ("0 0 L * *", "01-31 00:00, 02-28 00:00, 03-31 00:00"),
    "L-3": ("0 0 L-3 * *", "01-28 00:00, 02-25 00:00, 03-28 00:00"),
    "15W": ("0 0 15W * *", "01-15 00:00, 02-16 00:00, 03-16 00:00"),
    "LW": ("0 0 LW * *", "01-30 00:00, 02-27 00:00, 03-31 00:00"),
    "fri#2": ("0 0 * * fri#2", "01-09 00:00, 02-13 00:00"),
    "5#2": ("0 0 * * 5#2", "01-09 00:00, 02-13 00:00"),
    "friL": ("0 0 * * friL", "01-30 00:00, 02-27 00:00"),
    "5L": ("0 0 * * 5L", "01-30 00:00, 02-27 00:00"),
    "H": ("H H * * *", "01-01 08:09, 01-02 08:09"),
    "H(0-29)": ("H(0-29) * * * *", "01-01 00:09, 01-01 01:09"),
    "H/15": ("H/15 * * * *", "01-01 00:09, 01-01 00:24, 01-01 00:39"),
    "H(9-17)/2": ("0 H(9-17)/2 * * *", "01-01 09:00, 01-01 11:00, 01-01 13:00"),
    "@yearly": ("@yearly", "01-01 00:00, 01-01 00:00"),
    "@annually": ("@annually", "01-01 00:00, 01-01 00:00"),
    "@monthly": ("@monthly", "01-01 00:00, 02-01 00:00"),
    "@weekly": ("@weekly", "01-04 00:00, 01-11 00:00"),
    "@daily": ("@daily", "01-01 00:00, 01-02 00:00"),
    "@midnight": ("@midnight", "01-01 00:00, 01-02 00:00"),
    "@hourly": ("@hourly", "01-01 00:00, 01-01 01:00"),
    "@every 1h30m": ("@every 1h30m", "01-01 00:00, 01-01 01:30, 01-01 03:00"),
    "TZ=zone …": ("TZ=Asia/Tokyo 0 8 * * *", "01-01 23:00, 01-02 23:00"),
    "CRON_TZ=zone …": ("CRON_TZ=Asia/Tokyo @daily", "01-01 15:00, 01-02 15:00"),
}


def forms_of_the_page() -> list[str]:
    page = (ROOT / "docs" / "reference" / "triggers.md").read_text(encoding="utf-8")
    tables = page.partition("| In a field | Means |")[2].partition("There is no field for the year")[0]
    return [form for line in tables.splitlines() if line.startswith("| `") for form in _forms(line.split(" | ")[0])]


def _forms(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


def test_every_row_of_the_dialect_is_tried() -> None:
    assert forms_of_the_page() == list(ROWS)


@pytest.mark.parametrize("form", ROWS)
def test_a_form_means_what_the_table_says(form: str) -> None:
    expression, expected = ROWS[form]
    assert form.removesuffix("zone …") in expression
    times = expected.split(", ")
    trigger = Cron(expression, KEY if "H" in form else None)
    assert [f"{at:%m-%d %H:%M}" for at in islice(trigger.between(START, END), len(times))] == times
