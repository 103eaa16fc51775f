"""Which tasks are meant: --state, --work, --queue, --tag, --chain, --held. Called by list, cancel, revive."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypedDict, TypeVar

import click

from kokugen.cli import completion, times
from kokugen.errors import OptionError
from kokugen.task import TaskState

F = TypeVar("F", bound=Callable[..., Any])


class Filters(TypedDict, total=False):
    """The keywords that `Scheduler.tasks` and `Scheduler.count` take."""

    state: frozenset[TaskState]
    work: str
    queue: str
    tag: str
    chain: str
    due_before: Any
    held: bool


def filter_options(command: F) -> F:
    """Add the filters but --state to a command; `chosen_filters` reads them."""
    for option in reversed(
        (
            click.option("--work", metavar="ID", shell_complete=completion.works, help="Only of this work."),
            click.option("--queue", metavar="NAME", shell_complete=completion.queues, help="Only of this queue."),
            click.option("--tag", metavar="NAME", shell_complete=completion.tags, help="Only with this tag."),
            click.option(
                "--chain", metavar="ID", shell_complete=completion.ids, help="Only of the chain that ID began."
            ),
            click.option("--due-before", metavar="TIME", help="Only due before this time (see --tz), or in this span."),
            click.option("--tz", metavar="ZONE", help="The zone of TIME, such as Europe/Berlin."),
            click.option("--held/--not-held", default=None, help="Only those on hold, or only the others."),
        )
    ):
        command = option(command)
    return command


def chosen_filters(
    work: str | None,
    queue: str | None,
    tag: str | None,
    chain: str | None,
    due_before: str | None,
    tz: str | None,
    held: bool | None,
) -> Filters:
    """Return the filters that were given, as `Scheduler.tasks` takes them. Raises OptionError, ScheduledTimeError."""
    if tz is not None and due_before is None:
        raise click.UsageError("--tz is the zone of --due-before: give --due-before too")
    chosen = Filters()
    for name, value in (("work", work), ("queue", queue), ("tag", tag), ("chain", chain)):
        if value == "":
            raise OptionError(f"--{name} is empty: give a name, or leave it out")
        if value is not None:
            chosen[name] = value  # type: ignore[literal-required]
    if due_before is not None:
        chosen["due_before"] = due_limit(due_before, tz)
    if held is not None:
        chosen["held"] = held
    return chosen


def due_limit(text: str, tz: str | None) -> Any:
    """Return the time meant by --due-before: a time, or a span from now."""
    if tz is None and times.SPAN.fullmatch(text):
        return times.later(times.parse_span(text, "--due-before"))
    return times.parse_time(text, tz, "--due-before")


def chosen_states(names: tuple[str, ...]) -> frozenset[TaskState]:
    """Return the states named by --state options, each perhaps several with commas. Raises OptionError."""
    return frozenset(TaskState.parse(part) for name in names for part in name.split(","))
