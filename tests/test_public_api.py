"""The public interface, pinned: whoever changes it changes this file too, and knows that users will notice."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import kokugen
from kokugen import (
    AsyncScheduler,
    AsyncTaskHandle,
    AsyncTransaction,
    Retry,
    Scheduler,
    Settings,
    TaskHandle,
    TaskParam,
    Transaction,
    public,
    recurrence,
)

PINNED = Path(__file__).with_name("public_api.txt")
PAIRS = [(Scheduler, AsyncScheduler), (TaskHandle, AsyncTaskHandle), (Transaction, AsyncTransaction)]
AT_ONCE = {
    "add_calendar",
    "add_workers",
    "cancelled",
    "configure",
    "done",
    "every",
    "on_dead",
    "on_failed",
    "on_late",
    "on_quarantined",
    "on_superseded",
    "ping",
    "remove_workers",
    "schedule_request",
    "within",
}
"""What needs no waiting, so that it is no coroutine in the async classes either."""
ASKED = ("between", "bind", "count_between", "next", "prev")
"""What a trigger is asked: all else of it is between the triggers."""
IN_ASYNC = {"TaskHandle": "AsyncTaskHandle", "Transaction": "AsyncTransaction", "Iterator": "AsyncIterator"}


def public_names(of: type) -> list[str]:
    return sorted(name for name in dir(of) if not name.startswith("_"))


def signature(of: Callable[..., Any]) -> str:
    return str(inspect.signature(of)).replace("'", "")


def fields(of: type) -> str:
    """The fields of a struct and their defaults; how Python writes down a type changes from version to version."""
    parameters = inspect.signature(of).parameters.values()
    return str(inspect.Signature([one.replace(annotation=inspect.Parameter.empty) for one in parameters]))


def interface() -> str:
    """Every public name, the methods of the faces and handles, and the fields of what users make."""
    made = {Scheduler: signature, AsyncScheduler: signature, Retry: fields, Settings: fields, TaskParam: fields}
    lines = [f"kokugen.{name}" for name in public.__all__]
    lines += [f"{one.__name__}{written(one)}" for one, written in made.items()]
    for face in (one for pair in PAIRS for one in pair):
        for name in public_names(face):
            member = inspect.getattr_static(face, name)
            is_method = inspect.isfunction(member)
            lines.append(f"{face.__name__}.{name}{signature(member) if is_method else ''}")
    lines += [f"kokugen.recurrence.{name}{described(getattr(recurrence, name))}" for name in recurrence.__all__]
    lines += [f"Trigger.{name}{signature(getattr(recurrence.Trigger, name))}" for name in ASKED]
    return "\n".join(lines) + "\n"


def described(of: Any) -> str:
    """The fields of a trigger or calendar, the signature of a function."""
    return fields(of) if inspect.isclass(of) else signature(of)


def test_the_public_interface_is_the_one_that_is_pinned() -> None:
    """After a change that is meant: `python tests/test_public_api.py` writes it anew."""
    assert interface().splitlines() == PINNED.read_text(encoding="utf-8").splitlines()


def test_every_public_name_can_be_had_and_is_described() -> None:
    things = {name: getattr(kokugen, name) for name in public.__all__}
    assert [name for name, thing in things.items() if not inspect.getdoc(thing)] == []


@pytest.mark.parametrize(("face", "twin"), PAIRS)
def test_both_faces_have_the_same_members(face: type, twin: type) -> None:
    assert public_names(twin) == public_names(face)
    kinds = {name: type(inspect.getattr_static(face, name)) for name in public_names(face)}
    assert {name: type(inspect.getattr_static(twin, name)) for name in public_names(twin)} == kinds


def methods() -> list[tuple[type, type, str]]:
    return [
        (face, twin, name)
        for face, twin in PAIRS
        for name in ["__init__", *public_names(face)]
        if inspect.isfunction(inspect.getattr_static(face, name))
    ]


@pytest.mark.parametrize(("face", "twin", "name"), methods())
def test_a_method_takes_the_same_in_both_faces_and_answers_the_same(face: type, twin: type, name: str) -> None:
    mine, its = (inspect.signature(getattr(one, name)) for one in (face, twin))
    if name != "__init__" or face is Scheduler:
        assert list(map(str, its.parameters.values())) == list(map(str, mine.parameters.values()))
    expected = str(mine.return_annotation)
    for sync_name, async_name in IN_ASYNC.items():
        expected = expected.replace(sync_name, async_name)
    assert str(its.return_annotation) == expected


@pytest.mark.parametrize(("face", "twin", "name"), methods())
def test_a_method_that_may_wait_is_awaited_in_the_async_face(face: type, twin: type, name: str) -> None:
    mine, its = getattr(face, name), getattr(twin, name)
    waits = inspect.iscoroutinefunction(its) or inspect.isasyncgenfunction(its)
    assert waits is (name not in AT_ONCE and name != "__init__")
    assert not inspect.iscoroutinefunction(mine)
    assert inspect.isasyncgenfunction(its) is inspect.isgeneratorfunction(mine)


@pytest.mark.parametrize(("face", "twin", "name"), methods())
def test_a_method_says_what_it_does_in_both_faces(face: type, twin: type, name: str) -> None:
    assert name == "__init__" or all(inspect.getdoc(getattr(one, name)) for one in (face, twin))


if __name__ == "__main__":
    PINNED.write_text(interface(), encoding="utf-8")
