"""`kokugen list` and `kokugen show`. They call Scheduler.tasks and Scheduler.get, and change nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any

import click

from kokugen.cli import completion, console, filters, store, times
from kokugen.cli.timeline import timeline
from kokugen.cli.view import attempt_view, facts, task_view
from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.task import TaskInfo, TaskState

HEAD = ("ID", "STATE", "DUE", "WORK", "QUEUE", "TRIES", "NOTE")
WIDTHS_FROM = 500
"""How many rows are looked at for the widths of a table's columns, so that a long list need not be held."""


@click.command("list")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    shell_complete=completion.states,
    help="Only in this state. Repeat it.",
)
@filters.filter_options
@click.option("--limit", type=click.IntRange(min=1), default=50, show_default=True, help="At most so many.")
@store.json_option
@store.url_option
def list_command(url: str | None, as_json: bool, limit: int, states: tuple[str, ...], **given: Any) -> None:
    """List tasks, earliest due first."""
    chosen = filters.chosen_filters(**given)
    if states:
        chosen["state"] = filters.chosen_states(states)
    with store.opened(url) as scheduler:
        found = scheduler.tasks(**chosen, limit=limit)
        if as_json:
            console.say_json_list(map(task_view, found))
            return
        shown = say_tasks(found)
        if shown == limit and (total := scheduler.count(**chosen)) > limit:
            console.say(f"{shown:,} of {total:,} tasks: --limit shows more")


def say_tasks(found: Iterable[TaskInfo]) -> int:
    """Print tasks as a table and return how many there were."""
    base = times.now()
    shown = 0
    for rows in chunks((row(info, base) for info in found), WIDTHS_FROM):
        console.say_table(rows, None if shown else HEAD)
        shown += len(rows)
    if not shown:
        console.say("no task")
    return shown


def chunks(rows: Iterator[tuple[str, ...]], size: int) -> Iterator[list[tuple[str, ...]]]:
    """Yield the rows in lists of up to that many."""
    while chunk := list(islice(rows, size)):
        yield chunk


def row(info: TaskInfo, base: Any) -> tuple[str, ...]:
    """Return a task's cells."""
    due = info.due_at or info.scheduled_time
    tries = f"{info.attempt}/{info.max_attempts}" + (f" +{info.lost} lost" if info.lost else "")
    return (info.id, info.state.label, times.relative(due, base), info.work_id, info.queue, tries, note(info))


def note(info: TaskInfo) -> str:
    """Return the one thing that is unusual about a task."""
    if info.hold == LIMIT_HOLD and info.gate:
        return f"waits for the limit {info.gate}"
    if info.hold:
        return f"on hold: {info.hold}"
    if info.cancel_requested and info.state is TaskState.WORKING:
        return "cancel requested"
    last_line = (info.error or "").strip().splitlines()[-1:]
    return info.reason or "".join(last_line)


@click.command("show")
@click.argument("task_id", metavar="ID", shell_complete=completion.ids)
@store.json_option
@store.url_option
def show_command(task_id: str, url: str | None, as_json: bool) -> None:
    """Show all that is known of the task ID, and draw its life."""
    with store.opened(url) as scheduler:
        info = scheduler.get(task_id)
        attempts = scheduler.attempts(task_id)
    if as_json:
        console.say_json({**task_view(info), "attempts": [attempt_view(attempt) for attempt in attempts]})
        return
    base = times.now()
    for name, text in facts(info, base):
        console.say(console.escaped(f"{name:<11} {text}"))
    console.say()
    for line in timeline(info, attempts, base):
        console.say(console.escaped(line))
    for title, block in (("error", info.error), ("result", info.result)):
        if block:
            say_block(title, block)


def say_block(title: str, text: str) -> None:
    """Print a text of several lines, indented."""
    console.say(f"\n{title}")
    for line in text.splitlines():
        console.say(f"  {line}")
