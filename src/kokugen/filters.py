"""Which tasks a caller means: the filters of both faces, as a query of the repository."""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from typing import TypedDict

from kokugen.acceptance import check_time
from kokugen.errors import OptionError
from kokugen.options import check_text, shortened
from kokugen.registry.protocol import Work
from kokugen.task import TaskQuery, TaskState

PAGE = 1000
"""How many tasks are read at once."""


class TaskFilters(TypedDict, total=False):
    """The filters that both faces take."""

    state: TaskState | str | Collection[TaskState | str]
    work: object
    queue: str
    tag: str
    unique: str
    chain: str
    held: bool
    due_before: datetime
    due_from: datetime


def task_query(
    *,
    state: TaskState | str | Collection[TaskState | str] | None = None,
    work: object = None,
    queue: str | None = None,
    tag: str | None = None,
    unique: str | None = None,
    chain: str | None = None,
    held: bool | None = None,
    due_before: datetime | None = None,
    due_from: datetime | None = None,
    limit: int | None = None,
    **unknown: object,
) -> TaskQuery:
    """Return the query for a face's filters, for the first page of up to `limit` tasks (None: of all).

    Raises OptionError for a filter that is not allowed, or that there is not.
    """
    if unknown:
        known = ", ".join(name for name in TaskFilters.__annotations__)
        raise OptionError(f"there is no filter {min(unknown)!r}: use {known}")
    if limit is not None and (not isinstance(limit, int) or limit < 0):
        raise OptionError(f"limit={limit!r}: use a whole number of at least 0, or None for all")
    for name, text in {"queue": queue, "tag": tag, "unique": unique, "chain": chain}.items():
        if text is not None:
            check_text(name, text)
    if held is not None and not isinstance(held, bool):
        raise OptionError(f"held={shortened(held)}: use True, False, or None for both")
    for bound in (due_before, due_from):
        if bound is not None:
            check_time(bound)
    return TaskQuery(
        states=None if state is None else _states(state),
        work_id=None if work is None else _work_id(work),
        queue=queue,
        tag=tag,
        unique=unique,
        chain=chain,
        held=held,
        due_before=due_before,
        due_from=due_from,
        limit=PAGE if limit is None else min(limit, PAGE),
    )


def _work_id(work: object) -> str:
    return work.id if isinstance(work, Work) else check_text("work", work)


def _states(state: TaskState | str | Collection[TaskState | str]) -> frozenset[TaskState]:
    if isinstance(state, TaskState | str):
        state = (state,)
    if not isinstance(state, Collection):
        raise _no_state(state)
    return frozenset(_state(one) for one in state)


def _state(one: object) -> TaskState:
    if isinstance(one, str):
        return TaskState.parse(one)
    if not isinstance(one, TaskState):
        raise _no_state(one)
    return one


def _no_state(given: object) -> OptionError:
    return OptionError(f"state={shortened(given)}: use a TaskState, its name, or several of them")
