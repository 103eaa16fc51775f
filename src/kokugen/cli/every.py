"""`kokugen every`: a schedule, of work that need not be known here. Puts it into the store through the agenda."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from kokugen.cli import completion, console, destination, options, store, times
from kokugen.cli.schedule import chosen_params
from kokugen.cli.times import SPAN
from kokugen.recurrence.wall import Fold, Gap
from kokugen.schedule_options import CatchupName, OverlapName, ScheduleOptions
from kokugen.task import TaskParam, replace

if TYPE_CHECKING:
    from kokugen.recurrence.trigger import Trigger
    from kokugen.schedules.info import ScheduleInfo

F = TypeVar("F", bound=Callable[..., Any])

SAID = (
    "start",
    "end",
    "max_runs",
    "failures_max",
    "jitter",
    "catchup",
    "window",
    "misfire",
    "catchup_max",
    "rate",
    "overlap",
)
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
    click.option("--misfire", metavar="SPAN", help="How late a time may be and simply run; later, it was missed."),
    click.option("--catchup-max", type=int, metavar="N", help="With --catchup all: how many run, the latest."),
    click.option("--rate", type=float, metavar="X", help="With --catchup all: how many a second."),
    click.option(
        "--overlap", type=click.Choice(get_args(OverlapName)), help="What is done while an earlier run is not over."
    ),
)


CLOCKS = (
    click.option("--tz", metavar="ZONE", help="The zone of a cron expression, such as Europe/Berlin; else UTC."),
    click.option("--gap", type=click.Choice(get_args(Gap)), help="What of a local time that clocks skip; else after."),
    click.option("--fold", type=click.Choice(get_args(Fold)), help="Which of one that comes twice; else the first."),
)


def clock_options(command: F) -> F:
    """Add what may be said of a cron expression besides it; `trigger_of` takes it as `clocks_of` returns it."""
    for option in reversed(CLOCKS):
        command = option(command)
    return command


def clocks_of(given: dict[str, Any]) -> dict[str, str]:
    """Take what was said of a cron expression out of the options."""
    told = {name: given.pop(name) for name in ("tz", "gap", "fold")}
    return {name: value for name, value in told.items() if value is not None}


def change_options(command: F) -> F:
    """Add what may be said of a schedule besides its trigger; `schedule_options` reads it."""
    for option in reversed(CHANGES):
        command = option(command)
    return command


def unset_option(command: F) -> F:
    """Add --unset, for a schedule that is there; `changes_of` reads it."""
    names = [name.replace("_", "-") for name in SAID]
    said = "What is to be as by default again, such as end. Repeat it."
    return click.option("--unset", multiple=True, metavar="OPTION", type=click.Choice(names), help=said)(command)


def changes_of(given: dict[str, Any]) -> dict[str, Any]:
    """Take what is to change of a schedule that is there out of the options. Raises UsageError."""
    names, changes = [name.replace("-", "_") for name in given.pop("unset")], schedule_options(given)
    if both := sorted(changes.keys() & names):
        option = both[0].replace("_", "-")
        raise click.UsageError(f"--{option} and --unset {option}: say one of them")
    return changes | {name: getattr(ScheduleOptions(), name) for name in names}


def by_option(command: F) -> F:
    """Add --by."""
    return click.option("--by", metavar="NAME", default=OPERATOR, help="Who does it; it stays in the audit.")(command)


def by_and_why(command: F) -> F:
    """Add --by and --why."""
    return by_option(click.option("--why", metavar="TEXT", help="Why; it stays in the audit, too.")(command))


@click.command("every")
@click.argument("when")
@click.argument("work_id", shell_complete=completion.works)
@click.option("--name", metavar="NAME", help="What the schedule is known by; else the work's id.")
@clock_options
@click.option("--after-end", is_flag=True, help="WHEN is a span that begins with the end of each run.")
@change_options
@click.option("--arg", "args", multiple=True, metavar="TEXT", help="A positional argument, as text. Repeat it.")
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=TEXT", help="A keyword argument, as text. Repeat it.")
@click.option("--json-param", metavar="JSON", help="All arguments: an object of keywords, or an array of positions.")
@options.task_options
@by_and_why
@click.option("--app", metavar="MODULE:SCHEDULER", help="Take what its code declares, and its store.")
@store.json_option
@store.url_option
def every_command(
    when: str,
    work_id: str,
    url: str | None,
    as_json: bool,
    name: str | None,
    after_end: bool,
    args: tuple[str, ...],
    kwargs: tuple[str, ...],
    json_param: str | None,
    by: str,
    why: str | None,
    app: str | None,
    **given: Any,
) -> None:
    """Schedule a task of the work WORK_ID at every time of WHEN.

    WHEN is a cron expression, such as "0 9 * * mon-fri", a span of time, such as 5m, or any trigger as JSON. A schedule
    of this name is edited where there is one. The store is made if it is not there. With --app, what is not said here
    is as the work declares it, and the arguments are checked.
    """
    from kokugen.schedules.drafts import NewSchedule

    trigger = trigger_of(when, name or work_id, clocks_of(given), after_end=after_end)
    said = ScheduleOptions(name=name, **schedule_options(given))
    params = chosen_params(args, kwargs, json_param)
    with destination.opened(url, app) as place:
        param = TaskParam(work_id=work_id, scheduled_time=times.now(), param=params)
        param = replace(param, **options.chosen_options(given, place.retry_of(work_id)))
        if refusal := place.refusal(param):
            raise click.UsageError(refusal)
        (put,) = place.put([NewSchedule(when=trigger, param=param, options=said)], by=by, why=why)
    say_schedule(put.info, as_json)


def schedule_options(given: dict[str, Any]) -> dict[str, Any]:
    """Take what was said of the schedule out of the options."""
    told = {name: given.pop(name) for name in SAID}
    readers = {"start": _instant, "end": _instant, "jitter": _span, "window": _span, "misfire": _span}
    return {
        name: readers[name](value, f"--{name}") if name in readers else value
        for name, value in told.items()
        if value is not None
    }


def _instant(text: str, option: str) -> datetime:
    return times.parse_instant(text, option)


def _span(text: str, option: str) -> timedelta:
    return times.parse_span(text, option)


def trigger_of(when: str, name: str, clocks: dict[str, str], *, after_end: bool = False) -> Trigger | timedelta:
    """Return the trigger that was typed for the schedule of a name. Raises UsageError, TriggerError."""
    from kokugen.recurrence.cron import cron_of
    from kokugen.recurrence.interval import PERIOD_MIN, After
    from kokugen.recurrence.spec import load_spec

    is_span, is_spec = is_span_of_time(when), when.lstrip().startswith("{")
    if clocks and (is_span or is_spec):
        what = "a span of time has none" if is_span else "a trigger in JSON says it itself"
        raise click.UsageError(f"--{min(clocks)} is of a cron expression: {what}")
    if is_span:
        span = times.parse_span(when, "WHEN")
        if span < PERIOD_MIN:
            raise click.UsageError(f"WHEN {when!r} is too short: a schedule comes each millisecond at most")
        return After(span) if after_end else span
    if after_end:
        raise click.UsageError("--after-end needs a span of time as WHEN, such as 5m")
    return load_spec(when) if is_spec else cron_of(when, name, **clocks)


def is_span_of_time(when: str) -> bool:
    """Return whether this is meant as a span of time."""
    return bool(SPAN.fullmatch(when) or NUMBER.fullmatch(when))


def other_trigger(before: Trigger, when: str, name: str, clocks: dict[str, str]) -> Trigger | timedelta:
    """Return the trigger that was typed in place of another: of a cron expression, what is not said stays as it is."""
    from kokugen.recurrence.cron import Cron

    if isinstance(before, Cron) and not is_span_of_time(when) and not when.lstrip().startswith("{"):
        kept = {"tz": before.zone_name, "gap": before.gap, "fold": before.fold}
        if "TZ=" in when:
            del kept["tz"]
        clocks = {**kept, **clocks}
    return trigger_of(when, name, clocks)


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
