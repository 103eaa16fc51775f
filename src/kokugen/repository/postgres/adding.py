"""How tasks are added, step by step: what to ask, and what the answers mean. Nothing here knows a connection.

The engine's own connections (`tasks`) and users' (`guest`) carry the same steps out, each in its own way.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from msgspec import Struct

from kokugen.repository.rows import Added, AddResult, ChainedTask, NewTask, follows
from kokugen.task import OnDuplicate

T = TypeVar("T")

AGAIN_S = 0.005


class Ask(Struct, frozen=True):
    """A statement of this package to run next; the one who asks for it is sent the first row of its answer."""

    name: str
    values: Mapping[str, Any]
    pause_s: float = 0.0
    """How long to wait before it."""


Steps = Generator[Ask, Any, T]


def encode(value: object) -> str:
    """Return JSON text, to be bound."""
    return msgspec.json.encode(value).decode()


class Taken(Struct, frozen=True):
    """What became of tasks to add, and whether one of them stopped at a gate, for limits to let it through."""

    answers: list[Added]
    gated: bool


def adding(names: Mapping[str, Any], tasks: Sequence[NewTask]) -> Steps[Taken]:
    """Add tasks in one statement, or in several where an id comes again."""
    answers: list[Added] = []
    gated = False
    for part in _parts(tasks):
        taken = yield from _add(names, part)
        answers += taken.answers
        gated = gated or taken.gated
    return Taken(answers, gated)


def _parts(tasks: Sequence[NewTask]) -> list[Sequence[NewTask]]:
    """Cut before every id that came before, so that each part is added on top of what those before it left."""
    if len({task.id for task in tasks}) == len(tasks):
        return [tasks]
    parts: list[Sequence[NewTask]] = []
    part: dict[str, NewTask] = {}
    for task in tasks:
        if task.id in part:
            parts.append(list(part.values()))
            part = {}
        part[task.id] = task
    return [*parts, list(part.values())]


def _add(names: Mapping[str, Any], tasks: Sequence[NewTask]) -> Steps[Taken]:
    """Add tasks in one statement; look only at those that something stands in the way of."""
    answers: dict[int, Added] = {}
    left = dict(enumerate(tasks))
    pause_s = 0.0
    gated = False
    while left:
        added, stopped = yield Ask("add", {**names, "rows": encode(list(left.values()))}, pause_s)
        gated = gated or stopped
        if added is None:
            answers |= {place: Added(task.id, AddResult.ADDED) for place, task in left.items()}
            break
        fresh = set(msgspec.json.decode(added))
        for place, task in list(left.items()):
            if task.id in fresh:
                answers[place] = Added(left.pop(place).id, AddResult.ADDED)
        asked = encode([(task.id, task.unique_key) for task in left.values()])
        (found,) = yield Ask("holders", {**names, "rows": asked})
        for place, holder in _look(found, left, answers).items():
            superseded = yield Ask("supersede", {**names, "id": holder, "row": encode(left[place])})
            if superseded is None or superseded[0] is None:  # it ended, or gave its key away: to be added again
                continue
            answers[place] = Added(holder, AddResult(superseded[0]))
            del left[place]
        _leave(left, answers)
        pause_s = AGAIN_S
    return Taken([answers[place] for place in range(len(tasks))], gated)


def _look(found: str, left: dict[int, NewTask], answers: dict[int, Added]) -> dict[int, str]:
    """Answer those whose id or unique key is taken; one that ended between two looks is left, to be added again.

    Returns who has the keys of those that are to replace what waits.
    """
    holders: dict[int, str] = {}
    for (place, task), (exists, holder) in zip(list(left.items()), msgspec.json.decode(found), strict=True):
        if exists:
            answers[place] = Added(left.pop(place).id, AddResult.EXISTED)
        elif holder is not None and task.on_duplicate < OnDuplicate.REPLACE:
            answers[place] = Added(holder, AddResult.DUPLICATE)
            del left[place]
        elif holder is not None:
            holders[place] = holder
        else:
            assert task.unique_key is not None or follows(task), "a task that collides with none is added"
    return holders


def _leave(left: dict[int, NewTask], answers: dict[int, Added]) -> None:
    """Answer tasks that follow others, where the first of their chain is answered: they are with it, or not at all."""
    firsts = {task.id for task in left.values() if not follows(task)}
    for place, task in list(left.items()):
        if isinstance(task, ChainedTask) and task.chain not in firsts:
            answers[place] = Added(left.pop(place).id, AddResult.EXISTED)
