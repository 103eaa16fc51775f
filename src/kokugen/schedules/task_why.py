"""Why a task runs now, or does not, in plain words: what `why` answers of the id of a task."""

from __future__ import annotations

from datetime import datetime, timedelta

from kokugen.offers import Offers, lacking
from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.repository.rows import CHAIN_HOLD, NOT_REACHED
from kokugen.repository.schedule_rows import OVERLAP_HOLD
from kokugen.task import TaskInfo, TaskState

_HOLDS = {
    CHAIN_HOLD: "the task that it follows is not over",
    OVERLAP_HOLD: "an earlier run of its schedule is not over",
    "undecodable": "it could not be read, and is quarantined: mend that, then release it",
    "not restored": "should_restore said no at a start: release it to let it run",
}


def waits_for_worker(info: TaskInfo, now: datetime) -> bool:
    """Return whether a task is due and may run, so that it depends on the nodes when."""
    return info.state is TaskState.INITIALIZED and info.hold is None and (info.due_at or info.scheduled_time) <= now


def task_why(info: TaskInfo, now: datetime, offers: list[Offers] | None = None) -> str:
    """Return a few sentences about a task as it is now, where nodes offer this."""
    return "\n".join(one for one in (_state(info, now, offers), _chain(info), _schedule(info), _tries(info)) if one)


def _state(info: TaskInfo, now: datetime, offers: list[Offers] | None) -> str:
    name = f"Task {info.id} ({info.work_id})"
    if info.state is TaskState.INITIALIZED:
        return f"{name} {_waits(info, now, offers)}."
    if info.state is TaskState.WORKING:
        asked = ", and is asked to stop" if info.cancel_requested else ""
        since = max(filter(None, (info.claimed_at, info.due_at)), default=None)  # it is claimed a little ahead
        return f"{name} runs since {_at(since)} on node {info.owner}{asked}."
    reason = f" ({info.reason})" if info.reason else ""
    error = f": {info.error.strip().splitlines()[-1]}" if info.error and info.error.strip() else ""
    return f"{name} is {info.state.label} since {_at(info.finished_at)}{reason}{error}."


def _waits(info: TaskInfo, now: datetime, offers: list[Offers] | None) -> str:
    due = info.due_at or info.scheduled_time
    if info.hold == LIMIT_HOLD and due <= now:
        return f"is due since {_at(due)}, and waits for its turn at the limit {info.gate}"
    if info.hold is not None and info.hold != LIMIT_HOLD:
        return f"waits, on hold: {_HOLDS.get(info.hold, info.hold)}"
    if due > now:
        return f"waits: it is due at {_at(due)}"
    late = timedelta(seconds=round((now - due).total_seconds()))
    return f"is due since {_at(due)} ({late} ago) and waits for a worker: {lacking(info.work_id, info.queue, offers)}"


def _chain(info: TaskInfo) -> str:
    if info.follows is None:
        return ""
    missed = ", which ended otherwise, or was cancelled" if info.reason == NOT_REACHED else ""
    return f"It follows task {info.follows}{missed}."


def _schedule(info: TaskInfo) -> str:
    if info.nominal is None:
        return ""
    of = "a schedule that was removed" if info.schedule is None else f"schedule {info.schedule!r}"
    return f"It is the run of {of} for {_at(info.nominal)}."


def _tries(info: TaskInfo) -> str:
    if info.lost:
        times = "once" if info.lost == 1 else f"{info.lost} times"
        return f"It was cut off {times}; after {info.max_lost} it is given up."
    return f"It was tried {info.attempt} of {info.max_attempts} times." if info.attempt > 1 else ""


def _at(when: datetime | None) -> str:
    return "an unknown time" if when is None else when.isoformat(timespec="seconds")
