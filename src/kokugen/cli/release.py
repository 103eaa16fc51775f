"""`kokugen release`: tasks on hold wait again for a worker. Calls Scheduler.release.

As in `kokugen.cli.changes`, all ids are looked up first, so that a wrong one changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import click

from kokugen.cli import completion, filters, store
from kokugen.cli.changes import OPERATOR, change, chosen_filters, say_answers
from kokugen.errors import NotUpdatableStateError
from kokugen.task import TaskState

RELEASED, REFUSED = "released", "refused"


@click.command("release")
@click.argument("task_ids", nargs=-1, metavar="[ID]...", shell_complete=completion.ids)
@filters.filter_options
@click.option("--yes", is_flag=True, help="Really release all that the filter finds.")
@store.json_option
@store.url_option
def release_command(task_ids: tuple[str, ...], url: str | None, as_json: bool, yes: bool, **given: Any) -> int:
    """Let tasks on hold wait for a worker again, by id or all that a filter finds.

    Deploy the code that can read their arguments first, or they come to be held again.
    """
    if given["held"] is False:
        raise click.UsageError("only tasks on hold can be released: leave --not-held out")
    chosen = chosen_filters(task_ids, given)
    answers: dict[str, str] = {}

    def release(ids: Sequence[str]) -> int:
        found = {info.id: info for info in scheduler.repository.get(ids).result()}
        for task_id, info in found.items():
            answers[task_id] = REFUSED if info.hold is None else let_go(task_id)
        return sum(answers[task_id] == RELEASED for task_id in found)

    def let_go(task_id: str) -> str:
        try:
            scheduler.release(task_id, by=OPERATOR)
        except NotUpdatableStateError:  # it was cancelled meanwhile
            return REFUSED
        return RELEASED

    with store.opened(url) as scheduler:
        held = {**chosen, "held": True, "state": {TaskState.INITIALIZED}}
        change(scheduler, task_ids, held, yes, release, "release")
    return say_answers(answers, as_json, REFUSED, "not on hold")
