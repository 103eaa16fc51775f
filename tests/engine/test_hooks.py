"""Hooks hear of every event, on a thread of their own that goes when the scheduler stops."""

from __future__ import annotations

from queue import SimpleQueue
from threading import Thread, current_thread
from threading import enumerate as all_threads
from typing import Any

import pytest

from kokugen.engine.hooks import Hooks, RunEvent
from kokugen.errors import OptionError

PATIENCE_S = 20


class Told:
    """Stands in for a run."""

    task_id = "a"


def event(error: str) -> RunEvent:
    return RunEvent(Told(), error)  # type: ignore[arg-type]


def test_a_hook_that_raises_is_logged_and_hears_of_the_next_event(caplog: pytest.LogCaptureFixture) -> None:
    hooks, heard = Hooks(), SimpleQueue[Any]()

    def hook(told: RunEvent) -> None:
        heard.put(told.error)
        raise SystemExit(told.error)

    hooks.add("dead", hook)
    for error in ("first", "second"):
        hooks.tell("dead", event(error))
    assert [heard.get(timeout=PATIENCE_S) for _ in range(2)] == ["first", "second"]
    hooks.close()
    assert "a hook raised for task 'a'" in caplog.text


async def later(_: RunEvent) -> None:
    """A hook that a thread without a loop could only begin."""


@pytest.mark.parametrize(("hook", "said"), [(later, "is async"), (5, "cannot be called"), (None, "cannot be called")])
def test_what_the_thread_could_not_call_is_refused_when_it_is_given(hook: Any, said: str) -> None:
    hooks = Hooks()
    with pytest.raises(OptionError, match=said):
        hooks.add("failed", hook)
    assert not hooks.wants("failed")


def test_closed_hooks_tell_what_they_were_handed_and_leave_no_thread() -> None:
    hooks, threads = Hooks(), SimpleQueue[Thread]()
    hooks.add("failed", lambda _: threads.put(current_thread()))
    for _ in range(3):
        hooks.tell("failed", event("no"))
    hooks.close()
    hooks.close()
    told_by = {threads.get(timeout=PATIENCE_S) for _ in range(3)}
    for thread in told_by:
        thread.join(PATIENCE_S)
    assert len(told_by) == 1
    assert not told_by & set(all_threads())


def test_closed_hooks_tell_again_when_they_are_told_again() -> None:
    hooks, heard = Hooks(), SimpleQueue[Any]()
    hooks.add("late", lambda told: heard.put(told.error))
    for error in ("before", "after"):
        hooks.tell("late", event(error))
        hooks.close()
    assert {heard.get(timeout=PATIENCE_S) for _ in range(2)} == {"before", "after"}
