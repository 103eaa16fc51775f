"""`kokugen cancel`, `reschedule` and `revive`: what people do to tasks. They call the Scheduler's methods of that name.

All ids are looked up first, so that a wrong one changes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from kokugen.cli import completion, console, filters, store, times
from kokugen.cli.filters import Filters
from kokugen.cli.progress import progress
from kokugen.errors import NoEntryError
from kokugen.repository.rows import CancelResult
from kokugen.task import TaskState

if TYPE_CHECKING:
    from kokugen import Scheduler

BATCH = 500
LIVE = frozenset({TaskState.INITIALIZED, TaskState.WORKING})
ENDED = frozenset({TaskState.FAILED, TaskState.CANCELLED, TaskState.DONE})
PAST = {"cancel": "cancelled", "revive": "revived", "release": "released"}
OPERATOR = "kokugen"
"""Who the store's history names for a change made here."""


@click.command("cancel")
@click.argument("task_ids", nargs=-1, metavar="[ID]...", shell_complete=completion.ids)
@filters.filter_options
@click.option("--yes", is_flag=True, help="Really cancel all that the filter finds.")
@click.option("--reason", metavar="TEXT", help="Why; it stays with the task.")
@click.option("--force", is_flag=True, help="End running ones at once; what they do outside may still happen.")
@store.json_option
@store.url_option
def cancel_command(
    task_ids: tuple[str, ...], url: str | None, as_json: bool, yes: bool, reason: str | None, force: bool, **given: Any
) -> int:
    """Cancel tasks, by id or all that a filter finds.

    A waiting task is cancelled at once; a running one is asked to stop.
    """
    chosen = chosen_filters(task_ids, given)
    answers: dict[str, str] = {}

    def cancel(ids: Sequence[str]) -> int:
        found = scheduler.cancel(*ids, reason=reason, force=force, by=OPERATOR)
        answers.update((answer.id, answer.result.value) for answer in found)
        return sum(answer.result is not CancelResult.REFUSED for answer in found)

    with store.opened(url) as scheduler:
        change(scheduler, task_ids, {**chosen, "state": LIVE}, yes, cancel, "cancel")
    return say_answers(answers, as_json, CancelResult.REFUSED, "over already")


@click.command("reschedule")
@click.argument("task_id", metavar="ID", shell_complete=completion.ids)
@times.time_options()
@store.json_option
@store.url_option
def reschedule_command(
    task_id: str, url: str | None, as_json: bool, at: str | None, in_: str | None, tz: str | None
) -> None:
    """Move the waiting task ID to another time."""
    when = times.required_time(at, in_, tz)
    with store.opened(url) as scheduler:
        scheduler.reschedule(task_id, when, by=OPERATOR)
        console.remember(f"moved {task_id}")
        due = scheduler.get(task_id).scheduled_time
    if as_json:
        console.say_json({"id": task_id, "scheduled_time": due.isoformat()})
    else:
        console.say(f"{task_id}  {times.stamp(due)}  {times.relative(due, times.now())}")


@click.command("revive")
@click.argument("task_ids", nargs=-1, metavar="[ID]...", shell_complete=completion.ids)
@click.option(
    "--state",
    "states",
    multiple=True,
    metavar="STATE",
    shell_complete=completion.states,
    help="Only ended so: Failed if not said. Repeat it.",
)
@filters.filter_options
@click.option("--yes", is_flag=True, help="Really revive all that the filter finds.")
@click.option("--at", metavar="TIME", help="When: 2026-12-24T18:00 with --tz, or with an offset. Without: now.")
@click.option("--in", "in_", metavar="SPAN", help="When, from now, such as 90s, 1h30m or 2d.")
@store.json_option
@store.url_option
def revive_command(
    task_ids: tuple[str, ...], url: str | None, as_json: bool, yes: bool, at: str | None, in_: str | None, **given: Any
) -> int:
    """Make ended tasks wait again, by id or all that a filter finds.

    Their attempts and losses start from zero.
    """
    states = filters.chosen_states(given.pop("states"))
    if task_ids and states:
        raise click.UsageError("give ids or a filter, not both")
    if not states <= ENDED:
        raise click.UsageError("only ended tasks can be revived: --state Failed, Cancelled or Done")
    zone, given["tz"] = shared_zone(at, given["due_before"], given["tz"])
    when = times.chosen_time(at, in_, zone)
    chosen = chosen_filters(task_ids, given, enough=bool(states))
    answers: dict[str, str] = {}

    def revive(ids: Sequence[str]) -> int:
        revived = set(scheduler.revive(*ids, when=when, by=OPERATOR))
        answers.update((task_id, "revived" if task_id in revived else "refused") for task_id in ids)
        return len(revived)

    with store.opened(url) as scheduler:
        change(scheduler, task_ids, {**chosen, "state": states or {TaskState.FAILED}}, yes, revive, "revive")
    return say_answers(answers, as_json, "refused", "not over, or their unique key is taken")


