"""Why a schedule runs now, or does not, in plain words: what `why` answers."""

from __future__ import annotations

from datetime import datetime, timedelta

from kokugen.clock import from_us
from kokugen.offers import Offers, lacking
from kokugen.repository.limit_rows import LIMIT_HOLD
from kokugen.repository.schedule_rows import OVERLAP_HOLD, Ledger, OccurrenceTask, Overlap, ScheduleRow
from kokugen.schedules.definitions import Definition
from kokugen.schedules.info import is_over, next_of
from kokugen.schedules.occurrences import Occurrence, occurrences_of
from kokugen.task import TaskState

LATE_US = 10_000_000
_MEANS = {
    "ran": "ran",
    "failed": "failed",
    "cancelled": "was cancelled",
    "skipped": "was skipped, because an earlier run was not over",
    "replaced": "was taken back by an edit or a pause",
    "waiting": "waits to be run",
    "running": "runs",
    "coalesced": "passed while no node looked; a later one stood for it",
    "missed": "passed while no node looked, and is not caught up with",
    "too old": "passed too long ago to be caught up with",
    "paused": "passed during a pause",
}


def why_text(row: ScheduleRow, definition: Definition, ledger: Ledger, now: int, offers: list[Offers] | None) -> str:
    """Return a few sentences about a schedule as it is now, where nodes offer this."""
    template = definition.template
    said = [_state(row, definition, now), *_tasks(row, ledger, now, lacking(template.work_id, template.queue, offers))]
    past = [one for one in occurrences_of(row, definition.trigger, ledger) if one.time <= from_us(now)]
    if past:
        said.append(_last(past[-1]))
    return "\n".join(said)


def _state(row: ScheduleRow, definition: Definition, now: int) -> str:
    name = f"Schedule {row.name!r}"
    if row.paused_at is not None:
        by = f" by {row.paused_by}" if row.paused_by else ""
        until = f" until {_at(row.paused_until)}" if row.paused_until is not None else " until it is resumed"
        note = f" ({row.paused_note})" if row.paused_note else ""
        return f"{name} is paused since {_at(row.paused_at)}{by}{until}{note}."
    most, next_at = definition.policy.max_runs, next_of(row, definition)
    if next_at is None and most is not None and row.runs >= most:
        return f"{name} is over: it was to run {most} times, and has."
    if next_at is None and row.delay is not None and not is_over(row, definition):
        return f"{name} comes again {timedelta(microseconds=row.delay)} after the end of its run."
    end = definition.policy.end_us
    if next_at is None and end is not None and definition.trigger.next_us(row.decided) is not None:
        return f"{name} is over: it has no time after {_at(row.decided)} up to its end, {_at(end)}."
    if next_at is None:
        return f"{name} is over: its trigger has no time after {_at(row.decided)}."
    if next_at < now - LATE_US:
        return (
            f"{name} was to come at {_at(next_at)}, and no node has decided about that: "
            "start a worker, or see in the log of one why it cannot read the schedule."
        )
    return f"{name} comes next at {_at(next_at)}."


def _tasks(row: ScheduleRow, ledger: Ledger, now: int, lack: str) -> list[str]:
    """Say what runs, and what waits although it is due: for a worker, which is lacking as `lack` says."""
    running = [task for task in ledger.tasks if task.state is TaskState.WORKING]
    said = [f"The one of {_at(task.nominal)} runs since {_at(task.started_at or task.due_at)}." for task in running]
    waiting = [task for task in ledger.tasks if task.state is TaskState.INITIALIZED and task.due_at <= now]
    said += [_waits(task, row, running, lack) for task in waiting[:3]]
    if len(waiting) > len(said):
        said.append(f"{len(waiting)} of its tasks are due and wait.")
    return said


def _waits(task: OccurrenceTask, row: ScheduleRow, running: list[OccurrenceTask], lack: str) -> str:
    name = f"The one of {_at(task.nominal)} waits"
    if task.hold == OVERLAP_HOLD:
        what = "runs" if running else "is not over"
        return f"{name}, because an earlier one {what} (overlap {Overlap(row.overlap).value})."
    if task.hold == LIMIT_HOLD:
        return f"{name} for its turn at a limit of its key, its work or its queue."
    if task.hold is not None:
        return f"{name}: it is on hold ({task.hold})."
    return f"{name} for a worker: {lack}."


def _last(last: Occurrence) -> str:
    reason = f" ({last.reason})" if last.reason else ""
    return f"The last one, of {last.until.isoformat()}, {_MEANS.get(last.outcome, last.outcome)}{reason}."


def _at(us: int | None) -> str:
    return "never" if us is None else _iso(from_us(us))


def _iso(when: datetime) -> str:
    return when.isoformat(timespec="seconds" if when.microsecond == 0 else "milliseconds")
