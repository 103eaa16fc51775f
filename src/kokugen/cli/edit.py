"""`kokugen edit`: a schedule changed in part, from now on. `kokugen preview --diff` shows beforehand what that does."""

from __future__ import annotations

from typing import Any

import click

from kokugen.cli import completion, store
from kokugen.cli.every import (
    by_and_why,
    change_options,
    changes_of,
    clock_options,
    clocks_of,
    other_trigger,
    say_schedule,
    unset_option,
)


@click.command("edit")
@click.argument("name", shell_complete=completion.schedules)
@click.option("--when", metavar="WHEN", help="Another cron expression, span of time, or trigger as JSON.")
@clock_options
@change_options
@unset_option
@click.option("--edition", type=int, metavar="N", help="Only if it is at this edition: nobody has changed it since.")
@by_and_why
@store.app_option
@store.json_option
@store.url_option
def edit_command(
    name: str,
    url: str | None,
    as_json: bool,
    when: str | None,
    edition: int | None,
    by: str,
    why: str | None,
    **given: Any,
) -> None:
    """Change the schedule NAME from now on: what is said, and nothing else of it."""
    changes, clocks = changes_of(given), clocks_of(given)
    check_change(when, clocks, changes)
    with store.opened(url) as scheduler:
        trigger = None
        if when is not None:
            trigger = other_trigger(scheduler.schedule_of(name).trigger, when, name, clocks)
        info = scheduler.edit(name, trigger, edition=edition, by=by, why=why, **changes)
    say_schedule(info, as_json)


def check_change(when: str | None, clocks: dict[str, str], changes: dict[str, Any]) -> None:
    """Refuse a change that says nothing. Raises UsageError."""
    if clocks and when is None:
        raise click.UsageError(f"--{min(clocks)} is of a cron expression: give --when too")
    if when is None and not changes:
        raise click.UsageError("say what is to change, such as --when WHEN")
