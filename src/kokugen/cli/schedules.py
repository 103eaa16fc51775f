"""`kokugen schedules`, `pause`, `resume`, `trigger` and `backfill`: what people do with schedules."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import completion, console, store, times
from kokugen.cli.every import by_and_why, by_option, say_schedule, view

if TYPE_CHECKING:
    from kokugen.schedules.info import ScheduleInfo

HEAD = ("NAME", "NEXT", "WORK", "WHEN", "RUNS", "NOTE")


@click.command("schedules")
@click.option("--owner", metavar="NAME", help="Only those that this owner declares.")
@click.option("--paused", is_flag=True, help="Only those that are paused.")
@store.app_option
@store.json_option
@store.url_option
def schedules_command(url: str | None, as_json: bool, owner: str | None, paused: bool) -> None:
    """List schedules, with when each comes next."""
    with store.opened(url) as scheduler:
        found = scheduler.schedules(owner=owner, paused=paused or None)
    if as_json:
        console.say_json_list(map(view, found))
    elif found:
        base = times.now()
        console.say_table([row(info, base) for info in found], HEAD)
    else:
        console.say("no schedule")


def row(info: ScheduleInfo, base: Any) -> tuple[str, ...]:
    """Return a schedule's cells."""
    following = "–" if info.next_time is None else times.relative(info.next_time, base)
    return (
        info.name,
        "paused" if info.paused else following,
        info.work_id,
        repr(info.trigger),
        f"{info.runs:,}",
        note(info),
    )


def note(info: ScheduleInfo) -> str:
    """Return the one thing that is unusual about a schedule."""
    if info.paused:
        until = "" if info.paused_until is None else f" until {times.stamp(info.paused_until)}"
        by = "" if info.paused_by is None else f" by {info.paused_by}"
        return f"paused{by}{until}" + (f": {info.paused_note}" if info.paused_note else "")
    return "over" if info.over else "after its run" if info.next_time is None else ""


@click.command("pause")
@click.argument("name", shell_complete=completion.schedules)
@click.option("--until", metavar="TIME", help="When it goes on by itself, with an offset; else when it is resumed.")
@click.option("--for", "for_", metavar="SPAN", help="For how long: 90s, 1h30m, 2d.")
@click.option("--note", metavar="TEXT", help="Why; it is shown with the schedule.")
@by_option
@store.app_option
@store.json_option
@store.url_option
def pause_command(
    name: str, url: str | None, as_json: bool, until: str | None, for_: str | None, note: str | None, by: str
) -> None:
    """Pause the schedule NAME: make no task of it until it is resumed."""
    if until is not None and for_ is not None:
        raise click.UsageError("--until and --for exclude each other: give one of them")
    end = None if until is None else times.parse_instant(until, "--until")
    if for_ is not None:
        end = times.later(times.parse_span(for_, "--for"))
    with store.opened(url) as scheduler:
        info = scheduler.pause(name, until=end, note=note, by=by)
    say_schedule(info, as_json)


@click.command("resume")
@click.argument("name", shell_complete=completion.schedules)
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def resume_command(name: str, url: str | None, as_json: bool, by: str, why: str | None) -> None:
    """Resume the schedule NAME. What passed during its pause does not run."""
    with store.opened(url) as scheduler:
        info = scheduler.resume(name, by=by, why=why)
    say_schedule(info, as_json)


@click.command("trigger")
@click.argument("name", shell_complete=completion.schedules)
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def trigger_command(name: str, url: str | None, as_json: bool, by: str, why: str | None) -> None:
    """Make one task of the schedule NAME now, besides its own."""
    with store.opened(url) as scheduler:
        task_id = scheduler.trigger(name, by=by, why=why)
    if as_json:
        console.say_json({"id": task_id})
    else:
        console.say(task_id)


@click.command("backfill")
@click.argument("name", shell_complete=completion.schedules)
@click.option("--from", "from_", required=True, metavar="TIME", help="The first time, with an offset.")
@click.option("--to", required=True, metavar="TIME", help="The last time, with an offset.")
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def backfill_command(name: str, url: str | None, as_json: bool, from_: str, to: str, by: str, why: str | None) -> None:
    """Run those times of the schedule NAME that did not run, one after the other."""
    start, end = times.parse_instant(from_, "--from"), times.parse_instant(to, "--to")
    with store.opened(url) as scheduler:
        ids = scheduler.backfill(name, start, end, by=by, why=why)
    if as_json:
        console.say_json(ids)
    else:
        console.say(console.counted(len(ids), "task"))
