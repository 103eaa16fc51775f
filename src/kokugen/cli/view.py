"""A task as JSON and as a list of facts. Called by list and show."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any

import msgspec

from kokugen.cli import times
from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.task import Attempt, Progress, TaskInfo


def task_view(info: TaskInfo) -> dict[str, Any]:
    """Return a task as plain JSON values: names for states and levels, times in ISO 8601, the result as a value."""
    named = {
        "state": info.state.label,
        "priority": info.priority.name.lower(),
        "mode": info.mode.name.lower(),
        "result": value_of(info.result),
    }
    return {**msgspec.to_builtins(info), **named}


def attempt_view(attempt: Attempt) -> dict[str, Any]:
    """Return an attempt as plain JSON values."""
    view: dict[str, Any] = msgspec.to_builtins(attempt)
    return view


def value_of(text: str | None) -> Any:
    """Return stored JSON as a value, or the text itself where it is none."""
    try:
        return None if text is None else json.loads(text)
    except ValueError:
        return text


def facts(info: TaskInfo, base: datetime) -> Iterator[tuple[str, str]]:
    """Yield a task's facts, name and text; those that say nothing are left out."""
    due = info.due_at or info.scheduled_time
    yield "task", info.id
    yield "work", info.work_id
    yield "state", " · ".join(filter(None, (info.state.label, info.reason)))
    yield "due", f"{times.stamp(due)}  {times.relative(due, base)}"
    if info.zone or info.local_time:
        yield "asked for", " ".join(filter(None, (info.local_time, info.zone)))
    if info.schedule_id is not None and info.nominal is not None:
        yield "schedule", f"{info.schedule or 'removed'}, its time {times.stamp(info.nominal)}"
    yield "arguments", arguments(info.param)
    yield "queue", f"{info.queue} · priority {info.priority.name.lower()} · {info.mode.name.lower().replace('_', ' ')}"
    yield (
        "attempts",
        f"{info.attempt} of {info.max_attempts}, lost {info.lost} of {info.max_lost}, fence {info.fence}",
    )
    yield from ((name, text) for name, text in unusual(info) if text)


def unusual(info: TaskInfo) -> Iterator[tuple[str, str | None]]:
    """Yield the facts that most tasks do not have."""
    yield ("waits for", f"the limit {info.gate}") if info.gate and info.hold == LIMIT_HOLD else ("on hold", info.hold)
    yield "limit key", info.limit_key
    yield "tags", ", ".join(info.tags)
    yield "unique", info.unique
    yield "follows", info.follows
    yield "chain", None if info.chain == info.id else info.chain
    yield "runs on", info.owner
    yield "progress", progress(info.progress)
    yield "cancel", "requested" if info.cancel_requested else None
    yield "start by", times.stamp(info.start_deadline) if info.start_deadline else None


def progress(said: Progress | None) -> str | None:
    """Return what a run said of its progress, in one line, and when."""
    if said is None:
        return None
    percent = None if said.fraction is None else f"{said.fraction:.0%}"
    return " · ".join(filter(None, (percent, said.text, times.stamp(said.at))))


def arguments(param: Any) -> str:
    """Return a task's arguments as they would be written in a call."""
    plain = msgspec.to_builtins(param)
    if not isinstance(plain, dict) or not set(plain) <= {"args", "kwargs"}:
        return plain if isinstance(plain, str) else json.dumps(plain, ensure_ascii=False)
    args = [json.dumps(value, ensure_ascii=False) for value in plain.get("args", ())]
    kwargs = [f"{name}={json.dumps(value, ensure_ascii=False)}" for name, value in plain.get("kwargs", {}).items()]
    return f"({', '.join(args + kwargs)})"
