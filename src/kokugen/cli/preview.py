"""`kokugen preview`: what schedules will run, and what a change of one would add and remove."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo

import click
from msgspec import Struct

from kokugen.cli import console, store, times
from kokugen.cli.every import change_options, changes_of, clock_options, clocks_of, other_trigger, unset_option

if TYPE_CHECKING:
    from kokugen.schedules.preview import Upcoming

DAY = timedelta(days=1)
ADDED, REMOVED = "+", "-"


class Shown(Struct, frozen=True):
    """How what is to come is printed: as JSON, or in a zone's time, as things are `now`."""

    as_json: bool
    zone: ZoneInfo | None
    now: datetime


@click.command("preview")
@click.option("--from", "from_", metavar="TIME", help="From then on, with an offset; else from now.")
@click.option("--to", metavar="TIME", help="Before then, with an offset; else for a day.")
@click.option(
    "--limit", type=click.IntRange(min=1, max=100_000), default=50, show_default=True, help="At most so many."
)
@click.option("--zone", metavar="ZONE", help="In whose time it is shown, such as Europe/Berlin; else UTC.")
@click.option("--diff", "name", metavar="NAME", help="Instead: what a change of this schedule would add and remove.")
@click.option("--when", metavar="WHEN", help="The change: another cron expression, or span of time.")
@clock_options
@change_options
@unset_option
@store.app_option
@store.json_option
@store.url_option
def preview_command(
    url: str | None,
    as_json: bool,
    from_: str | None,
    to: str | None,
    limit: int,
    zone: str | None,
    name: str | None,
    when: str | None,
    **given: Any,
) -> None:
    """Say what all schedules will run, as things are. Days on which clocks change are marked.

    With --diff and the options of a change (those of `kokugen edit`) it says what an edit now would add (+) and remove
    (-). Nothing is changed: it takes the decisions that a scheduler will take, and throws them away.
    """
    now = times.now()
    shown = Shown(as_json, None if zone is None else times.parse_zone(zone), now)
    start = now if from_ is None else times.parse_instant(from_, "--from")
    end = start + DAY if to is None else times.parse_instant(to, "--to")
    if end <= start:
        raise click.UsageError(f"--to must be later than {times.stamp(start)}, where the preview begins")
    changes, clocks = changes_of(given), clocks_of(given)
    check_change(name, when, clocks, changes)
    with store.opened(url) as scheduler:
        if name is None:
            say_upcoming(scheduler.preview(start, end, limit=limit + 1), shown, limit)
            return
        trigger = None
        if when is not None:
            trigger = other_trigger(scheduler.schedule_of(name).trigger, when, name, clocks)
        old, new = scheduler.preview_edit(name, trigger, start, end, limit=limit, **changes)
    say_difference(old, new, shown)


def check_change(name: str | None, when: str | None, clocks: dict[str, str], changes: dict[str, Any]) -> None:
    """Refuse a schedule without a change, and a change without a schedule. Raises UsageError."""
    if (name is not None) is not (when is not None or bool(changes)):
        raise click.UsageError("--diff NAME and a change of it, such as --when WHEN, belong together")
    if clocks and when is None:
        raise click.UsageError(f"--{min(clocks)} is of a cron expression: give --when too")


def say_upcoming(found: Sequence[Upcoming], shown: Shown, limit: int) -> None:
    """Print what is to come, up to a limit; say on stderr where there is more."""
    if len(found) > limit:
        click.echo(f"kokugen: there is more than {limit}: raise --limit, or narrow --from and --to", err=True)
    if shown.as_json:
        console.say_json_list(map(upcoming_view, found[:limit]))
        return
    for one in found[:limit]:
        console.say(line(one, shown))
    if not found:
        console.say("nothing")


def say_difference(before: Sequence[Upcoming], after: Sequence[Upcoming], shown: Shown) -> None:
    """Print what would be added, and removed, in order."""
    changed = sorted(difference(before, after), key=lambda change: (change[1].due, change[0]))
    if shown.as_json:
        console.say_json_list({"change": sign, **upcoming_view(one)} for sign, one in changed)
        return
    for sign, one in changed:
        console.say(f"{sign} {line(one, shown)}")
    if not changed:
        console.say("no difference")


def difference(before: Sequence[Upcoming], after: Sequence[Upcoming]) -> list[tuple[str, Upcoming]]:
    """Return what only one side has, with its sign."""
    old, new = ({(one.due, one.time) for one in side} for side in (before, after))
    removed = [(REMOVED, one) for one in before if (one.due, one.time) not in new]
    return removed + [(ADDED, one) for one in after if (one.due, one.time) not in old]


def line(one: Upcoming, shown: Shown) -> str:
    """Return a line about a task to come."""
    missed = f"  (missed at {stamp(one.time, shown.zone)})" if one.time < shown.now else ""
    return f"{stamp(one.due, shown.zone)}  {one.name}{missed}{mark(one)}"


def stamp(when: datetime, zone: ZoneInfo | None) -> str:
    """Return a time to the millisecond, in UTC or with the zone's offset."""
    return times.stamp(when) if zone is None else when.astimezone(zone).isoformat(" ", "milliseconds")


def mark(one: Upcoming) -> str:
    """Return the mark of a day on which clocks change."""
    return "  (clocks change on this day)" if one.clock_change else ""


def upcoming_view(one: Upcoming) -> dict[str, Any]:
    """Return what is to come as plain JSON values."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(one)
    return told
