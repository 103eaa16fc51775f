"""`kokugen ledger` and `why`: what became of the times of schedules."""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import completion, console, drawing, store, times

if TYPE_CHECKING:
    from kokugen.cli.history import History
    from kokugen.schedules.occurrences import Occurrence

HEAD = ("TIME", "OUTCOME", "COUNT", "LATE", "NOTE")


@click.command("ledger")
@click.argument("name", shell_complete=completion.schedules)
@click.option("--since", metavar="SPAN", default="1d", show_default=True, help="How far back: 90m, 2d.")
@click.option("--from", "from_", metavar="TIME", help="From then on, with an offset, instead of --since.")
@click.option("--to", metavar="TIME", help="Until then, with an offset; else until now, and what is made already.")
@click.option("--draw", is_flag=True, help="Draw it: a day a line, and in each hour the worst that happened.")
@click.option("--zone", metavar="ZONE", help="With --draw: whose days and hours, such as Europe/Berlin; else UTC.")
@store.app_option
@store.json_option
@store.url_option
def ledger_command(
    name: str,
    url: str | None,
    as_json: bool,
    since: str,
    from_: str | None,
    to: str | None,
    draw: bool,
    zone: str | None,
) -> None:
    """Say of every time of the schedule NAME whether it ran, and if not, why."""
    if (draw and as_json) or (zone is not None and not draw):
        raise click.UsageError("--zone belongs to --draw, and --json does not")
    start = times.earlier(times.parse_span(since, "--since"))
    if from_ is not None:
        start = times.parse_instant(from_, "--from")
    end = None if to is None else times.parse_instant(to, "--to")
    history = history_of(start, end, zone or "UTC") if draw else None
    with store.opened(url) as scheduler:
        found = scheduler.occurrences(name, start, end)
        if history is not None:
            drawing.say(history.lines(name, found, scheduler.schedule_of(name).trigger))
            return
    if as_json:
        console.say_json_list(map(occurrence_view, found))
    elif found:
        console.say_table([row(one) for one in found], HEAD)
    else:
        console.say("no time")


def history_of(start: datetime, end: datetime | None, zone: str) -> History:
    """Return the drawing of a span. Raises UsageError where it has too many days, or none."""
    from kokugen.cli.history import DAYS_MAX, History, days_of

    where = times.parse_zone(zone)
    first, count = days_of(start, end or max(start, times.now()), where)
    if count > DAYS_MAX:
        raise click.UsageError(f"--draw shows at most {DAYS_MAX} days, and this is {count:,}: give --from and --to")
    return History(first, count, where, drawing.signs())


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
@click.argument("name", shell_complete=completion.schedules)
@store.app_option
@store.json_option
@store.url_option
def why_command(name: str, url: str | None, as_json: bool) -> None:
    """Say in plain words why the schedule NAME, or the task of that id, runs now or does not."""
    with store.opened(url) as scheduler:
        said = scheduler.why(name)
    if as_json:
        console.say_json({"name": name, "why": said.splitlines()})
    else:
        console.say(said)
