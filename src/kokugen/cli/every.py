"""`kokugen every`: a schedule, of work that need not be known here. Puts it into the store through the agenda."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from kokugen.cli import completion, console, options, store, times
from kokugen.cli.schedule import chosen_params
from kokugen.cli.times import SPAN
from kokugen.schedule_options import CatchupName, OverlapName, ScheduleOptions
from kokugen.task import TaskParam, replace

if TYPE_CHECKING:
    from kokugen.recurrence.info import ScheduleInfo
    from kokugen.recurrence.trigger import Trigger

F = TypeVar("F", bound=Callable[..., Any])

SAID = ("start", "end", "max_runs", "failures_max", "jitter", "catchup", "window", "overlap")
"""The options that are the schedule's, by the names of `ScheduleOptions`."""
OPERATOR = "kokugen"
"""Who the audit names for a change made here, unless told."""
NUMBER = re.compile(r"[-+]?\d\S*")
"""What is meant as a span of time, and no cron expression, which has spaces or begins with an @."""
CHANGES = (
    click.option("--start", metavar="TIME", help="From when on, with an offset; else from now."),
    click.option("--end", metavar="TIME", help="Until when, with an offset."),
    click.option("--max-runs", type=click.IntRange(min=1), metavar="N", help="For how many tasks."),
    click.option("--failures-max", type=click.IntRange(min=1), metavar="N", help="Pause after N failed runs in a row."),
    click.option("--jitter", metavar="SPAN", help="By how much a task may start later: 30s, 5m."),
    click.option(
        "--catchup", type=click.Choice(get_args(CatchupName)), help="What runs of the times that were missed."
    ),
    click.option("--window", metavar="SPAN", help="How old a missed time may be to run still."),
    click.option(
        "--overlap", type=click.Choice(get_args(OverlapName)), help="What is done while an earlier run is not over."
    ),
)


def change_options(command: F) -> F:
    """Add what may be said of a schedule besides its trigger; `schedule_options` reads it."""
    for option in reversed(CHANGES):
        command = option(command)
    return command


@click.command("every")
@click.argument("when")
@click.argument("work_id", shell_complete=completion.works)
@click.option("--name", metavar="NAME", help="What the schedule is known by; else the work's id.")
@click.option("--tz", metavar="ZONE", help="The zone of a cron expression, such as Europe/Berlin; else UTC.")
@click.option("--after-end", is_flag=True, help="WHEN is a span that begins with the end of each run.")
@change_options
@click.option("--arg", "args", multiple=True, metavar="TEXT", help="A positional argument, as text. Repeat it.")
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=TEXT", help="A keyword argument, as text. Repeat it.")
@click.option("--json-param", metavar="JSON", help="All arguments: an object of keywords, or an array of positions.")
@options.task_options
@click.option("--by", metavar="NAME", default=OPERATOR, help="Who does it; it stays in the audit.")
@store.json_option
@store.url_option
def every_command(
    when: str,
    work_id: str,
    url: str | None,
    as_json: bool,
    name: str | None,
    tz: str | None,
    after_end: bool,
    args: tuple[str, ...],
    kwargs: tuple[str, ...],
    json_param: str | None,
    by: str,
    **given: Any,
) -> None:
    """Schedule a task of the work WORK_ID at every time of WHEN.

    WHEN is a cron expression, such as "0 9 * * mon-fri", or a span of time, such as 5m. A schedule of this name is
    edited where there is one. The store is made if it is not there.
    """
    said = ScheduleOptions(name=name, **schedule_options(given))
    params = chosen_params(args, kwargs, json_param)
    param = TaskParam(work_id=work_id, scheduled_time=times.now(), param=params)
    param = replace(param, **options.chosen_options(given, None))
    trigger = trigger_of(when, tz, after_end=after_end)
    with store.opened(url, make=True) as scheduler:
        info = scheduler.put_schedule(trigger, param, said, by=by)
    say_schedule(info, as_json)


def schedule_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take what was said of the schedule out of the options."""
    told = {name: given.pop(name) for name in SAID}
    readers = {"start": _instant, "end": _instant, "jitter": _span, "window": _span}
    return {
        name: readers[name](value, f"--{name}") if name in readers else value
        for name, value in told.items()
        if value is not None
    }


def _instant(text: str, option: str) -> datetime:
    return times.parse_time(text, None, option)


def _span(text: str, option: str) -> timedelta:
    return times.parse_span(text, option)


def trigger_of(when: str, tz: str | None, *, after_end: bool = False) -> Trigger | timedelta:
    """Return the trigger that was typed: a span of time, else a cron expression. Raises UsageError."""
    from kokugen.recurrence.cron import Cron
    from kokugen.recurrence.interval import PERIOD_MIN, After

    if SPAN.fullmatch(when) or NUMBER.fullmatch(when):
        if tz is not None:
            raise click.UsageError("--tz is the zone of a cron expression: a span of time has none")
        span = times.parse_span(when, "WHEN")
        if span < PERIOD_MIN:
            raise click.UsageError(f"WHEN {when!r} is too short: a schedule comes each millisecond at most")
        return After(span) if after_end else span
    if after_end:
        raise click.UsageError("--after-end needs a span of time as WHEN, such as 5m")
    return Cron(when) if tz is None else Cron(when, tz=tz)


def say_schedule(info: ScheduleInfo, as_json: bool) -> None:
    """Print a schedule as it is now."""
    if as_json:
        console.say_json(view(info))
        return
    following = "after its run" if info.next_time is None else times.stamp(info.next_time)
    state = "paused" if info.paused else "over" if info.over else following
    console.say(f"{info.name}  {info.work_id}  {state}")


def view(info: ScheduleInfo) -> dict[str, Any]:
    """Return a schedule as plain JSON values."""
    import msgspec

    from kokugen.recurrence.spec import to_spec

    told: dict[str, Any] = msgspec.to_builtins(replace(info, trigger=None, param=""))
    return told | {"trigger": to_spec(info.trigger), "param": msgspec.json.decode(info.param), "paused": info.paused}
