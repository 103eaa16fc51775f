"""`kokugen completion SHELL`, and what is offered when Tab is pressed behind an option or for an id.

click does the rest: the printed script asks `kokugen` itself, through the variable _KOKUGEN_COMPLETE, at each Tab. What
stands in the store is looked up then; a store that is missing or busy offers nothing, and says nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import islice
from typing import TYPE_CHECKING

import click
from click.shell_completion import CompletionItem, get_completion_class

from kokugen.errors import KokugenError
from kokugen.task import TaskInfo, TaskState

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

SHELLS = ("bash", "zsh", "fish")
VARIABLE = "_KOKUGEN_COMPLETE"
LOOKED_AT = 1000
"""How many tasks, the earliest due first, are looked at for what to offer."""
OFFERED = 100

Complete = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


@click.command("completion")
@click.argument("shell", type=click.Choice(SHELLS))
def completion_command(shell: str) -> None:
    """Print the script that completes commands, options and ids.

    For bash, add this line to ~/.bashrc: eval "$(kokugen completion bash)"
    """
    from kokugen.cli.commands import main

    kind = get_completion_class(shell)
    assert kind is not None, "click knows all three"
    click.echo(kind(main, {}, "kokugen", VARIABLE).source())


def offered(names: Callable[[TaskInfo], tuple[str, ...]]) -> Complete:
    """Return what offers a name, or several, of each task of the store."""
    return completing(lambda context: (name for info in tasks(context) for name in names(info)))


def completing(names: Callable[[click.Context], Iterable[str]]) -> Complete:
    """Return what offers those of some names that begin with what was typed."""

    def complete(context: click.Context, _: click.Parameter, incomplete: str) -> list[CompletionItem]:
        try:
            with context.scope(cleanup=False):
                seen = {name for name in names(context) if name.startswith(incomplete)}
        except (KokugenError, click.ClickException, OSError):
            return []
        return [CompletionItem(name) for name in islice(sorted(seen), OFFERED)]

    return complete


def tasks(context: click.Context) -> Iterator[TaskInfo]:
    """Yield the first tasks of the store that the command line names so far."""
    from kokugen.cli import store

    with store.opened(context.params.get("url")) as scheduler:
        yield from scheduler.tasks(limit=LOOKED_AT)


def schedule_names(context: click.Context) -> Iterator[str]:
    """Yield the names of the schedules of the store, those too that cannot be read here."""
    from kokugen.cli import store
    from kokugen.repository.protocol import ScheduleRepository
    from kokugen.repository.schedule_rows import ScheduleQuery

    with store.opened(context.params.get("url")) as scheduler:
        if isinstance(repository := scheduler.repository, ScheduleRepository):
            yield from (row.name for row in repository.schedules(ScheduleQuery(limit=LOOKED_AT)).result())


schedules = completing(schedule_names)
ids = offered(lambda info: (info.id,))
works = offered(lambda info: (info.work_id,))
queues = offered(lambda info: (info.queue,))
tags = offered(lambda info: info.tags)


def states(_: click.Context, __: click.Parameter, incomplete: str) -> list[CompletionItem]:
    """Offer the states."""
    return [CompletionItem(one.label) for one in TaskState if one.label.lower().startswith(incomplete.lower())]
