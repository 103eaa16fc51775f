"""The life of a task, drawn: one line an event, and between two of them how long it took. Called by show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime

from kokugen.cli import times
from kokugen.task import Attempt, TaskInfo, TaskState

Event = tuple[datetime, str]
DOT, BAR = "●", "│"


def timeline(info: TaskInfo, attempts: Sequence[Attempt], now: datetime) -> Iterator[str]:
    """Yield the lines of the drawing, oldest event first."""
    last: datetime | None = None
    for when, what in sorted(events(info, attempts, now), key=lambda event: event[0]):
        if last is not None and when > last:
            yield f"{BAR:>26}  {times.brief(when - last)}"
        yield f"{times.stamp(when)} {DOT}  {what}"
        last = when


def events(info: TaskInfo, attempts: Sequence[Attempt], now: datetime) -> Iterator[Event]:
    """Yield what happened, and what is to come, in the order of a life."""
    if info.created_at:
        yield info.created_at, "created"
    yield info.scheduled_time, "due"
    for attempt in attempts:
        yield from of_attempt(attempt)
    if not any(attempt.fence == info.fence for attempt in attempts):
        yield from last_run(info)
    if not info.state.terminal:
        yield now, "now"
    if info.state is TaskState.INITIALIZED and info.due_at and info.due_at != info.scheduled_time:
        yield info.due_at, "due again"


def of_attempt(attempt: Attempt) -> Iterator[Event]:
    """Yield the events of an attempt that did not simply succeed."""
    number = f"attempt {attempt.attempt}"
    where = f" by {attempt.node}" if attempt.node else ""
    if attempt.claimed_at:
        yield attempt.claimed_at, f"{number} claimed{where}"
    if attempt.started_at:
        yield attempt.started_at, f"{number} started"
    if attempt.finished_at:
        yield attempt.finished_at, f"{number}: {attempt.outcome}{last_line(attempt.error)}"


def last_run(info: TaskInfo) -> Iterator[Event]:
    """Yield the events of the run that the task itself tells of."""
    if info.claimed_at:
        yield info.claimed_at, "claimed" + (f" by {info.owner}" if info.owner else "")
    if info.started_at:
        yield info.started_at, "started"
    if info.finished_at:
        reason = f" ({info.reason})" if info.reason else ""
        yield info.finished_at, f"{info.state.label}{reason}{last_line(info.error)}"


def last_line(error: str | None) -> str:
    """Return the line of a traceback that says what was wrong, to be put behind something."""
    lines = (error or "").strip().splitlines()
    return f": {lines[-1]}" if lines else ""
