"""`kokugen calendar`: a drawing of what schedules will run when. `views` draws what `Scheduler.tally` counts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click

from kokugen.cli import completion, console, drawing, store, times

if TYPE_CHECKING:
    from kokugen import Scheduler
    from kokugen.cli.hours import Part
    from kokugen.cli.views import View
    from kokugen.schedules.preview import Tally

DAYS, DAYS_MAX = 7, 62


@click.command("calendar")
@click.argument("names", nargs=-1, metavar="[NAME]...", shell_complete=completion.schedules)
@click.option("--from", "from_", metavar="DATE", help="The first day, such as 2026-12-24; else today.")
@click.option("--days", type=click.IntRange(1, DAYS_MAX), metavar="N", help=f"How many days; else {DAYS}.")
@click.option("--month", is_flag=True, help="Instead: the month of that day, a week a line.")
@click.option("--day", is_flag=True, help="Instead: that day, a schedule a line.")
@click.option("--zone", metavar="ZONE", default="UTC", show_default=True, help="Whose days and hours.")
@store.app_option
@store.json_option
@store.url_option
def calendar_command(
    names: tuple[str, ...],
    url: str | None,
    as_json: bool,
    from_: str | None,
    days: int | None,
    month: bool,
    day: bool,
    zone: str,
) -> None:
    """Draw what all schedules, or those with these NAMEs, will run when.

    A day is a line of hours, as clocks in the zone show them. Days on which these change, or those that a schedule goes
    by, are marked. What is over is left blank: `kokugen ledger` tells of it.
    """
    if sum((days is not None, month, day)) > 1:
        raise click.UsageError("--days, --month and --day exclude each other: give one of them")
    where, now = times.parse_zone(zone), times.now()
    first = now.astimezone(where).date() if from_ is None else times.parse_date(from_, "--from")
    view = chosen_view(first, days, month, day, where, now)
    with store.opened(url) as scheduler:
        found = counted(scheduler, view, names)
    if as_json:
        console.say_json_list(part_views(view.parts, found))
    else:
        drawing.say(view.lines(found))


def chosen_view(first: date, days: int | None, month: bool, day: bool, zone: ZoneInfo, now: datetime) -> View:
    """Return the drawing that the options ask for. Raises UsageError for days that no clock shows."""
    from kokugen.cli.views import DayView, HoursView, MonthView

    signs = drawing.signs()
    view: View
    try:
        if month:
            view = MonthView(first, zone, now, signs)
        elif day:
            view = DayView(first, zone, now, signs)
        else:
            view = HoursView(first, days or DAYS, zone, now, signs)
    except OverflowError:
        raise click.UsageError(f"--from {first} is too close to the end of time") from None
    if not view.parts:
        raise click.UsageError(f"there is no {first} in {zone.key}: its clocks skipped that day")
    return view


def counted(scheduler: Scheduler, view: View, names: Sequence[str]) -> Tally:
    """Return how often schedules run. Raises NoScheduleError for a name that none has."""
    found = scheduler.tally(view.edges, names=names or None)
    for name in names:
        if name not in found.counts:
            scheduler.schedule_of(name)
    return found


def part_views(parts: Sequence[Part], found: Tally) -> Iterator[dict[str, Any]]:
    """Yield each part of the time with how often each schedule runs in it, as plain JSON values."""
    for number, part in enumerate(parts):
        runs = {name: counts[number] for name, counts in found.counts.items() if counts[number]}
        yield {"start": part.start.isoformat(), "end": part.end.isoformat(), "runs": runs}
