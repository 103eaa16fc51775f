"""`kokugen schedule`: one task, of work that need not be known here. Calls Scheduler.schedule."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import completion, console, options, store, times
from kokugen.cli.application import find_scheduler
from kokugen.codec import decode_value, encode_params
from kokugen.errors import CodecError, NonexistentWorkIdError, WorkArgumentsError
from kokugen.retry import Retry
from kokugen.task import Params, TaskParam, replace

if TYPE_CHECKING:
    from kokugen import AsyncScheduler, Scheduler
    from kokugen.handle import AsyncTaskHandle, TaskHandle


@click.command("schedule")
@click.argument("work_id", shell_complete=completion.works)
@times.time_options()
@click.option("--arg", "args", multiple=True, metavar="TEXT", help="A positional argument, as text. Repeat it.")
@click.option("--kwarg", "kwargs", multiple=True, metavar="NAME=TEXT", help="A keyword argument, as text. Repeat it.")
@click.option("--json-param", metavar="JSON", help="All arguments: an object of keywords, or an array of positions.")
@options.key_options
@options.task_options
@click.option("--app", metavar="MODULE:SCHEDULER", help="Take what its code declares, and its store.")
@store.json_option
@store.url_option
def schedule_command(
    work_id: str,
    url: str | None,
    as_json: bool,
    at: str | None,
    in_: str | None,
    tz: str | None,
    args: tuple[str, ...],
    kwargs: tuple[str, ...],
    json_param: str | None,
    app: str | None,
    **given: Any,
) -> None:
    """Schedule a task of the work WORK_ID.

    A node that knows the work will run it. The store is made if it is not there. With --app, what is not said here is
    as the work declares it, its arguments are checked, and the task goes to the application's own store.
    """
    param = TaskParam(
        work_id=work_id,
        scheduled_time=times.required_time(at, in_, tz),
        param=chosen_params(args, kwargs, json_param),
    )
    if app is None:
        with store.opened(url, make=True) as scheduler:
            handle: TaskHandle | AsyncTaskHandle = scheduler.schedule(told(param, given, None))
    else:
        store.refuse_named()
        handle = scheduled_by(find_scheduler(app), param, given)
    say_scheduled(handle, existed=handle.existed and given["id"] is not None, as_json=as_json)


def say_scheduled(handle: TaskHandle | AsyncTaskHandle, *, existed: bool, as_json: bool) -> None:
    """Print the task that the store has now; of one that was there before also its state."""
    console.remember(f"{handle.id} is there already" if existed else f"scheduled {handle.id}")
    due = handle.scheduled_time
    if as_json:
        shown = {"id": handle.id, "work_id": handle.work_id, "scheduled_time": due.isoformat()}
        console.say_json({**shown, "state": handle.state.label, "existed": existed})
        return
    there = f"  {handle.state.label}, there already: nothing was changed" if existed else ""
    console.say(f"{handle.id}  {handle.work_id}  {times.stamp(due)}  {times.relative(due, times.now())}{there}")


def told(param: TaskParam, given: dict[str, Any], declared: Retry | None) -> TaskParam:
    """Return what to schedule, with what was typed of its options."""
    asked: TaskParam = replace(param, **options.chosen_options(given, declared))
    return asked


def scheduled_by(
    application: Scheduler | AsyncScheduler, param: TaskParam, given: dict[str, Any]
) -> TaskHandle | AsyncTaskHandle:
    """Schedule as the application itself does. Raises NonexistentWorkIdError for work that it does not declare."""
    from kokugen import AsyncScheduler

    work = application.works.load(param.work_id)
    if work is None:
        raise NonexistentWorkIdError(param.work_id, "the application declares no such work")
    declared = getattr(getattr(work, "declared", None), "retry", None)
    asked = told(param, given, declared)
    if isinstance(application, AsyncScheduler):
        return asyncio.run(schedule_async(application, asked))
    try:
        return application.schedule(asked)
    finally:
        application.close()


async def schedule_async(application: AsyncScheduler, param: TaskParam) -> AsyncTaskHandle:
    """Schedule as `scheduled_by`."""
    try:
        return await application.schedule(param)
    finally:
        await application.close()


def chosen_params(args: tuple[str, ...], kwargs: tuple[str, ...], text: str | None) -> Params:
    """Return the arguments that the options say. Raises UsageError, CodecError, WorkArgumentsError."""
    if text is None:
        return Params(args, keywords(kwargs))
    if args or kwargs:
        raise click.UsageError("--json-param says all arguments: leave --arg and --kwarg out")
    try:
        value = decode_value(text)
        if isinstance(value, dict | list):
            params = Params.of(value)
            encode_params(params)
            return params
    except CodecError as error:
        raise type(error)(f"--json-param: {error}") from None
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
