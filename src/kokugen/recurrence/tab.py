"""The seed's tab file: a JSON list of cron rows.

`[{"minute": [0, 30], "hour": [], "command": ["report", "daily"]}]`; see `CronRow` for what the fields mean.
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from kokugen.errors import InvalidEntryError
from kokugen.recurrence.row import CronRow


def load_tab(tab: str | Path) -> list[CronRow]:
    """Return the rows of a tab: of the file at a Path, or of JSON text.

    Raises InvalidEntryError, with the number of the row from 1, and OSError where the file cannot be read.
    """
    try:
        text = tab.read_text(encoding="utf-8") if isinstance(tab, Path) else tab
        rows = msgspec.json.decode(text, type=list[msgspec.Raw])
    except (msgspec.DecodeError, RecursionError, UnicodeError) as error:
        raise InvalidEntryError(f"cron tab: it is not a JSON list of rows: {error}") from error
    return [_row(number, raw) for number, raw in enumerate(rows, 1)]


def _row(number: int, raw: msgspec.Raw) -> CronRow:
    try:
        row = msgspec.json.decode(raw, type=CronRow)
    except (msgspec.DecodeError, RecursionError) as error:
        raise InvalidEntryError(f"cron tab: row {number}: {error}") from error
    if not row.command or not row.command[0]:
        raise InvalidEntryError(f'cron tab: row {number} has no command: give "command": ["work id", …]')
    return row
