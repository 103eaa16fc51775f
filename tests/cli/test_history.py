"""The drawn ledger of a schedule, compared with a drawing that was looked at."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest

from kokugen.cli import drawing
from kokugen.cli.history import MARKS, History, days_of, mark_of
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import Every
from kokugen.recurrence.trigger import Trigger
from kokugen.schedules.occurrences import Occurrence
from kokugen.zones import load_zone

from .conftest import CommandLine

BERLIN = load_zone("Europe/Berlin")
HOURLY = Cron("0 * * * *", tz="Europe/Berlin")


def at(day: int, hour: int, minute: int = 0) -> datetime:
    return datetime(2030, 3, day, hour, minute, tzinfo=UTC)


def one(when: datetime, outcome: str = "ran", late_s: float | None = None, **about: object) -> Occurrence:
    started = None if late_s is None else when + timedelta(seconds=late_s)
    fields = {"time": when, "until": when, "outcome": outcome, "started_at": started} | about
    return Occurrence(**fields)  # type: ignore[arg-type] # of the fields' own types


def drawn(found: list[Occurrence], trigger: Trigger = HOURLY, signs: drawing.Signs = drawing.BLOCKS) -> list[str]:
    lines = History(date(2030, 3, 30), 2, BERLIN, signs).lines("report", found, trigger)
    return ["".join(piece.text for piece in drawing.trimmed(line)) for line in lines]


STORY = [
    one(at(30, 0), late_s=0.003),
    one(at(30, 1), late_s=0.004),
    one(at(30, 2), "failed", late_s=0.002),
    one(at(30, 3), "missed", until=at(30, 5), count=3),
    one(at(30, 6), "ran", late_s=75),
    one(at(30, 7), "paused", until=at(30, 9), count=3),
    one(at(30, 22), "ran", late_s=0.001),
    one(at(31, 1), "skipped"),
    one(at(31, 2), "ran", late_s=0.001),
    one(at(31, 3), "waiting"),
]


def test_it_is_drawn_as_it_was_looked_at() -> None:
    assert max(map(len, drawn(STORY))) <= drawing.WIDTH
    assert drawn(STORY) == [
        "Sat 2030-03-30 to 2030-03-31, Europe/Berlin",
        "report: 14 times",
        "",
        "               00    03    06    09    12    15    18    21       times  latest",
        "Sat 2030-03-30 · ● ● ✗ ○ ○ ○ ◐ = = = · · · · · · · · · · · · ●       11    75 s",
        "Sun 2030-03-31 · · ××○ ● ▸ · · · · · · · · · · · · · · · · · ·        3    1 ms",
        "",
        "· none  ● ran  = paused  ▸ runs or waits  ◐ ran late  ○ did not run  ✗ failed",
        "",
        "* Sun 2030-03-31, clocks of Europe/Berlin: 02:00 to 03:00",
    ]


def test_what_is_told_together_is_drawn_at_its_own_times() -> None:
    run = one(at(30, 0), "missed", until=at(31, 0), count=2)
    daily = drawn([run], Cron("0 0 * * *"))
    assert [line[15:].count("○") for line in daily[4:6]] == [1, 1]
    other = drawn([run], Every(timedelta(minutes=7)))
    assert [line[15:].count("○") for line in other[4:6]] == [23, 2]


def test_the_worst_of_an_hour_is_drawn() -> None:
    found = [one(at(30, 5, minute), outcome) for minute, outcome in enumerate(("ran", "failed", "ran"))]
    assert drawn(found)[4].count("✗") == 1
    assert "●" not in drawn(found)[4]


def test_it_is_drawn_in_ascii_where_there_is_no_more() -> None:
    assert all(line.isascii() for line in drawn(STORY, signs=drawing.ASCII))
    assert len({mark.plain for mark in MARKS}) == len(MARKS)


def test_no_time_is_drawn_as_none() -> None:
    assert drawn([])[1] == "report: 0 times"
    assert drawn([])[4].endswith("0")


def test_every_outcome_has_a_mark() -> None:
    told = {mark_of(one(at(30, 1), outcome)).told for outcome in ("coalesced", "too old", "replaced", "missed")}
    assert told == {"did not run"}


def test_a_span_has_the_days_that_it_touches() -> None:
    assert days_of(at(30, 0), at(31, 0), load_zone("UTC")) == (date(2030, 3, 30), 1)
    assert days_of(at(30, 23), at(31, 1), BERLIN) == (date(2030, 3, 31), 1)
    assert days_of(at(30, 0), at(30, 0), BERLIN) == (date(2030, 3, 30), 1)


def test_the_command_draws_what_was_triggered(kokugen: CommandLine) -> None:
    kokugen.done("every", "@yearly", "report")
    kokugen.done("trigger", "report")
    shown = kokugen.done("ledger", "report", "--draw", "--zone", "Asia/Tokyo")
    assert "report: 1 time\n" in shown
    assert shown.count("▸") == 2  # in its hour, and in the legend


@pytest.mark.parametrize(
    ("words", "why"),
    {
        ("--draw", "--json"): "--json does not",
        ("--zone", "UTC"): "belongs to --draw",
        ("--draw", "--since", "100d"): "at most 62 days",
        ("--draw", "--zone", "Mars/Olympus"): "no time zone",
    }.items(),
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_drawn_is_refused_in_one_line(kokugen: CommandLine, words: tuple[str, ...], why: str) -> None:
    kokugen.done("every", "@hourly", "report")
    assert why in kokugen.refused("ledger", "report", *words)