def shared_zone(at: str | None, due_before: str | None, tz: str | None) -> tuple[str | None, str | None]:
    """Return --tz for --at, and for --due-before: for those that need it. Raises UsageError where there are neither."""
    if tz is None:
        return None, None
    if at is None and due_before is None:
        raise click.UsageError("--tz is the zone of --at and of --due-before: give one of them")
    if at is None or due_before is None:
        return (tz, None) if due_before is None else (None, tz)
    of_due = tz if times.lacks_zone(due_before) else None
    return tz if of_due is None or times.lacks_zone(at) else None, of_due


def chosen_filters(task_ids: Sequence[str], given: dict[str, Any], enough: bool = False) -> Filters:
    """Return the filter to go by; empty where there are ids. Raises UsageError for both, or neither."""
    chosen = filters.chosen_filters(**given)
    if task_ids and chosen:
        raise click.UsageError("give ids or a filter, not both")
    if not (task_ids or chosen or enough):
        raise click.UsageError("say which tasks: give ids, or a filter such as --work ID")
    return chosen


def change(
    scheduler: Scheduler,
    task_ids: Sequence[str],
    chosen: Any,
    yes: bool,
    act: Callable[[Sequence[str]], int],
    verb: str,
) -> None:
    """Act on the tasks with these ids, or else on all that the filter finds, in batches. Raises NoEntryError.

    `act` returns how many it changed; how many that were by then is said where it comes to no end.
    """
    act = counting(act, verb)
    if task_ids:
        refuse_unknown(scheduler, task_ids)
        for batch in batches(iter(dict.fromkeys(task_ids))):
            act(batch)
        return
    total = scheduler.count(**chosen)
    if total and not yes:
        raise click.UsageError(f"this would {verb} {console.counted(total, 'task')}: add --yes to do it")
    with progress(verb, total) as bar:
        for batch in batches(info.id for info in scheduler.tasks(**chosen)):
            act(batch)
            bar.advance(len(batch))


def counting(act: Callable[[Sequence[str]], int], verb: str) -> Callable[[Sequence[str]], int]:
    """Return `act`, which also keeps in mind how many tasks it has changed so far."""
    done = 0

    def counted(batch: Sequence[str]) -> int:
        nonlocal done
        try:
            done += act(batch)
        except KeyboardInterrupt:  # what was asked of the store may have been done
            console.remember(f"{console.counted(done, 'task')} {PAST[verb]}, and perhaps some of the next {len(batch)}")
            raise
        console.remember(f"{console.counted(done, 'task')} {PAST[verb]}" if done else None)
        return done

    return counted


def refuse_unknown(scheduler: Scheduler, task_ids: Sequence[str]) -> None:
    """Raise NoEntryError for the first id that the store does not have."""
    for batch in batches(iter(task_ids)):
        known = {info.id for info in scheduler.repository.get(batch).result()}
        for task_id in batch:
            if task_id not in known:
                raise NoEntryError(task_id)


def batches(ids: Iterator[str]) -> Iterator[list[str]]:
    """Yield ids in lists of a size that one statement carries well."""
    while batch := list(islice(ids, BATCH)):
        yield batch


def say_answers(answers: dict[str, str], as_json: bool, refused: str, why: str) -> int:
    """Print what became of each task; the exit code is 2 if some were refused."""
    if as_json:
        console.say_json_list({"id": task_id, "result": result} for task_id, result in answers.items())
    else:
        for task_id, result in answers.items():
            console.say(f"{task_id}  {result}")
        if not answers:
            console.say("no task")
    count = sum(result == refused for result in answers.values())
    if not count:
        return 0
    were = "was left as it is" if count == 1 else "were left as they are"
    return console.complain(f"{count:,} of {len(answers):,} {were}: {why}", 2)
