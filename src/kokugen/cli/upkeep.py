"""`kokugen prune`, `migrate` and `health`: the care of a store."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

import click
import msgspec

from kokugen.cli import completion, console, filters, store, times
from kokugen.cli.progress import progress
from kokugen.clock import from_us, to_us
from kokugen.repository.locate import hindrances, stored_version
from kokugen.repository.rows import Retention, StoreHealth
from kokugen.settings import Settings
from kokugen.task import TaskState

if TYPE_CHECKING:
    from kokugen import Scheduler

UNHEALTHY = 1
PASS_MAX = 1000


@click.command("prune")
@click.option("--older-than", metavar="SPAN", help="Ended so long ago, such as 7d. Without: 7d if Done, 30d if not.")
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    shell_complete=completion.states,
    help="Only ended so. Repeat it. Without: all ended.",
)
@store.json_option
@store.url_option
def prune_command(url: str | None, as_json: bool, older_than: str | None, states: tuple[str, ...]) -> None:
    """Delete tasks that ended long ago, with their history."""
    retention = chosen_retention(older_than, states)
    with store.opened(url) as scheduler, progress("prune", ended(scheduler)) as bar:
        deleted = 0
        while count := scheduler.prune(retention):
            deleted += count
            console.remember(f"{console.counted(deleted, 'task')} deleted")
            bar.advance(count)
    if as_json:
        console.say_json({"deleted": deleted})
    else:
        console.say(f"{console.counted(deleted, 'task')} deleted")


def ended(scheduler: Scheduler) -> int:
    """Return how many tasks are over: the most that can be deleted."""
    return scheduler.count(state=frozenset(state for state in TaskState if state.terminal))


def chosen_retention(older_than: str | None, states: tuple[str, ...]) -> Retention:
    """Return what may be deleted; of the states not named, nothing. Raises UsageError, ScheduledTimeError."""
    chosen = filters.chosen_states(states)
    if not all(state.terminal for state in chosen):
        raise click.UsageError("only ended tasks can be deleted: --state Done, Cancelled or Failed")
    span = None if older_than is None else times.parse_span(older_than, "--older-than")
    usual = Settings()

    def before(state: TaskState, kept: timedelta) -> int:
        if chosen and state not in chosen:
            return 0
        return to_us(times.earlier(kept if span is None else span))

    return Retention(
        done_before=before(TaskState.DONE, usual.keep_done),
        cancelled_before=before(TaskState.CANCELLED, usual.keep_cancelled),
        failed_before=before(TaskState.FAILED, usual.keep_failed),
        limit=PASS_MAX,
    )


@click.command("migrate")
@store.json_option
@store.url_option
def migrate_command(url: str | None, as_json: bool) -> None:
    """Make the store, or bring its schema up to date."""
    before = stored_version(store.usable(url))
    with store.opened(url, make=True) as scheduler:
        health = scheduler.health()
    console.remember(f"{health.url} has schema {health.schema_version}")
    if as_json:
        console.say_json({"url": health.url, "before": before, "after": health.schema_version})
    else:
        console.say(f"{health.url}: {told(before, health.schema_version)}")


def told(before: int | None, after: int) -> str:
    """Say what a migration did."""
    if before is None:
        return f"made, with schema {after}"
    return f"schema {after} already" if before == after else f"schema {before} before, {after} now"


@click.command("health")
@click.option("--late", default="1m", show_default=True, metavar="SPAN", help="Due for longer than this is not well.")
@store.json_option
@store.url_option
def health_command(url: str | None, as_json: bool, late: str) -> int:
    """Say how the store is: exit code 0 if well, 1 if not.

    It is well if it can be written, its writes are durable, and no task has been due for longer than --late.
    """
    allowed = times.parse_span(late, "--late")
    with store.opened(url) as scheduler:
        health = scheduler.health()
        problems = hindrances(store.usable(url)) + found_problems(health, allowed)
    if as_json:
        console.say_json({**msgspec.to_builtins(health), "healthy": not problems, "problems": problems})
    else:
        say_health(health, problems)
    return UNHEALTHY if problems else 0


def found_problems(health: StoreHealth, allowed: timedelta) -> list[str]:
    """Return what is not well, in words."""
    problems = []
    if not health.durable:
        problems.append("its writes may be lost when the machine stops")
    if health.oldest_due_us is not None and times.now() - from_us(health.oldest_due_us) > allowed:
        waited = times.brief(times.now() - from_us(health.oldest_due_us))
        problems.append(due_for(health.overdue, waited))
    return problems


def due_for(overdue: int, waited: str) -> str:
    """Say that tasks wait for too long."""
    if overdue == 1:
        return f"1 task has been due for {waited}: does a worker run?"
    return f"{overdue:,} tasks are due, the oldest for {waited}: does a worker run?"


def say_health(health: StoreHealth, problems: list[str]) -> None:
    """Print a store's health as facts."""
    console.say(f"store     {health.url}")
    console.say(f"backend   {health.backend} {health.version}, schema {health.schema_version}")
    console.say(f"tasks     {', '.join(f'{count:,} {state}' for state, count in health.counts.items()) or 'none'}")
    console.say(f"on hold   {health.held:,}")
    console.say(f"overdue   {health.overdue:,}")
    console.say("well" if not problems else "not well: " + "; ".join(problems))
