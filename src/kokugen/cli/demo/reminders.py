"""The reminders of the demo, read from a CSV file: who, text, local time, zone. Called by the stage.

There is one copy, `examples/reminders.csv`: the wheel carries it beside this file, an editable install reads it there.
"""

from __future__ import annotations

import csv
from collections.abc import Iterable, Iterator, Sequence
from datetime import datetime, timedelta
from importlib.resources import files
from pathlib import Path

from msgspec import Struct

from kokugen.acceptance import check_time
from kokugen.cli.times import parse_zone
from kokugen.clock import from_us
from kokugen.errors import InvalidEntryError, KokugenError

NAME = "reminders.csv"
COLUMNS = ["who", "text", "local time", "zone"]


class Reminder(Struct, frozen=True):
    """One line of the file; `when` is in its zone."""

    who: str
    text: str
    when: datetime


def shipped_file() -> Path:
    """Return the path of the file that came with kokugen. Raises InvalidEntryError where it did not."""
    in_wheel = Path(str(files("kokugen.cli.demo"))) / NAME
    in_repository = Path(__file__).resolve().parents[4] / "examples" / NAME
    for path in (in_wheel, in_repository):
        if path.is_file():
            return path
    raise InvalidEntryError(f"{NAME} is missing: it comes with kokugen, so install kokugen again")


def read_reminders(path: Path) -> list[Reminder]:
    """Return the reminders of a file. Raises InvalidEntryError naming the line that cannot be read."""
    with path.open(encoding="utf-8", newline="") as file:
        lines = csv.DictReader(file)
        if lines.fieldnames != COLUMNS:
            raise InvalidEntryError(f"{path} must begin with the line {','.join(COLUMNS)!r}")
        return list(_parsed(path, lines))


def _parsed(path: Path, lines: Iterable[dict[str, str]]) -> Iterator[Reminder]:
    for number, line in enumerate(lines, start=2):
        try:
            when = datetime.fromisoformat(line["local time"]).replace(tzinfo=parse_zone(line["zone"]))
            check_time(when)
        except (KokugenError, ValueError, TypeError) as error:
            raise InvalidEntryError(f"{path}, line {number}: {error}") from error
        yield Reminder(line["who"], line["text"], when)


def shifted(reminders: Sequence[Reminder], start: datetime, span: timedelta) -> list[Reminder]:
    """Return the reminders in order of time, moved into `span` from `start`; what lay close together still does.

    Each keeps its zone.
    """
    instants = [check_time(reminder.when)[0] for reminder in reminders]
    first, whole = min(instants), max(max(instants) - min(instants), 1)
    moved = [
        Reminder(one.who, one.text, (start + span * ((us - first) / whole)).astimezone(one.when.tzinfo))
        for us, one in zip(instants, reminders, strict=True)
    ]
    return sorted(moved, key=lambda reminder: from_us(check_time(reminder.when)[0]))
