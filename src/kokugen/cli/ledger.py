"""`kokugen ledger`, `why` and `preview`: what became of the times of schedules, and what is to come."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import console, store, times
from kokugen.cli.every import trigger_of

if TYPE_CHECKING:
    from kokugen.recurrence.occurrences import Occurrence
    from kokugen.recurrence.preview import Upcoming

HEAD = ("TIME", "OUTCOME", "COUNT", "LATE", "NOTE")
DAY = timedelta(days=1)


@click.command("ledger")
@click.argument("name")
@click.option("--since", metavar="SPAN", default="1d", show_default=True, help="How far back: 90m, 2d.")
@click.option("--from", "from_", metavar="TIME", help="From then on, with an offset, instead of --since.")
@click.option("--to", metavar="TIME", help="Until then, with an offset; else until now, and what is made already.")
@store.json_option
@store.url_option
def ledger_command(name: str, url: str | None, as_json: bool, since: str, from_: str | None, to: str | None) -> None:
    """Say of every time of the schedule NAME whether it ran, and if not, why."""
    start = times.earlier(times.parse_span(since, "--since"))
    if from_ is not None:
        start = times.parse_time(from_, None, "--from")
    end = None if to is None else times.parse_time(to, None, "--to")
    with store.opened(url) as scheduler:
        found = scheduler.occurrences(name, start, end)
    if as_json:
        console.say_json_list(map(occurrence_view, found))
    elif found:
        console.say_table([row(one) for one in found], HEAD)
    else:
        console.say("no time")


def occurrence_view(one: Occurrence) -> dict[str, Any]:
    """Return an occurrence as plain JSON values."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(one)
    late = one.late_by
    return told | {"late_s": None if late is None else late.total_seconds()}


def row(one: Occurrence) -> tuple[str, ...]:
    """Return an occurrence's cells."""
    span = times.stamp(one.time) if one.time == one.until else f"{times.stamp(one.time)} … {times.stamp(one.until)}"
    late = "" if one.late_by is None else times.brief(max(timedelta(0), one.late_by))
    count = "many" if one.count is None else f"{one.count:,}"
    return (span, one.outcome, count, late, note(one))


def note(one: Occurrence) -> str:
    """Return what else is to be said."""
    said = ["by hand"] if one.by_hand else []
    if one.into is not None:
        said.append(f"{times.stamp(one.into)} stands for them")
    if one.reason and one.reason != one.outcome:
        said.append(one.reason)
    if one.error:
        said.append(one.error.strip().splitlines()[-1])
    return ", ".join(said)


@click.command("why")
@click.argument("name")
@store.json_option
@store.url_option
def why_command(name: str, url: str | None, as_json: bool) -> None:
    """Say in plain words why the schedule NAME runs now, or does not."""
    with store.opened(url) as scheduler:
        said = scheduler.why(name)
    if as_json:
        console.say_json({"name": name, "why": said.splitlines()})
    else:
        console.say(said)


@click.command("preview")
@click.option("--from", "from_", metavar="TIME", help="From then on, with an offset; else from now.")
@click.option("--to", metavar="TIME", help="Before then, with an offset; else for a day.")
@click.option(
    "--limit", type=click.IntRange(min=1, max=100_000), default=50, show_default=True, help="At most so many."
)
@click.option("--diff", "name", metavar="NAME", help="Instead: what a change of this schedule would add and remove.")
@click.option("--when", metavar="WHEN", help="With --diff: the other cron expression, or span of time.")
@click.option("--tz", metavar="ZONE", help="With --when: the zone of a cron expression.")
@store.json_option
@store.url_option
def preview_command(
    url: str | None,
    as_json: bool,
    from_: str | None,
    to: str | None,
    limit: int,
    name: str | None,
    when: str | None,
    tz: str | None,
) -> None:
    """Say what all schedules will run, as things are. Days on which clocks change are marked.

    It takes the decisions that a scheduler will take, and throws them away.
    """
    start = times.now() if from_ is None else times.parse_time(from_, None, "--from")
    end = start + DAY if to is None else times.parse_time(to, None, "--to")
    if (name is None) is not (when is None):
        raise click.UsageError("--diff NAME and --when WHEN belong together")
    if name is None or when is None:
        with store.opened(url) as scheduler:
            say_upcoming(scheduler.preview(start, end, limit=limit), as_json)
        return
    with store.opened(url) as scheduler:
        before, after = scheduler.preview_edit(name, trigger_of(when, tz), start, end, limit=limit)
    say_difference(before, after, as_json)


def say_upcoming(found: list[Upcoming], as_json: bool) -> None:
    """Print what is to come."""
    if as_json:
        console.say_json_list(map(upcoming_view, found))
        return
    for one in found:
        console.say(f"{times.stamp(one.due)}  {one.name}{mark(one)}")
    if not found:
        console.say("nothing")


def say_difference(before: list[Upcoming], after: list[Upcoming], as_json: bool) -> None:
    """Print what would be added, and removed, in order."""
    old, new = {one.due for one in before}, {one.due for one in after}
    changes: list[tuple[datetime, str, Upcoming]] = [(one.due, "-", one) for one in before if one.due not in new]
    changes += [(one.due, "+", one) for one in after if one.due not in old]
    changes.sort(key=lambda change: change[:2])
    if as_json:
        console.say_json_list({"change": sign, **upcoming_view(one)} for _, sign, one in changes)
        return
    for _, sign, one in changes:
        console.say(f"{sign} {times.stamp(one.due)}  {one.name}{mark(one)}")
    if not changes:
        console.say("no difference")


def mark(one: Upcoming) -> str:
    """Return the mark of a day on which clocks change."""
    return "  (clocks change on this day)" if one.clock_change else ""


def upcoming_view(one: Upcoming) -> dict[str, Any]:
    """Return what is to come as plain JSON values."""
    import msgspec

    told: dict[str, Any] = msgspec.to_builtins(one)
    return told
