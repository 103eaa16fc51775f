"""The drawn calendar: compared with drawings that were looked at, in `drawings`; at most 80 columns wide.

`python tests/cli/test_calendar.py` draws those anew.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from zoneinfo import ZoneInfo

import pytest
from click.testing import CliRunner

from kokugen.cli import drawing, main
from kokugen.cli.hours import changes, midnight, parts
from kokugen.cli.views import DayView, HoursView, MonthView, View
from kokugen.clock import to_us
from kokugen.recurrence.cron import Cron
from kokugen.recurrence.interval import Every
from kokugen.recurrence.trigger import Trigger
from kokugen.repository.schedule_rows import ScheduleRow
from kokugen.schedules.definitions import Definition
from kokugen.schedules.policy import Policy, Template
from kokugen.schedules.preview import Schedule, Tally, tally
from kokugen.zones import load_zone
from tests.cli.conftest import CommandLine

DRAWINGS = Path(__file__).parent / "drawings"
NOW = datetime(2030, 3, 13, 6, 30, tzinfo=UTC)
BERLIN, HAVANA, LORD_HOWE, APIA = map(
    load_zone, ("Europe/Berlin", "America/Havana", "Australia/Lord_Howe", "Pacific/Apia")
)
UTC_ZONE = load_zone("UTC")
BLOCKS, ASCII = drawing.BLOCKS, drawing.ASCII
SHOP: dict[str, Trigger] = {
    "night": Cron("30 2 * * *", tz="Europe/Berlin"),
    "poll": Cron("*/10 8-18 * * mon-fri", tz="Europe/Berlin"),
    "hourly": Every(timedelta(hours=1)),
    "a report with a name that is too long for a line": Cron("0 9 1 * *", tz="Asia/Tokyo"),
}
MANY: dict[str, Trigger] = {f"job-{number:04}": Cron(f"{number % 60} {number % 24} * * *") for number in range(1000)}
SPRING, AUTUMN = date(2030, 3, 31), date(2030, 10, 27)

VIEWS: dict[str, tuple[dict[str, Trigger], Callable[[], View]]] = {
    "hours-now": (SHOP, lambda: HoursView(date(2030, 3, 12), 3, BERLIN, NOW, BLOCKS)),
    "hours-spring": (SHOP, lambda: HoursView(date(2030, 3, 29), 4, BERLIN, NOW, BLOCKS)),
    "hours-autumn": (SHOP, lambda: HoursView(date(2030, 10, 26), 3, BERLIN, NOW, BLOCKS)),
    "hours-spring-in-utc": (SHOP, lambda: HoursView(date(2030, 3, 30), 3, UTC_ZONE, NOW, BLOCKS)),
    "hours-ascii": (SHOP, lambda: HoursView(SPRING, 2, BERLIN, NOW, ASCII)),
    "hours-midnight-gap": (SHOP, lambda: HoursView(date(2031, 3, 8), 3, HAVANA, NOW, BLOCKS)),
    "hours-half-an-hour": (SHOP, lambda: HoursView(date(2030, 4, 6), 3, LORD_HOWE, NOW, BLOCKS)),
    "hours-day-skipped": ({}, lambda: HoursView(date(2011, 12, 29), 3, APIA, NOW, BLOCKS)),
    "hours-none": ({}, lambda: HoursView(SPRING, 2, BERLIN, NOW, BLOCKS)),
    "hours-many": (MANY, lambda: HoursView(SPRING, 7, BERLIN, NOW, BLOCKS)),
    "month-now": (SHOP, lambda: MonthView(date(2030, 3, 13), BERLIN, NOW, BLOCKS)),
    "month-autumn": (SHOP, lambda: MonthView(AUTUMN, BERLIN, NOW, BLOCKS)),
    "month-many": (MANY, lambda: MonthView(SPRING, UTC_ZONE, NOW, BLOCKS)),
    "month-none": ({}, lambda: MonthView(SPRING, UTC_ZONE, NOW, BLOCKS)),
    "day-now": (SHOP, lambda: DayView(date(2030, 3, 13), BERLIN, NOW, BLOCKS)),
    "day-of-23-hours": (SHOP, lambda: DayView(SPRING, BERLIN, NOW, BLOCKS)),
    "day-of-25-hours": (SHOP, lambda: DayView(AUTUMN, BERLIN, NOW, BLOCKS)),
    "day-of-24.5-hours": (SHOP, lambda: DayView(date(2030, 4, 7), LORD_HOWE, NOW, BLOCKS)),
    "day-many": (MANY, lambda: DayView(SPRING, BERLIN, NOW, BLOCKS)),
    "day-none": ({}, lambda: DayView(SPRING, BERLIN, NOW, BLOCKS)),
}


def counted(triggers: dict[str, Trigger], view: View, now: datetime = NOW) -> Tally:
    now_us = to_us(now)
    about = {"spec": "", "policy": "", "template": "", "created_at": now_us, "modified_at": now_us}
    schedules = [
        Schedule(
            ScheduleRow(id=name, name=name, decided=now_us, **about),  # type: ignore[arg-type] # of the fields' own types
            Definition(trigger, Policy(), Template(work_id="work")),
        )
        for name, trigger in triggers.items()
    ]
    return tally(schedules, view.edges, now_us)


def drawn(triggers: dict[str, Trigger], view: View) -> str:
    lines = (drawing.trimmed(line) for line in view.lines(counted(triggers, view)))
    return "".join("".join(piece.text for piece in line) + "\n" for line in lines)


@pytest.mark.parametrize("name", VIEWS)
def test_it_is_drawn_as_it_was_looked_at(name: str) -> None:
    triggers, view = VIEWS[name]
    assert drawn(triggers, view()) == (DRAWINGS / f"{name}.txt").read_text("utf-8")


def test_there_is_no_drawing_that_nothing_is_compared_with() -> None:
    assert {path.stem for path in DRAWINGS.iterdir()} == set(VIEWS)


@pytest.mark.parametrize("seed", range(20))
def test_no_line_is_wider_than_a_terminal(seed: int) -> None:
    chance = Random(seed)
    zone = load_zone(chance.choice(("America/North_Dakota/New_Salem", "Africa/Casablanca", "Antarctica/Troll", "UTC")))
    begin = date(2030, 1, 1) + timedelta(days=chance.randrange(400))
    each: dict[str, Trigger] = {f"{'x' * 30}{number}": Every(timedelta(milliseconds=1)) for number in range(5)}
    views: list[View] = [
        HoursView(begin, 62, zone, NOW, BLOCKS),
        MonthView(begin, zone, NOW, BLOCKS),
        DayView(begin, zone, NOW, BLOCKS),
    ]
    for view in views:
        for line in drawn(each, view).splitlines():
            assert len(line) <= drawing.WIDTH, line


# -- The days of a zone


@pytest.mark.parametrize("zone", [BERLIN, HAVANA, LORD_HOWE, APIA, UTC_ZONE])
@pytest.mark.parametrize("step_s", [1800, 3600, 86_400])
def test_the_parts_of_years_leave_nothing_out_and_show_what_clocks_do(zone: ZoneInfo, step_s: int) -> None:
    found = parts(date(2011, 1, 1), 800, zone, step_s)
    assert found[0].start == midnight(date(2011, 1, 1), zone)
    assert found[-1].end == midnight(date(2013, 3, 11), zone)
    assert all(one.end == other.start for one, other in pairwise(found))
    for part in found:
        first, last = (when.astimezone(zone) for when in (part.start, part.end - timedelta(microseconds=1)))
        assert first.date() == last.date() == part.day
        assert first.hour * 3600 + first.minute * 60 + first.second == part.second
        assert (last.hour * 3600 + last.minute * 60 + last.second) // step_s == part.second // step_s
        assert first.utcoffset() == last.utcoffset()


def test_a_day_has_as_many_hours_as_its_clocks_show() -> None:
    assert [len(parts(day, 1, BERLIN)) for day in (SPRING, date(2030, 4, 1), AUTUMN)] == [23, 24, 25]


def test_clock_changes_say_what_clocks_showed() -> None:
    found = list(changes(midnight(date(2030, 1, 1), BERLIN), midnight(date(2031, 1, 1), BERLIN), BERLIN))
    assert [(one.at.isoformat(), f"{one.before:%H:%M}", f"{one.after:%H:%M}") for one in found] == [
        ("2030-03-31T01:00:00+00:00", "02:00", "03:00"),
        ("2030-10-27T01:00:00+00:00", "03:00", "02:00"),
    ]


# -- Shades


@pytest.mark.parametrize("largest", [*range(1, 40), 1000, 10**6, 10**12])
def test_more_is_never_a_lighter_shade_and_the_most_is_the_darkest(largest: int) -> None:
    scale = drawing.Scale(largest, BLOCKS)
    numbers = sorted({*range(1, min(largest, 500) + 1), *(max(1, largest >> bits) for bits in range(40))})
    levels = [BLOCKS.shades.index(scale.piece(number).text) for number in numbers]
    assert levels == sorted(levels)
    assert set(levels) == set(range(min(largest, len(BLOCKS.shades))))


@pytest.mark.parametrize(
    ("number", "text"),
    {
        0: "0",
        9_999: "9,999",
        10_000: "10k",
        999_499: "999k",
        999_500: "1M",
        3_254_000: "3.25M",
        10**15: "1e+03T",
    }.items(),
)
def test_numbers_are_short(number: int, text: str) -> None:
    assert drawing.short(number) == text


# -- The command


def test_the_command_draws_the_schedules_of_the_store(kokugen: CommandLine) -> None:
    kokugen.done("every", "30 2 * * *", "night", "--tz", "Europe/Berlin")
    kokugen.done("every", "1h", "hourly", "--start", "2030-01-01T00:00Z")
    shown = kokugen.done("calendar", "--from", "2030-03-31", "--days", "1", "--zone", "Europe/Berlin").splitlines()
    assert shown[1] == "2 schedules, 24 runs"
    assert shown[4].startswith("Sun 2030-03-31 ░░")
    assert shown[4].endswith("24  23 h")
    only = kokugen.done("calendar", "night", "--from", "2030-03-31", "--day", "--zone", "Europe/Berlin").splitlines()
    assert only[1] == "1 schedule, 1 run"
    assert "2030-03-01 to 2030-03-31" in kokugen.done("calendar", "--from", "2030-03-31", "--month")


def test_the_counts_are_there_as_json(kokugen: CommandLine) -> None:
    kokugen.done("every", "0 */12 * * *", "half")
    found = kokugen.json("calendar", "--from", "2030-03-31", "--days", "1")
    assert len(found) == 24
    assert [(one["start"][11:16], one["runs"]) for one in found if one["runs"]] == [
        ("00:00", {"half": 1}),
        ("12:00", {"half": 1}),
    ]


def test_colour_is_for_terminals_that_have_it(kokugen: CommandLine, monkeypatch: pytest.MonkeyPatch) -> None:
    kokugen.done("every", "@hourly", "report")
    words = ["calendar", "--from", "2030-03-31", "--zone", "Europe/Berlin"]

    def output(**env: str) -> str:
        result = CliRunner().invoke(main, words, color=True, env={"KOKUGEN_URL": kokugen.url, **env})
        assert result.exit_code == 0, result.output
        return result.stdout

    plain = kokugen.done(*words)
    coloured = output(NO_COLOR="", TERM="xterm")
    assert "\x1b[" in coloured
    assert "\x1b[" not in plain
    assert output(NO_COLOR="1") == output(TERM="dumb", NO_COLOR="") == plain


def test_a_name_that_steers_terminals_is_drawn_as_text(kokugen: CommandLine) -> None:
    view = DayView(SPRING, BERLIN, NOW, BLOCKS)
    assert "\x1b" not in drawn({"a\x1b[31mred": Every(timedelta(hours=1))}, view)


@pytest.mark.parametrize(
    ("words", "why"),
    {
        ("--days", "3", "--month"): "exclude each other",
        ("--day", "--month"): "exclude each other",
        ("--from", "tomorrow"): "is not a day",
        ("--from", "1969-12-31"): "out of range",
        ("--from", "8999-12-31"): "out of range",
        ("--from", "9999-12-31"): "out of range",
        ("--from", "2011-12-30", "--day", "--zone", "Pacific/Apia"): "skipped that day",
        ("--zone", "Mars/Olympus"): "no time zone",
        ("nothing",): "no schedule 'nothing'",
    }.items(),
    ids=lambda words: " ".join(words) if isinstance(words, tuple) else "",
)
def test_what_cannot_be_drawn_is_refused_in_one_line(kokugen: CommandLine, words: tuple[str, ...], why: str) -> None:
    kokugen.done("every", "@hourly", "report")
    assert why in kokugen.refused("calendar", *words)


if __name__ == "__main__":
    for old in DRAWINGS.iterdir():
        old.unlink()
    for drawing_name, (of, make) in VIEWS.items():
        (DRAWINGS / f"{drawing_name}.txt").write_text(drawn(of, make()), "utf-8")
