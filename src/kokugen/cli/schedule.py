"""`kokugen schedule`: one task, of work that need not be known here. Calls Scheduler.schedule."""

from __future__ import annotations

from typing import Any

import click

from kokugen.cli import console, store, times
from kokugen.codec import decode_value
from kokugen.errors import WorkArgumentsError
from kokugen.task import Params, Priority, TaskParam

PRIORITIES = [level.name.lower() for level in Priority]


@click.command("schedule")
@click.argument("work_id")
@times.time_options()
@click.option("--arg", "args", multiple=True, metavar="TEXT", help="A positional argument, as text. Repeat it.")
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=TEXT", help="A keyword argument, as text. Repeat it.")
@click.option("--json-param", metavar="JSON", help="All arguments: an object of keywords, or an array of positions.")
@click.option("--queue", metavar="NAME", help="The queue, if not the default one.")
@click.option("--priority", type=click.Choice(PRIORITIES, case_sensitive=False), help="Which goes first when due.")
@click.option("--unique", metavar="KEY", help="Refuse it while another task with this key is not over.")
@click.option("--tag", "tags", multiple=True, metavar="NAME", help="A tag to find it by. Repeat it.")
@click.option("--id", "task_id", metavar="ID", help="Its id: the same id again changes nothing.")
@store.json_option
@store.url_option
def schedule_command(
    work_id: str,
    url: str | None,
    as_json: bool,
    at: str | None,
    in_: str | None,
    tz: str | None,
    **options: Any,
) -> None:
    """Schedule a task of the work WORK_ID.

    A node that knows the work will run it. The store is made if it is not there.
    """
    param = TaskParam(
        work_id=work_id,
        scheduled_time=times.required_time(at, in_, tz),
        param=chosen_params(options["args"], options["kwargs"], options["json_param"]),
        id=options["task_id"],
        queue=options["queue"],
        priority=None if options["priority"] is None else Priority[options["priority"].upper()],
        unique=options["unique"],
        tags=options["tags"] or None,
    )
    with store.opened(url, make=True) as scheduler:
        handle = scheduler.schedule(param)
    due = handle.scheduled_time
    if as_json:
        console.say_json({"id": handle.id, "work_id": work_id, "scheduled_time": due.isoformat()})
    else:
        console.say(f"{handle.id}  {work_id}  {times.stamp(due)}  {times.relative(due, times.now())}")


def chosen_params(args: tuple[str, ...], kwargs: tuple[str, ...], text: str | None) -> Params:
    """Return the arguments that the options say. Raises UsageError, CodecError, WorkArgumentsError."""
    if text is None:
        return Params(args, keywords(kwargs))
    if args or kwargs:
        raise click.UsageError("--json-param says all arguments: leave --arg and --kwarg out")
    value = decode_value(text)
    if isinstance(value, dict | list):
        return Params.of(value)
    raise WorkArgumentsError("--json-param must be a JSON object (keyword arguments) or array (positional ones)")


def keywords(pairs: tuple[str, ...]) -> dict[str, str]:
    """Return NAME=TEXT pairs as a dict, each name once. Raises UsageError."""
    named: dict[str, str] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name.isidentifier():
            raise click.UsageError(f"--kwarg {pair!r} is not NAME=TEXT with the name of a Python argument")
        if name in named:
            raise click.UsageError(f"--kwarg {name!r} is given twice")
        named[name] = value
    return named
